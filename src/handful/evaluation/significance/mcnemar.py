"""McNemar's test: are two models right on the same examples equally often?

Only the examples on which exactly one of the two is right say anything (McNemar, Psychometrika 12,
1947). If these are few, the exact two-sided binomial test; else the chi-square approximation with
Edwards' continuity correction (Psychometrika 13, 1948). Both keep the level, as Dietterich (Neural
Computation 10, 1998) found for comparing classifiers on one test set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from handful.evaluation.metrics.arrays import Booleans

FEW = 25
"""With fewer disagreements than this the test is exact."""


@dataclass(frozen=True)
class McNemar:
    """What the test found."""

    only_first: int
    """Examples that only the first model got right."""
    only_second: int
    both: int
    neither: int
    p: float
    """Two-sided."""
    method: str
    """"exact" or "chi-square"."""


def mcnemar(first: Booleans, second: Booleans) -> McNemar:
    """`first` and `second` [N]: whether each model is right on the same N examples.

    Raises `ValueError` if they are not of one length.
    """
    if first.shape != second.shape:
        raise ValueError(f"{first.shape} and {second.shape} are not the same examples")
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    both = int((first & second).sum())
    p, method = p_value(only_first, only_second)
    neither = len(first) - both - only_first - only_second
    return McNemar(only_first, only_second, both, neither, p, method)


def p_value(only_first: int, only_second: int) -> tuple[float, str]:
    """The two-sided p, and how it was found."""
    disagreements = only_first + only_second
    if disagreements < FEW:
        if disagreements == 0:
            return 1.0, "exact"
        fewer = min(only_first, only_second)
        tail = sum(math.comb(disagreements, k) for k in range(fewer + 1)) / 2**disagreements
        return min(1.0, 2 * tail), "exact"
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / disagreements
    # The upper tail of chi-square with one degree of freedom.
    return math.erfc(math.sqrt(statistic / 2)), "chi-square"
