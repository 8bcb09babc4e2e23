"""Which labels are taken for which others, with a few documents of each kind of error."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

MOST_KINDS = 40
"""Kinds of error with examples; in the matrix itself all are counted."""
EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """One document that was taken for another."""

    artifact_id: str
    confidence: float


@dataclass(frozen=True)
class Confused:
    """One kind of error: a true label and what was predicted instead."""

    label: str
    prediction: str
    count: int
    share: float
    """Of the label's artifacts, 0 to 1."""
    examples: tuple[Example, ...]
    """The surest ones first."""


def confusions(predictions: pl.DataFrame) -> tuple[Confused, ...]:
    """The most frequent kinds of error of predictions.parquet, most frequent first."""
    support = dict(predictions.group_by("label").len().iter_rows())
    wrong = predictions.filter(pl.col("label") != pl.col("prediction"))
    kinds = (
        wrong.group_by("label", "prediction")
        .len()
        .sort("len", "label", "prediction", descending=[True, False, False])
        .head(MOST_KINDS)
    )
    sure = wrong.with_columns(confidence=pl.col("probabilities").list.max())
    found = []
    for label, prediction, count in kinds.iter_rows():
        shown = (
            sure.filter(label=label, prediction=prediction)
            .sort("confidence", "artifact_id", descending=[True, False])
            .head(EXAMPLES)
        )
        examples = tuple(
            Example(row["artifact_id"], row["confidence"]) for row in shown.iter_rows(named=True)
        )
        found.append(Confused(label, prediction, count, count / support[label], examples))
    return tuple(found)
