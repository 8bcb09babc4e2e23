"""report: one HTML page about everything that was matched, drawn, trained and tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import handful
from handful.evaluation.test_access_log import looks_so_far
from handful.experiment.context import Experiment
from handful.experiment.forgotten import words_since
from handful.layout import model_folder
from handful.records import Fingerprint, Prepared, Reconciled, Reported, Tested, Trained
from handful.records.moments import current_moment
from handful.report import baselines, gather, label_review, over_probe, render
from handful.report.data import data_part, describe_dropped_rows, encoding_part
from handful.report.documents import documents
from handful.report.forgotten import mark_report
from handful.report.gather import Result
from handful.report.leakage import leakage_part
from handful.report.ranking import ranking
from handful.report.render import Tile
from handful.report.tuning import tuning_part
from handful.report.what_ran import look_table, provenance, step_table
from handful.settings import Settings, public_text


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
    settings, store, mine = experiment.settings, experiment.store, experiment.layout
    told = settings.report.SHOW_DOCUMENTS
    compared = gather.read_comparison(store, mine)
    results = gather.results(store, mine, trained, tested, prepared)
    chosen_probe = gather.probe_result(store, mine, tested, prepared, compared.get("winner"))
    results += (chosen_probe,) if chosen_probe else ()
    best, *_ = results = _best_first(settings, results, compared.get("winner"))
    fates, splits = gather.fates(store), gather.count_labels_per_split(store, mine)
    review = label_review.part(store, mine)
    ids, inputs = _list_report_artifact_ids(results, review), settings.prepare.MODEL_INPUT_FILES
    shown = documents(store, ids, inputs, allowed=told)
    context = {
        "name": settings.experiment.NAME,
        "snapshot_at": reconciled.snapshot_at,
        "grouped": settings.prepare.NEAR_DUPLICATES == "group",
        **data_part(fates, splits, told=told),
        "encodings": [
            encoding_part(store, mine, prepared, model, told=told) for model in prepared.rows
        ],
        "leakage": leakage_part(store, mine.leakage),
        "tuning": tuning_part(
            store, mine, settings.train.MODEL_NAMES if settings.tune.is_asked else ()
        ),
        "results": [
            render.result_part(result, _metric(settings, result), index, len(results) == 1, shown)
            for index, result in enumerate(results)
        ],
        "label_review": label_review.shown(review, shown) if review else None,
        "looks": tested.looks,
        "look_table": look_table(looks_so_far(store, mine)),
        "ranking": ranking(compared),
        "step_table": step_table(store, mine, (reconciled, prepared, trained, tested)),
        "settings_text": public_text(experiment.directory, experiment.overrides),
        "provenance": provenance(reconciled, prepared, trained, tested),
        "version": handful.__version__,
    }
    metric, majority_label = _metric(settings, best), max(splits[1], key=lambda row: row[1][0])[0]
    abouts = baselines.describe_baselines(store, mine, tested)
    simple = baselines.part(tested, abouts, compared, metric, settings.train.METRIC_GOAL)
    learned = gather.count_training_data(store, mine, prepared, best.source)
    verdict = [(_verdict(best, metric, len(results), learned, majority_label), False)]
    verdict += baselines.verdict(simple, best.model, best.seed)
    verdict += over_probe.verdict(compared, best.source)
    guess, loses = render.majority(best, majority_label), any(bad for _, bad in verdict)
    looks = f"{tested.looks} {'look' if tested.looks == 1 else 'looks'} so far"
    tiles = [
        *_metric_tiles(best, metric, guess, loses=loses),
        Tile("artifacts kept", f"{reconciled.kept:,}", describe_dropped_rows(fates)),
        Tile("held out", f"{best.artifacts:,}", looks),
        *baselines.tiles(simple, best.model, best.seed),
        *over_probe.tiles(compared, best.source),
    ]
    html = render.page(context | {"verdict": verdict, "tiles": tiles, "baselines": simple})
    if words := words_since(store, tested.finished_at, mine.encoded_data_dir):
        html = mark_report(html.decode(), words).encode()
    key = mine.report
    store.write(key, html)
    return Reported(
        made_from=made_from,
        finished_at=current_moment(),
        key=key,
        url=f"{store.url}/{key}",
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


def _metric(settings: Settings, result: Result) -> str:
    for model in settings.train.MODEL_NAMES:
        if model_folder(model) == result.source:
            return settings.train_for(model).METRIC
    return settings.train.METRIC


def _verdict(
    best: Result, metric: str, count: int, learned: tuple[int, int], majority_label: str
) -> str:
    """One sentence: the best model by validation, and whether it beats always guessing.

    `count`: of all results. `learned`: how many artifacts and labels it was trained on.
    """
    accuracy = (best.artifacts - best.wrong) / best.artifacts
    guess = render.majority(best, majority_label)["accuracy"]
    beats = "more" if accuracy > guess else "no more"
    name = render.format_result_name(best, "{} (seed {})" if count > 1 else "{}")
    chosen = "" if count == 1 else f", the best of {count} by {metric} on validation,"
    artifacts, labels = learned
    return (
        f"{name}{chosen} is right on {accuracy:.1%} of {best.artifacts:,} held-out "
        f"artifacts, {beats} than the {guess:.1%} of always answering “{majority_label}”. "
        f"It learned from {artifacts:,} artifacts with {labels:,} labels."
    )


def _best_first(
    settings: Settings, results: Sequence[Result], chosen: str | None
) -> tuple[Result, ...]:
    """The winner is chosen on validation, never on test; by `compare` if there are several.

    Whoever reads no further than that one has seen what matters.
    """
    sign = 1.0 if settings.train.METRIC_GOAL == "max" else -1.0
    best = max(
        [r for r in results if r.model == chosen] or results,
        key=lambda r: sign * r.validation[_metric(settings, r)],
    )
    return tuple(sorted(results, key=lambda result: result is not best))


def _metric_tiles(
    best: Result, metric: str, guess: Mapping[str, float], *, loses: bool
) -> list[Tile]:
    """`guess`: the metrics of always answering the most frequent label. `loses`: against the
    baseline, so that nothing about the model is shown as good.
    """
    tiles = []
    for name in dict.fromkeys([metric, "accuracy", "macro_f1"]):
        if name in best.metrics:
            value, base = best.metrics[name], guess.get(name)
            note = f"{_range(best, name)}on test"
            note += f"; guessing gives {base:.3f}" if base is not None else ""
            good = base is not None and value > base and not loses
            bad = base is not None and value <= base
            tiles.append(Tile(name, f"{value:.3f}", note, good, bad))
    return tiles


def _range(result: Result, name: str) -> str:
    found = result.measured.get("intervals", {}).get(name)
    if (
        not found
        or found["low"] is None
        or abs(found["value"] - result.metrics[name]) > render.SAME
    ):
        return ""
    return f"{found['low']:.3f} to {found['high']:.3f} "
