"""Two models side by side on the same test examples: what is different, and is it real?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist

import numpy as np

from handful.evaluation.metrics.arrays import Floats
from handful.evaluation.metrics.bootstrap import Answers, interval
from handful.evaluation.significance.holm import holm
from handful.evaluation.significance.mcnemar import McNemar, mcnemar

METRIC_ALPHA = 0.01
"""The level of what the metric may claim without the test, shared among all pairs (Bonferroni).

So both kinds of claims together stay below the 5 % of the verdict: `bench/truth.py verdicts`.
"""


@dataclass(frozen=True)
class Difference:
    """The first model's metric less the second's, with its paired bootstrap interval."""

    value: float
    low: float
    high: float
    sure: bool
    """Is it too great for chance, at `METRIC_ALPHA` over all pairs?"""

    @property
    def sign(self) -> int:
        """1 or -1 if it is sure and the whole interval lies on one side of zero, else 0."""
        return (1 if self.low > 0 else -1 if self.high < 0 else 0) if self.sure else 0


@dataclass(frozen=True)
class Pair:
    """Two models, the test between them, and the difference of every metric."""

    first: str
    second: str
    test: McNemar
    p_holm: float
    """The test's p, corrected for all pairs that were tested together."""
    differences: Mapping[str, Difference]


def every_two(models: int) -> list[tuple[int, int]]:
    """All pairs of `models`, by number."""
    return list(combinations(range(models), 2))


def compare_model_pairs(
    names: list[str],
    answers: Answers,
    which: list[tuple[int, int]],
    values: Mapping[str, Floats],
    draws: Mapping[str, Floats],
) -> list[Pair]:
    """The pairs `which` of the M models of `answers`, corrected together.

    `values` (name → [M]) and `draws` (name → [M, R]) are what `compute_answer_metrics` and
    `resample_answer_metrics` gave.
    """
    right = answers.predictions == answers.references
    deviations = NormalDist().inv_cdf(1 - METRIC_ALPHA / 2 / max(len(which), 1))
    pairs = []
    for first, second in which:
        differences = {
            name: _pair_metric_difference(
                float(values[name][first] - values[name][second]),
                found[first] - found[second],
                deviations,
            )
            for name, found in draws.items()
            if np.isfinite(found[[first, second]]).all()
        }
        test = mcnemar(right[first], right[second])
        pairs.append(Pair(names[first], names[second], test, test.p, differences))
    corrected = holm([pair.test.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def _pair_metric_difference(value: float, draws: Floats, deviations: float) -> Difference:
    """`deviations`: so many standard deviations of the draws are too many for chance."""
    low, high = interval(draws)
    return Difference(value, low, high, abs(value) > deviations * float(draws.std(ddof=1)))
