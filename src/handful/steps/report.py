"""report: one HTML page about everything that was matched, drawn, trained and tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import handful
from handful.experiment.context import Experiment
from handful.layout import model_folder
from handful.records import Fingerprint, Prepared, Reconciled, Reported, Tested, Trained
from handful.records.moments import current_moment
from handful.report import baselines, gather, label_review, over_probe, render
from handful.report.data import data_part, describe_dropped_rows
from handful.report.documents import documents
from handful.report.gather import Result
from handful.report.ranking import ranking, winning_model
from handful.report.render import Tile
from handful.report.tuning import tuning_part
from handful.report.what_ran import look_table, provenance, step_table
from handful.settings import public_text


def report(
    experiment: Experiment,
    reconciled: Reconciled,
    prepared: Prepared,
    trained: Trained,
    tested: Tested,
    *,
    made_from: Fingerprint,
) -> Reported:
    """Write `report.html`; it needs nothing but itself."""
    results = gather.results(experiment, trained, tested, prepared)
    chosen_probe = gather.probe_result(experiment, tested, prepared, winning_model(experiment))
    results += (chosen_probe,) if chosen_probe else ()
    fates, splits = gather.fates(experiment), gather.count_labels_per_split(experiment)
    majority_label = max(splits[1], key=lambda row: row[1][0])[0]
    best = _best(experiment, results)
    review = label_review.part(experiment)
    shown = documents(experiment, _list_report_artifact_ids(results, review))
    # The chosen model first: whoever reads no further has seen what matters.
    results = tuple(sorted(results, key=lambda result: result is not best))
    kept = Tile("artifacts kept", f"{reconciled.kept:,}", describe_dropped_rows(fates))
    context = {
        "name": experiment.settings.experiment.NAME,
        **_verdict_part(experiment, kept, prepared, tested, results, majority_label),
        **data_part(experiment, reconciled, prepared, fates, splits),
        "tuning": tuning_part(experiment),
        "results": [
            render.result_part(result, _metric(experiment, result), index, len(results) == 1, shown)
            for index, result in enumerate(results)
        ],
        "label_review": label_review.shown(review, shown) if review else None,
        "looks": tested.looks,
        "look_table": look_table(experiment),
        "ranking": ranking(experiment),
        "step_table": step_table(experiment, (reconciled, prepared, trained, tested)),
        "settings_text": public_text(experiment.directory, experiment.overrides),
        "provenance": provenance(reconciled, prepared, trained, tested),
        "version": handful.__version__,
    }
    html = render.page(context)
    key = experiment.layout.report
    experiment.store.write(key, html)
    return Reported(
        made_from=made_from,
        finished_at=current_moment(),
        key=key,
        url=f"{experiment.store.url}/{key}",
        size=len(html),
    )


def _list_report_artifact_ids(
    results: Sequence[Result], review: label_review.Part | None
) -> list[str]:
    """The artifacts whose documents are shown."""
    ids = [mistake.artifact_id for result in results for mistake in result.mistakes]
    for result in results:
        ids += [one.artifact_id for kind in result.confused for one in kind.examples]
    return ids + [row.artifact_id for row in (review.rows if review else ())]


def _verdict_part(
    experiment: Experiment,
    kept: Tile,
    prepared: Prepared,
    tested: Tested,
    results: Sequence[Result],
    majority_label: str,
) -> dict[str, Any]:
    """What is told first: the chosen model, the first of `results`, beside the baselines."""
    best = results[0]
    simple = baselines.part(
        experiment, tested, _metric(experiment, best), experiment.settings.train.METRIC_GOAL
    )
    verdict = [(_verdict(experiment, prepared, results, majority_label), False)]
    verdict += baselines.verdict(simple, best.model, best.seed)
    verdict += over_probe.verdict(experiment, best.source)
    loses = any(bad for _, bad in verdict)
    return {
        "verdict": verdict,
        "tiles": _tiles(experiment, kept, results, majority_label, tested, loses)
        + baselines.tiles(simple, best.model, best.seed)
        + over_probe.tiles(experiment, best.source),
        "baselines": simple,
    }


def _metric(experiment: Experiment, result: Result) -> str:
    for model in experiment.settings.train.MODEL_NAMES:
        if model_folder(model) == result.source:
            return experiment.settings.train_for(model).METRIC
    return experiment.settings.train.METRIC


def _verdict(
    experiment: Experiment, prepared: Prepared, results: Sequence[Result], majority_label: str
) -> str:
    """One sentence: the best model by validation, and whether it beats always guessing."""
    best = _best(experiment, results)
    metric = _metric(experiment, best)
    accuracy = (best.artifacts - best.wrong) / best.artifacts
    guess = render.majority(best, majority_label)["accuracy"]
    beats = "more" if accuracy > guess else "no more"
    name = render.format_result_name(best, "{} (seed {})" if len(results) > 1 else "{}")
    chosen = "" if len(results) == 1 else f", the best of {len(results)} by {metric} on validation,"
    artifacts, labels = gather.count_training_data(experiment, prepared, best.source)
    return (
        f"{name}{chosen} is right on {accuracy:.1%} of {best.artifacts:,} held-out "
        f"artifacts, {beats} than the {guess:.1%} of always answering “{majority_label}”. "
        f"It learned from {artifacts:,} artifacts with {labels:,} labels."
    )


def _best(experiment: Experiment, results: Sequence[Result]) -> Result:
    """The winner is chosen on validation, never on test; by `compare` if there are several."""
    sign = 1.0 if experiment.settings.train.METRIC_GOAL == "max" else -1.0
    chosen = winning_model(experiment)
    return max(
        [r for r in results if r.model == chosen] or results,
        key=lambda r: sign * r.validation[_metric(experiment, r)],
    )


def _tiles(
    experiment: Experiment,
    kept: Tile,
    results: Sequence[Result],
    majority_label: str,
    tested: Tested,
    loses: bool,
) -> list[Tile]:
    """`loses`: against the baseline, so that nothing about the model is shown as good."""
    best = _best(experiment, results)
    guess = render.majority(best, majority_label)
    tiles = []
    for name in dict.fromkeys([_metric(experiment, best), "accuracy", "macro_f1"]):
        if name in best.metrics:
            value, base = best.metrics[name], guess.get(name)
            note = f"{_range(best, name)}on test"
            note += f"; guessing gives {base:.3f}" if base is not None else ""
            good = base is not None and value > base and not loses
            bad = base is not None and value <= base
            tiles.append(Tile(name, f"{value:.3f}", note, good, bad))
    looks = f"{tested.looks} {'look' if tested.looks == 1 else 'looks'} so far"
    return [
        *tiles,
        kept,
        Tile("held out", f"{best.artifacts:,}", looks),
    ]


def _range(result: Result, name: str) -> str:
    found = result.measured.get("intervals", {}).get(name)
    if (
        not found
        or found["low"] is None
        or abs(found["value"] - result.metrics[name]) > render.SAME
    ):
        return ""
    return f"{found['low']:.3f} to {found['high']:.3f} "
