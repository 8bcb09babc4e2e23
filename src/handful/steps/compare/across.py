"""Several experiments side by side, on what all of them tested and none of them trained on.

Nothing is written: the stores of the experiments are only read. Their validation splits may
differ, so no winner is chosen here; each experiment sends the model that it chose itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from handful.errors import DataError, UserError
from handful.evaluation.metrics.bootstrap import (
    Answers,
    compute_answer_metrics,
    resample_answer_metrics,
)
from handful.evaluation.significance.pairs import compare_model_pairs, every_two
from handful.evaluation.significance.verdict import judge_model_pair
from handful.experiment.context import Experiment
from handful.records import Compared, Evaluation, Prepared, Split, Tested
from handful.steps.compare.evidence import finite, predictions
from handful.steps.compare.values import pair_as_json, with_interval
from handful.steps.reconcile.keys.guids import normalize_guid_ids
from handful.steps.reconcile.keys.id_format import is_guid

LEARNT_FROM = (Split.TRAIN, Split.VALIDATION)
"""Validation too: it picked the checkpoint and the model."""


@dataclass(frozen=True)
class Side:
    """One experiment and what it has done."""

    experiment: Experiment
    prepared: Prepared
    tested: Tested
    compared: Compared

    @property
    def name(self) -> str:
        return f"{self.experiment_name}/{self.compared.winner}"

    @property
    def experiment_name(self) -> str:
        return self.experiment.settings.experiment.NAME

    @property
    def evaluation(self) -> Evaluation:
        """Of the chosen model's first seed; `UserError` if it is not among what was tested."""
        for one in (*self.tested.evaluations, *self.tested.baselines):  # a probe may be chosen
            if one.model == self.compared.winner:
                return one
        raise UserError(
            f"{self.compared.winner} was chosen, but not tested any more",
            where=self.experiment_name,
            remedy=f"run `handful compare {self.experiment.directory}` for it alone first",
        )


@dataclass(frozen=True)
class Shared:
    """The artifacts to compare on, and how many were left out, and why."""

    table: pl.DataFrame
    """artifact_id, label, and p0, p1, …: each side's prediction; l0, l1, …: its loss;
    s0, s1, …: its Brier score."""
    in_common: int
    trained_on: int
    labels_differ: int


def across(sides: Sequence[Side]) -> dict[str, Any]:
    """The comparison as JSON values.

    `DataError` if the label sets differ, or if no artifact is left to compare on.
    """
    _check_labels(sides)
    labels = sides[0].prepared.label2id
    shared = _select_shared_artifacts(sides)
    table, numbers = shared.table, range(len(sides))
    answers = Answers(
        table["label"].to_numpy(),
        np.stack([table[f"p{n}"].to_numpy() for n in numbers]),
        np.stack([finite(table[f"l{n}"].to_numpy()) for n in numbers]),
        len(labels),
        np.stack([table[f"s{n}"].to_numpy() for n in numbers]),
    )
    first = sides[0].experiment.settings
    metric, goal = first.train.METRIC, first.train.METRIC_GOAL
    values, draws = (
        compute_answer_metrics(answers),
        resample_answer_metrics(answers, seed=first.experiment.SEED),
    )
    names = _distinct_side_names(sides)
    pairs = compare_model_pairs(names, answers, every_two(len(sides)), values, draws)
    verdicts = [judge_model_pair(pair, metric, goal) for pair in pairs]
    return {
        "artifacts": table.height,
        "metric": metric,
        "left_out": {
            "trained_on_by_another": shared.trained_on,
            "labels_differ": shared.labels_differ,
        },
        "sentences": [one.words for one in verdicts],
        "remarks": _remarks(sides, names, shared),
        "ranking": [
            {
                "model": names[n],
                "seed": sides[n].evaluation.seed,
                "artifacts_tested": sides[n].evaluation.artifacts,
                "metrics": {
                    name: with_interval(float(values[name][n]), draws[name][n]) for name in values
                },
            }
            for n in numbers
        ],
        "pairs": [
            pair_as_json(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)
        ],
    }


def _distinct_side_names(sides: Sequence[Side]) -> list[str]:
    """Distinct names: with the directory where two are the same."""
    names = [side.name for side in sides]
    return [
        name if names.count(name) == 1 else f"{name} ({side.experiment.directory})"
        for name, side in zip(names, sides, strict=True)
    ]


def _check_labels(sides: Sequence[Side]) -> None:
    first = set(sides[0].prepared.label2id)
    for side in sides[1:]:
        other = set(side.prepared.label2id)
        if first == other:
            continue
        parts = [
            f"{', '.join(map(repr, sorted(only)))} only in {one.experiment_name}"
            for one, only in ((sides[0], first - other), (side, other - first))
            if only
        ]
        raise DataError(
            f"the experiments have different labels: {'; '.join(parts)}",
            where="label2id.json",
            remedy="give both the same labels (IGNORED_LABELS, LABEL_ALIASES, "
            "NUM_LABELS_THRESHOLD), and run them again",
        )


def _select_shared_artifacts(sides: Sequence[Side]) -> Shared:
    label2id = sides[0].prepared.label2id
    one_form = any(is_guid(side.experiment.settings) for side in sides)
    tables = [
        _in_one_form(_side_prediction_table(side, n, label2id), one_form)
        for n, side in enumerate(sides)
    ]
    table = tables[0].rename({"label0": "label"})
    for other in tables[1:]:
        table = table.join(other, on="artifact_id")
    in_common = table.height
    alike = pl.all_horizontal(
        pl.lit(True), *(pl.col(f"label{n}") == pl.col("label") for n in range(1, len(sides)))
    )
    differ = table.filter(~alike).height
    table = table.filter(alike)
    learnt = pl.concat([_in_one_form(_learnt_from(side), one_form) for side in sides]).unique()
    kept = table.join(learnt, on="artifact_id", how="anti").sort("artifact_id")
    if not kept.height:
        sizes = ", ".join(
            f"{side.experiment_name} {one.height:,}"
            for side, one in zip(sides, tables, strict=True)
        )
        raise DataError(
            f"no artifact was tested by all of them ({sizes}) and trained on by none "
            f"({in_common:,} in common, {table.height:,} trained on by another, {differ:,} with "
            "other labels)",
            where="splits.parquet",
            remedy="prepare one of them with [prepare] SPLIT_FROM = the other's name",
        )
    return Shared(kept, in_common, table.height - kept.height, differ)


def _in_one_form(table: pl.DataFrame, wanted: bool) -> pl.DataFrame:
    """`table` as ID_FORMAT = guid writes ids, if one of the sides does; two that become one go."""
    if not wanted:
        return table
    named = table.with_columns(normalize_guid_ids(pl.col("artifact_id")))
    if table.width == 1:
        return named
    return named.filter(~pl.col("artifact_id").is_duplicated())


def _side_prediction_table(side: Side, number: int, label2id: Any) -> pl.DataFrame:
    """artifact_id, label<n>, p<n>, l<n>, s<n>; label ids are those of `label2id`."""
    own = side.prepared.label2id
    mine, one = side.experiment, side.evaluation
    raw = predictions(mine.store, mine.layout, own, one.model, one.seed)
    to_common = {own[label]: label2id[label] for label in own}
    return raw.select(
        "artifact_id",
        pl.col("label").replace_strict(to_common, return_dtype=pl.Int64).alias(f"label{number}"),
        pl.col("prediction").replace_strict(to_common, return_dtype=pl.Int64).alias(f"p{number}"),
        pl.col("loss").alias(f"l{number}"),
        pl.col("square").alias(f"s{number}"),
    )


def _learnt_from(side: Side) -> pl.DataFrame:
    data = side.experiment.store.read(side.experiment.layout.splits)
    splits = pl.read_parquet(io.BytesIO(data), columns=["artifact_id", "split"])
    return splits.filter(pl.col("split").is_in(list(LEARNT_FROM))).select("artifact_id")


def _remarks(sides: Sequence[Side], names: Sequence[str], shared: Shared) -> list[str]:
    tested = ", ".join(
        f"{name} {side.evaluation.artifacts:,}" for name, side in zip(names, sides, strict=True)
    )
    told = [
        f"Compared on {shared.table.height:,} artifacts that all of them tested and none learnt "
        f"from (tested: {tested}; in common {shared.in_common:,}, of which "
        f"{shared.trained_on:,} were in the train or validation split of another)."
    ]
    if shared.labels_differ:
        told.append(f"{shared.labels_differ:,} have different labels there, and were left out.")
    metrics = {side.experiment.settings.train.METRIC for side in sides}
    if len(metrics) > 1:
        told.append(
            f"Their METRIC differs ({', '.join(sorted(metrics))}): the first one's is told."
        )
    return told
