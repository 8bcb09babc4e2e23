"""report: one HTML page about everything that was matched, drawn, trained and tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import handful
from handful.errors import Absent
from handful.experiment import Experiment
from handful.layout import model_folder
from handful.records import Fingerprint, Prepared, Reconciled, Record, Reported, Tested, Trained
from handful.report import baselines, gather, label_review, render
from handful.report.gather import Result
from handful.report.leakage import leakage_part
from handful.report.looks import look_rows
from handful.report.ranking import chosen_model, ranking
from handful.report.render import Tile
from handful.report.tuning import tuning_part
from handful.settings import public_text

QUARANTINED_SHOWN = 20


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
    split_names, split_rows = gather.split_counts(experiment)
    majority_label = max(split_rows, key=lambda row: row[1][0])[0]
    best = _best(experiment, results)
    # The chosen model first: whoever reads no further has seen what matters.
    results = tuple(sorted(results, key=lambda result: result is not best))
    context = {
        "name": experiment.settings.experiment.NAME,
        **_verdict_part(experiment, reconciled, tested, results, majority_label),
        **_data_part(experiment, reconciled, prepared),
        "split_names": split_names,
        "split_rows": split_rows,
        "split_totals": [sum(row[1][i] for row in split_rows) for i in range(len(split_names))],
        "tuning": tuning_part(experiment),
        "results": [
            render.result_part(result, _metric(experiment, result), index, len(results) == 1)
            for index, result in enumerate(results)
        ],
        "label_review": label_review.part(experiment),
        "looks": tested.looks,
        "look_rows": look_rows(experiment),
        "ranking": ranking(experiment),
        "steps": _steps(reconciled, prepared, trained, tested),
        "settings_text": public_text(experiment.directory, experiment.overrides),
        "provenance": _provenance(reconciled, prepared, trained, tested),
        "version": handful.__version__,
    }
    html = render.page(context)
    key = experiment.layout.report
    experiment.store.write(key, html)
    return Reported(
        made_from=made_from,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        key=key,
        url=f"{experiment.store.url}/{key}",
        size=len(html),
    )


def _verdict_part(
    experiment: Experiment,
    reconciled: Reconciled,
    tested: Tested,
    results: Sequence[Result],
    majority_label: str,
) -> dict[str, Any]:
    """What is told first: the chosen model, the first of `results`, beside the baselines."""
    best = results[0]
    simple = baselines.part(
        experiment, tested, _metric(experiment, best), experiment.settings.train.METRIC_GOAL
    )
    verdict = [(_verdict(experiment, reconciled, results, majority_label), False)]
    verdict += baselines.verdict(simple, best.model, best.seed)
    loses = any(bad for _, bad in verdict)
    return {
        "verdict": verdict,
        "tiles": _tiles(experiment, reconciled, results, majority_label, tested, loses)
        + baselines.tiles(simple, best.model, best.seed),
        "baselines": simple,
    }


def _data_part(
    experiment: Experiment, reconciled: Reconciled, prepared: Prepared
) -> dict[str, Any]:
    """Where the artifacts went, and as what they reach the models."""
    fates = gather.fates(experiment)
    return {
        "snapshot_at": reconciled.snapshot_at,
        "fates": fates,
        "fate_bar": render.fate_bar(fates),
        "ledger_rows": sum(fate.count for fate in fates),
        "grouped": experiment.settings.prepare.NEAR_DUPLICATES == "group",
        "encodings": [_encoding(experiment, prepared, model) for model in prepared.rows],
        "leakage": leakage_part(experiment),
    }


def _metric(experiment: Experiment, result: Result) -> str:
    for model in experiment.settings.train.MODEL_NAMES:
        if model_folder(model) == result.model:
            return experiment.settings.train_for(model).METRIC
    return experiment.settings.train.METRIC


def _verdict(
    experiment: Experiment, reconciled: Reconciled, results: Sequence[Result], majority_label: str
) -> str:
    """One sentence: the best model by validation, and whether it beats always guessing."""
    best = _best(experiment, results)
    metric = _metric(experiment, best)
    accuracy = (best.artifacts - best.wrong) / best.artifacts
    guess = render.majority(best, majority_label)["accuracy"]
    beats = "more" if accuracy > guess else "no more"
    seeds = f" (seed {best.seed})" if len(results) > 1 else ""
    chosen = "" if len(results) == 1 else f", the best of {len(results)} by {metric} on validation,"
    return (
        f"{best.model}{seeds}{chosen} is right on {accuracy:.1%} of {best.artifacts:,} held-out "
        f"artifacts, {beats} than the {guess:.1%} of always answering “{majority_label}”. "
        f"It learned from {reconciled.kept:,} artifacts with {len(best.labels)} labels."
    )


def _best(experiment: Experiment, results: Sequence[Result]) -> Result:
    """The winner is chosen on validation, never on test; by `compare` if there are several."""
    sign = 1.0 if experiment.settings.train.METRIC_GOAL == "max" else -1.0
    chosen = chosen_model(experiment)
    return max(
        [r for r in results if r.model == chosen] or results,
        key=lambda r: sign * r.validation[_metric(experiment, r)],
    )


def _tiles(
    experiment: Experiment,
    reconciled: Reconciled,
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
    dropped = sum(reconciled.fates.values()) - reconciled.kept
    looks = f"{tested.looks} {'look' if tested.looks == 1 else 'looks'} so far"
    return [
        *tiles,
        Tile(
            "artifacts kept",
            f"{reconciled.kept:,}",
            f"{dropped:,} rows dropped, each with a reason",
        ),
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


def _encoding(experiment: Experiment, prepared: Prepared, model: str) -> dict[str, Any]:
    try:
        truncation, quarantine = gather.encoding(experiment, model)
    except Absent:
        return {
            "name": model_folder(model),
            "truncation": "Not recorded.",
            "left_out": "",
            "rows": [],
            "quarantined": [],
        }
    shown = quarantine.select("artifact_id", "error").head(QUARANTINED_SHOWN)
    left_out = prepared.left_out.get(model, 0)
    return {
        "name": model_folder(model),
        "truncation": _truncation_words(truncation["overall"]),
        "left_out": f"encode_data left {left_out:,} out." if left_out else "",
        "rows": [
            {
                "label": label,
                "instances": f"{found['instances']:,}",
                "cut": _share(found.get("share_truncated")),
                "unseen": _share(found.get("share_of_tokens_unseen")),
            }
            for label, found in truncation["labels"].items()
        ],
        "quarantined": list(shown.iter_rows()),
        "quarantined_count": f"{quarantine.height:,}",
    }


def _truncation_words(overall: Mapping[str, Any]) -> str:
    if overall.get("share_truncated") is None:
        return "How long the documents were before truncation was not recorded."
    return (
        f"{_share(overall['share_truncated'])} of {overall['instances']:,} documents were cut, and "
        f"{_share(overall.get('share_of_tokens_unseen'))} of all tokens were never seen."
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _steps(*records: Record) -> list[tuple[str, str, float]]:
    names = ("reconcile", "prepare", "train", "test")
    return [
        (name, record.finished_at, record.seconds)
        for name, record in zip(names, records, strict=True)
    ]


def _provenance(
    reconciled: Reconciled, prepared: Prepared, trained: Trained, tested: Tested
) -> list[tuple[str, str]]:
    rows = [("the ledger", reconciled.ledger_hash), ("the splits", prepared.splits_hash)]
    rows += [(f"encoded data of {model_folder(m)}", h) for m, h in prepared.data_hash.items()]
    rows += [
        (f"weights of {model_folder(r.model)}, seed {r.seed}", r.weights_hash) for r in trained.runs
    ]
    rows += [
        (f"predictions of {model_folder(e.model)}, seed {e.seed}", e.predictions_hash)
        for e in tested.evaluations
    ]
    rows += [(name, value) for name, value in prepared.made_from.items() if "version" in name]
    return rows
