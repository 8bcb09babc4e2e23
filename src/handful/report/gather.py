"""What the page shows, read from the store: small frozen records, no words and no drawing."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from handful import layout
from handful.errors import Absent, DataError
from handful.layout import Layout
from handful.records import Evaluation, Fate, Prepared, Tested, Trained, finite_metrics
from handful.report.confusion import Confused, confusions
from handful.storage.base import Store

EXAMPLES_PER_FATE = 3
_FATES_IN_USE = [Fate.KEPT.value, Fate.FILE_ROW.value]
"""What a label row of a kept artifact may be and not be dropped."""
MISTAKES = 25


@dataclass(frozen=True)
class FateRow:
    """One fate: how many label rows or artifacts, and a few of them with their reasons."""

    fate: str
    rows: int
    """Label rows."""
    artifacts: int
    """Artifacts of the file store that no label row names."""
    examples: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int:
        """Rows of the ledger."""
        return self.rows + self.artifacts


@dataclass(frozen=True)
class Fates:
    """What became of everything that production has."""

    rows: tuple[FateRow, ...]
    """Kept first, then by count."""
    dropped: int
    """Label rows that neither stand for a kept artifact nor name a file of one."""
    unlabelled: int
    """Artifacts that no label row names."""


@dataclass(frozen=True)
class LabelScore:
    """One label on the test split."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float
    told: tuple[str, ...]
    """Precision, recall and F1 with intervals; area under the ROC curve, average precision."""


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction, and how sure the model was of it."""

    artifact_id: str
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True)
class Result:
    """One model with one seed on the held-out split."""

    model: str
    seed: int
    metrics: Mapping[str, float]
    validation: Mapping[str, float]
    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    """True label by row, prediction by column, in the order of `labels`."""
    scores: tuple[LabelScore, ...]
    mistakes: tuple[Mistake, ...]
    confused: tuple[Confused, ...]
    wrong: int
    artifacts: int
    loss: tuple[tuple[float, float], ...]
    """(epoch, training loss)"""
    curve: tuple[tuple[float, Mapping[str, float]], ...]
    """(epoch, loss and metrics on validation)"""
    seconds: float
    parameters: int
    measured: Mapping[str, Any]
    """What metrics.json holds."""
    probe_of: str | None = None
    """Of a probe, the model whose frozen features it stands on."""

    @property
    def source(self) -> str:
        """The model whose encoded data it learned from."""
        return self.probe_of or self.model


def fates(store: Store) -> Fates:
    """Every fate of the ledger."""
    columns = ["artifact_id", "label_source", "fate", "reason"]
    ledger = _parquet(store, layout.LEDGER).select(columns)
    ledger = ledger.with_columns(is_row=pl.col("label_source").is_not_null())
    rows = []
    for (fate,), part in ledger.group_by("fate"):
        shown = part.sort("artifact_id", nulls_last=True).head(EXAMPLES_PER_FATE)
        examples = tuple(
            (str(row["artifact_id"]), row["reason"] or "") for row in shown.iter_rows(named=True)
        )
        count = int(part["is_row"].sum())
        kept = fate == Fate.KEPT
        rows.append(FateRow(str(fate), count, part.height - count, () if kept else examples))
    kept_ids = ledger.filter(pl.col("fate") == Fate.KEPT.value)["artifact_id"].unique()
    used = pl.col("artifact_id").is_in(kept_ids.implode()) & pl.col("fate").is_in(_FATES_IN_USE)
    return Fates(
        tuple(sorted(rows, key=lambda row: (row.fate != Fate.KEPT, -row.count, row.fate))),
        ledger.filter(pl.col("is_row") & ~used.fill_null(value=False)).height,
        ledger.filter(~pl.col("is_row")).height,
    )


def count_training_data(
    store: Store, mine: Layout, prepared: Prepared, model: str
) -> tuple[int, int]:
    """What the training of a model saw: how many artifacts, and how many labels these have."""
    columns = ["artifact_id", "label", "split"]
    train = _parquet(store, mine.splits).select(columns).filter(split="train")
    try:
        _, quarantine = encoding(store, mine, model)
        train = train.join(quarantine, on="artifact_id", how="anti")
    except Absent:
        pass  # nobody noted what could not be encoded
    return prepared.rows[model]["train"], train["label"].n_unique()


def count_labels_per_split(
    store: Store, mine: Layout
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]:
    """The splits, and for each label its artifacts in each of them; largest label first."""
    splits = _parquet(store, mine.splits)
    names = tuple(name for name in (*layout.SPLITS, "left_out") if (splits["split"] == name).any())
    table = splits.group_by("label", "split").len()
    counts: dict[str, dict[str, int]] = {}
    for label, split, count in table.iter_rows():
        counts.setdefault(label, {})[split] = count
    rows = [(label, tuple(found.get(name, 0) for name in names)) for label, found in counts.items()]
    return names, tuple(sorted(rows, key=lambda row: (-sum(row[1]), row[0])))


def results(
    store: Store, mine: Layout, trained: Trained, tested: Tested, prepared: Prepared
) -> tuple[Result, ...]:
    """Every evaluation, in the order of the settings."""
    runs = {(run.model, run.seed): run for run in trained.runs}
    labels = _labels(prepared)
    found = []
    for evaluation in tested.evaluations:
        run = runs[evaluation.model, evaluation.seed]
        loss, curve = _curves(store.read(mine.metrics_log(run.model, run.seed)))
        measured = _read_run_metrics(store, mine, evaluation)
        predictions = _predictions(store, mine, evaluation)
        result = _result(evaluation, predictions, labels, measured, finite_metrics(run.metrics))
        found.append(
            replace(result, loss=loss, curve=curve, seconds=run.seconds, parameters=run.parameters)
        )
    return tuple(found)


def probe_result(
    store: Store, mine: Layout, tested: Tested, prepared: Prepared, name: str | None
) -> Result | None:
    """The probe whose folder has this name; None if no probe has."""
    evaluation = next((one for one in tested.baselines if one.model == name), None)
    if evaluation is None:
        return None
    measured = _read_run_metrics(store, mine, evaluation)
    if not measured.get("probe_of"):
        return None
    validation = finite_metrics(measured["validation"])
    predictions = _predictions(store, mine, evaluation)
    return _result(evaluation, predictions, _labels(prepared), measured, validation)


def _result(
    evaluation: Evaluation,
    predictions: pl.DataFrame,
    labels: tuple[str, ...],
    measured: Mapping[str, Any],
    validation: Mapping[str, float],
) -> Result:
    """As far as the results of the test tell; without the curves of a training."""
    wrong = predictions.filter(pl.col("label") != pl.col("prediction"))
    return Result(
        layout.model_folder(evaluation.model),
        evaluation.seed,
        finite_metrics(evaluation.metrics),
        validation,
        labels,
        _matrix(predictions, labels),
        _scores(predictions, labels, measured.get("per_label", {})),
        _mistakes(wrong),
        confusions(predictions),
        wrong.height,
        predictions.height,
        (),
        (),
        float(measured.get("training_seconds") or 0.0),
        int(measured.get("parameters") or 0),
        measured,
        measured.get("probe_of"),
    )


def _labels(prepared: Prepared) -> tuple[str, ...]:
    return tuple(sorted(prepared.label2id, key=lambda label: prepared.label2id[label]))


def _read_run_metrics(store: Store, mine: Layout, one: Evaluation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read(mine.metrics(one.model, one.seed)))
    return found


def read_comparison(store: Store, mine: Layout) -> Mapping[str, Any]:
    """comparison.json; empty before there is one."""
    try:
        found: Mapping[str, Any] = json.loads(store.read(mine.comparison))
    except Absent:
        return {}
    return found


def _predictions(store: Store, mine: Layout, one: Evaluation) -> pl.DataFrame:
    key = mine.predictions(one.model, one.seed)
    try:
        return _parquet(store, key)
    except Absent as error:
        raise DataError(
            "the predictions are gone",
            where=f"{store.url}/{key}",
            remedy="run `handful run EXP --redo test`",
        ) from error


def _matrix(predictions: pl.DataFrame, labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    counts = {
        (a, b): n for a, b, n in predictions.group_by("label", "prediction").len().iter_rows()
    }
    return tuple(tuple(counts.get((a, b), 0) for b in labels) for a in labels)


def _scores(
    predictions: pl.DataFrame, labels: tuple[str, ...], told: Mapping[str, Any]
) -> tuple[LabelScore, ...]:
    matrix = _matrix(predictions, labels)
    scores = []
    for index, label in enumerate(labels):
        right, support = matrix[index][index], sum(matrix[index])
        given = sum(row[index] for row in matrix)
        precision = right / given if given else 0.0
        recall = right / support if support else 0.0
        f1 = 2 * right / (given + support) if given + support else 0.0
        values = (precision, recall, f1)
        scores.append(
            LabelScore(label, support, *values, _format_label_metrics(values, told.get(label, {})))
        )
    return tuple(sorted(scores, key=lambda score: (-score.support, score.label)))


def _format_label_metrics(
    values: tuple[float, float, float], more: Mapping[str, Any]
) -> tuple[str, ...]:
    intervals = more.get("intervals", {})
    cells = []
    for name, value in zip(("precision", "recall", "f1"), values, strict=True):
        low, high = intervals.get(name, (None, None))
        cells.append(f"{value:.3f}" if low is None else f"{value:.3f} ({low:.2f}–{high:.2f})")
    for name in ("roc_auc", "average_precision"):
        found = more.get(name)
        cells.append(f"{found['value']:.3f}" if found else "")
    return tuple(cells)


def _mistakes(wrong: pl.DataFrame) -> tuple[Mistake, ...]:
    worst = (
        wrong.with_columns(pl.col("probabilities").list.max().alias("confidence"))
        .sort("confidence", "artifact_id", descending=[True, False])
        .head(MISTAKES)
    )
    return tuple(
        Mistake(row["artifact_id"], row["label"], row["prediction"], row["confidence"])
        for row in worst.iter_rows(named=True)
    )


def _curves(metrics_log: bytes) -> tuple[Any, Any]:
    loss, curve = [], []
    for line in metrics_log.splitlines():
        event = json.loads(line)
        if "validation" in event:
            found = {name: _number(value) for name, value in event["validation"].items()}
            curve.append((event["epoch"], found))
        else:
            loss.append((event["epoch"], _number(event["loss"])))
    return tuple(loss), tuple(curve)


def _number(value: float | None) -> float:
    """What was no finite number may have been written as null."""
    return math.nan if value is None else value


def encoding(store: Store, mine: Layout, model: str) -> tuple[Mapping[str, Any], pl.DataFrame]:
    """truncation.json and quarantine.parquet of one model."""
    folder = mine.encoded(model)
    truncation = json.loads(store.read(f"{folder}/{layout.TRUNCATION}"))
    return truncation, _parquet(store, f"{folder}/{layout.QUARANTINE}")


def _parquet(store: Store, key: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(store.read(key)))
