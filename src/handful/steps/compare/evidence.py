"""What `test` and the baselines left in the store, read for a comparison; nothing is evaluated."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from handful.errors import Absent, DataError
from handful.evaluation.metrics.arrays import Floats
from handful.evaluation.metrics.calibration import losses, softmax, squares
from handful.layout import Layout
from handful.records import Tested, Trained, finite_metrics
from handful.storage.base import Store

COLUMNS = ["artifact_id", "label", "prediction", "probabilities", "logits"]


@dataclass(frozen=True)
class Answered:
    """One model with one seed on the test split."""

    seed: int
    table: pl.DataFrame
    """artifact_id, label, prediction (label ids), loss (negative log-probability of the label),
    square (its Brier score)."""
    validation: Mapping[str, float]
    told: Mapping[str, float]
    """The metrics that were told at the test, those of the user's `compute_metrics` included."""
    intervals: Mapping[str, Mapping[str, float | None]]
    """Of handful's own figures that only `test` can give: ROC-AUC, calibration and the like."""
    test_seconds: float
    training_seconds: float | None
    parameters: int | None
    weights_hash: str


@dataclass(frozen=True)
class Contestant:
    """A model or a baseline with all of its seeds, the first seed first."""

    name: str
    baseline: bool
    runs: tuple[Answered, ...]
    probe_of: str | None = None
    """Of a probe, the folder of the model whose frozen features it stands on."""

    @property
    def can_win(self) -> bool:
        """May it be chosen? A probe may: it predicts as any trained model does."""
        return not self.baseline or self.probe_of is not None


def models(
    store: Store, mine: Layout, label2id: Mapping[str, int], trained: Trained, tested: Tested
) -> list[Contestant]:
    """Every model that was tested, in the order of the settings.

    `DataError` if predictions are damaged, hold NaN, or labels that are not in `label2id`.
    """
    runs = {(run.model, run.seed): run for run in trained.runs}
    found: dict[str, list[Answered]] = {}
    for one in tested.evaluations:
        run = runs[one.model, one.seed]
        answered = Answered(
            seed=one.seed,
            table=predictions(store, mine, label2id, one.model, one.seed),
            validation=finite_metrics(run.metrics),
            told=finite_metrics(one.metrics),
            intervals=_intervals(store, mine, one.model, one.seed),
            test_seconds=one.seconds,
            training_seconds=run.seconds,
            parameters=run.parameters or None,
            weights_hash=run.weights_hash,
        )
        found.setdefault(one.model, []).append(answered)
    return [Contestant(name, False, tuple(each)) for name, each in found.items()]


def baselines(
    store: Store, mine: Layout, label2id: Mapping[str, int], files: Mapping[str, bytes]
) -> list[Contestant]:
    """The baselines; `files` are their metrics.json by the folder's name."""
    found = []
    for name, data in files.items():
        raw = json.loads(data)
        answered = Answered(
            seed=0,
            table=predictions(store, mine, label2id, name, 0),
            validation=finite_metrics(raw.get("validation", {})),
            told=finite_metrics(raw.get("metrics", {})),
            intervals=raw.get("intervals", {}),
            test_seconds=float(raw.get("seconds") or 0.0),
            training_seconds=raw.get("training_seconds"),
            parameters=raw.get("parameters"),
            weights_hash=raw.get("weights_hash", ""),
        )
        found.append(Contestant(name, True, (answered,), raw.get("probe_of")))
    return found


def _intervals(
    store: Store, mine: Layout, model: str, seed: int
) -> Mapping[str, Mapping[str, float | None]]:
    try:
        found = json.loads(store.read(mine.metrics(model, seed)))
    except Absent:
        return {}
    intervals: Mapping[str, Mapping[str, float | None]] = found.get("intervals", {})
    return intervals


def predictions(
    store: Store, mine: Layout, label2id: Mapping[str, int], model: str, seed: int
) -> pl.DataFrame:
    """predictions.parquet as `Answered.table`; raises as `models` does."""
    key = mine.predictions(model, seed)
    where = f"{store.url}/{key}"
    again = "run `handful run EXP --redo test`"
    try:
        raw = pl.read_parquet(io.BytesIO(store.read(key)), columns=COLUMNS)
    except Absent as error:
        raise DataError("the predictions are gone", where=where, remedy=again) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(f"cannot be read: {error}", where=where, remedy=again) from error
    if not raw.height:
        raise DataError("there are no predictions", where=where, remedy=again)
    if raw["artifact_id"].n_unique() != raw.height:
        raise DataError("an artifact stands in it more than once", where=where, remedy=again)
    _check_numbers(raw, f"{model}, seed {seed}", where)
    ids = {
        name: raw[name].replace_strict(label2id, default=None, return_dtype=pl.Int64)
        for name in ("label", "prediction")
    }
    for name, column in ids.items():
        if column.null_count():
            unknown = raw.filter(column.is_null())[name][0]
            what = f"the {name} {unknown!r} is not among the {len(label2id)} labels"
            raise DataError(what, where=where, remedy=again)
    logits, references = _logit_matrix(raw["logits"], len(label2id), where), ids["label"].to_numpy()
    return raw.select(
        "artifact_id",
        label=ids["label"],
        prediction=ids["prediction"],
        loss=pl.Series(losses(logits, references), dtype=pl.Float64),
        square=pl.Series(squares(softmax(logits), references), dtype=pl.Float64),
    )


def common(contestants: Sequence[Contestant]) -> pl.Series:
    """The artifacts that all of them were tested on, sorted; `DataError` if there are none."""
    tables = [run.table for each in contestants for run in each.runs]
    shared = tables[0].select("artifact_id", "label")
    for table in tables[1:]:
        other = table.select("artifact_id", other=pl.col("label"))
        shared = shared.join(other, on="artifact_id")
        unlike = shared.filter(pl.col("label") != pl.col("other"))
        if unlike.height:
            raise DataError(
                f"{unlike['artifact_id'][0]} has two labels, and {unlike.height - 1:,} others too: "
                "the predictions are of different datasets",
                where="evaluation/",
                remedy="run `handful run EXP --redo test`",
            )
        shared = shared.drop("other")
    if not shared.height:
        sizes = ", ".join(f"{each.name} {each.runs[0].table.height:,}" for each in contestants)
        raise DataError(
            f"no artifact was tested with all of the models ({sizes})",
            where="evaluation/",
            remedy="compare models whose encode_data keeps the same artifacts",
        )
    return shared["artifact_id"].sort()


def select_evidence_rows(table: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The rows of `ids`, in their order."""
    return ids.to_frame("artifact_id").join(
        table, on="artifact_id", how="left", maintain_order="left"
    )


def finite(losses: Floats) -> Floats:
    """An infinite loss has no mean: then the log-loss of that model is not defined at all."""
    return losses if np.isfinite(losses).all() else np.full_like(losses, np.nan)


def _check_numbers(raw: pl.DataFrame, who: str, where: str) -> None:
    for name in ("logits", "probabilities"):
        bad = (
            raw[name].is_null()
            | raw[name].list.eval(pl.element().is_nan() | pl.element().is_null()).list.any()
        )
        count = int(bad.sum())
        if count:
            raise DataError(
                f"{who} gave {name} that are no numbers (NaN) for {count:,} of {raw.height:,} "
                f"artifacts, {raw.filter(bad)['artifact_id'][0]} among them",
                where=where,
                remedy="its training went astray: lower LEARNING_RATE, or set PRECISION = fp32, "
                "and train it again, or take it out of MODEL_NAMES",
            )


def _logit_matrix(column: pl.Series, labels: int, where: str) -> Floats:
    """[N, C]; `DataError` if a row has another length."""
    if not (column.list.len() == labels).all():
        raise DataError(
            f"a row has not one number for each of the {labels} labels",
            where=where,
            remedy="run `handful run EXP --redo test`",
        )
    return column.explode().to_numpy().reshape(-1, labels)
