"""Metrics from counts per label: of one set of predictions, or of thousands at once.

Every metric here is a function of three counts per label, so that a resampling never has to touch
single predictions again. The definitions are those of scikit-learn: a label that is neither there
nor predicted does not count in a macro mean; what is not defined is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from handful.evaluation.metrics.arrays import Floats, Indices


@dataclass(frozen=True)
class Counts:
    """[…, C] each, for C labels; the dimensions before are sets of predictions."""

    support: Floats
    """Examples that bear the label."""
    predicted: Floats
    """Examples that were given it."""
    hits: Floats
    """Examples that bear it and were given it."""


def count_label_outcomes(references: Indices, predictions: Indices, labels: int) -> Counts:
    """The counts of one set of predictions; `references` and `predictions` [N] are label ids."""
    right = references[references == predictions]

    def times(ids: Indices) -> Floats:
        return np.bincount(ids, minlength=labels).astype(np.float64)

    return Counts(times(references), times(predictions), times(right))


def accuracy(counts: Counts) -> Floats:
    """[…], a figure for each set of predictions; so are the other measures, or […, C]."""
    return _ratio(counts.hits.sum(axis=-1), counts.support.sum(axis=-1))


def balanced_accuracy(counts: Counts) -> Floats:
    """The mean recall of the labels that are there: […]."""
    return _mean(_recall(counts), counts.support > 0)


def mcc(counts: Counts) -> Floats:
    """Matthews' correlation coefficient for any number of labels (Gorodkin, 2004): […]."""
    total = counts.support.sum(axis=-1)
    by_chance = (counts.support * counts.predicted).sum(axis=-1)
    spread = (total**2 - (counts.support**2).sum(axis=-1)) * (
        total**2 - (counts.predicted**2).sum(axis=-1)
    )
    return _ratio(counts.hits.sum(axis=-1) * total - by_chance, np.sqrt(np.maximum(spread, 0)))


def _precision(counts: Counts) -> Floats:
    return _ratio(counts.hits, counts.predicted)


def _recall(counts: Counts) -> Floats:
    return _ratio(counts.hits, counts.support)


def _f1(counts: Counts) -> Floats:
    return _ratio(2 * counts.hits, counts.support + counts.predicted)


def _macro(of_label: Callable[[Counts], Floats]) -> Callable[[Counts], Floats]:
    def mean(counts: Counts) -> Floats:
        return _mean(of_label(counts), (counts.support > 0) | (counts.predicted > 0))

    return mean


def _weight_by_support(of_label: Callable[[Counts], Floats]) -> Callable[[Counts], Floats]:
    def mean(counts: Counts) -> Floats:
        return _mean(of_label(counts), counts.support)

    return mean


MEASURES: Mapping[str, Callable[[Counts], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": _macro(_f1),
    "macro_precision": _macro(_precision),
    "macro_recall": _macro(_recall),
    "mcc": mcc,
    "weighted_f1": _weight_by_support(_f1),
    "weighted_precision": _weight_by_support(_precision),
    "weighted_recall": _weight_by_support(_recall),
}
"""Name → a function of `Counts` […, C] that gives […]."""


LABEL_MEASURES: Mapping[str, Callable[[Counts], Floats]] = {
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
}
"""Name → a function of `Counts` […, C] that gives […, C]: one value for each label."""


def _mean(values: Floats, weights: Floats | np.ndarray) -> Floats:
    return _ratio((values * weights).sum(axis=-1), weights.sum(axis=-1))


def _ratio(above: Floats, below: Floats | np.ndarray) -> Floats:
    """0 where it is not defined."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
