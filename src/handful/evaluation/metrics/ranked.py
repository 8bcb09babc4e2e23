"""How well probabilities order the examples: area under the ROC curve, and average precision.

Each label against all others, as scikit-learn does with `roc_auc_score` and
`average_precision_score`; the mean over labels is the macro figure. The intervals come from what
each example contributes (the delta method: for the area this is DeLong, DeLong and Clarke-Pearson,
Biometrics 44, 1988), on the scale of log-odds, so that they stay between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from handful.evaluation.metrics.arrays import Booleans, Floats, Indices

LEVEL = 0.95
LEAST = 10
"""With fewer examples of a label, or of all others, the delta method says nothing."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float | None
    """None where too few examples allow no interval."""
    high: float | None


@dataclass(frozen=True)
class Ranked:
    """Both figures, per label and over all; None where a figure is not defined."""

    roc_auc: Mapping[int, Estimate]
    """By label id; those with examples of the label and of others."""
    average_precision: Mapping[int, Estimate]
    macro_roc_auc: Estimate | None
    macro_average_precision: Estimate | None


@dataclass(frozen=True)
class Ordered:
    """Examples from the lowest score to the highest."""

    order: Indices
    """[N] their row numbers."""
    first: Indices
    """[N] where the equals of each begin."""
    last: Indices
    """[N] where they have ended."""

    @classmethod
    def by(cls, scores: Floats) -> Ordered:
        """`scores`: [N]."""
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        first = np.searchsorted(ordered, ordered, side="left").astype(np.int64)
        last = np.searchsorted(ordered, ordered, side="right").astype(np.int64)
        return cls(order.astype(np.int64), first, last)

    def back(self, values: Floats) -> Floats:
        """`values` of the ordered examples, by row number. Both [N]."""
        found = np.empty_like(values)
        found[self.order] = values
        return found


def ranked(probabilities: Floats, references: Indices) -> Ranked:
    """`probabilities` [N, C], `references` [N]."""
    areas: dict[int, Estimate] = {}
    means: dict[int, Estimate] = {}
    totals = [_Total(), _Total()]
    for label in range(probabilities.shape[1]):
        bears = references == label
        count = int(bears.sum())
        if not 0 < count < len(bears):
            continue
        few = min(count, len(bears) - count) < LEAST
        ordered = Ordered.by(probabilities[:, label])
        for measure, into, total in zip(
            (roc_auc, average_precision), (areas, means), totals, strict=True
        ):
            value, influence = measure(ordered, bears)
            into[label] = _estimate(value, influence, few)
            total.add(value, influence, few)
    return Ranked(areas, means, totals[0].mean(), totals[1].mean())


def roc_auc(ordered: Ordered, bears: Booleans) -> tuple[float, Floats]:
    """The area, and what each example contributes [N] (its influence, of mean 0).

    The chance that an example that bears the label has a higher score than one that does not; equal
    scores count half.
    """
    first, last = ordered.first, ordered.last
    yes = bears[ordered.order].astype(np.float64)
    share = yes.mean()
    yes_before, no_before = _before(yes), _before(1.0 - yes)
    below_no = (no_before[first] + no_before[last]) / 2 / (len(yes) - yes.sum())
    above_yes = 1.0 - (yes_before[first] + yes_before[last]) / 2 / yes.sum()
    area = float((below_no * yes).sum() / yes.sum())
    mine = np.where(yes > 0, (below_no - area) / share, (above_yes - area) / (1.0 - share))
    return area, ordered.back(mine)


def average_precision(ordered: Ordered, bears: Booleans) -> tuple[float, Floats]:
    """The mean, over the examples that bear the label, of the precision at their score.

    And what each example contributes [N]: it changes its own term, and the precision at every
    score up to its own.
    """
    total = len(bears)
    yes = bears[ordered.order].astype(np.float64)
    share = yes.mean()
    above = (total - ordered.first) / total  # the share of examples with at least this score
    above_yes = (yes.sum() - _before(yes)[ordered.first]) / total
    precision = above_yes / above
    mean = float((precision * yes).sum() / yes.sum())
    once = _before(yes / above / total)[ordered.last]
    twice = _before(yes * above_yes / above**2 / total)[ordered.last]
    mine = (yes * precision - share * mean + yes * once - twice) / share
    mine -= mean * (yes - share) / share
    return mean, ordered.back(mine)


def wilson(hits: float, of: float, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share `hits / of` (Wilson, JASA 22, 1927); 0 to 1 for nothing.

    Low and high; `level`: 0 to 1.
    """
    if of <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)


class _Total:
    """The mean of some labels' figures, with what each example contributes to it."""

    def __init__(self) -> None:
        self.count, self.value, self.few = 0, 0.0, False
        self.influence: Floats = np.zeros(1)

    def add(self, value: float, influence: Floats, few: bool) -> None:
        self.count, self.value = self.count + 1, self.value + value
        self.influence, self.few = self.influence + influence, self.few or few

    def mean(self) -> Estimate | None:
        if not self.count:
            return None
        return _estimate(self.value / self.count, self.influence / self.count, self.few)


def _estimate(value: float, influence: Floats, few: bool) -> Estimate:
    if few or not 0 < value < 1:
        return Estimate(value, None, None)
    spread = float(np.sqrt((influence**2).mean() / len(influence)))
    odds = math.log(value / (1 - value))
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread / (value * (1 - value))
    return Estimate(value, _sigmoid_of_log_odds(odds - reach), _sigmoid_of_log_odds(odds + reach))


def _sigmoid_of_log_odds(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def _before(values: Floats) -> Floats:
    """[N + 1] sums of all values before each place."""
    return np.concatenate([[0.0], np.cumsum(values)])
