"""What if the least sure answers go to a person? How right the others are then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handful.evaluation.metrics.arrays import Floats, Indices
from handful.evaluation.metrics.ranked import wilson

SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class Kept:
    """The surest answers, the others being left to people."""

    share: float
    """Of all answers that are kept, as asked."""
    count: int
    threshold: float
    """The probability of the least sure of them."""
    accuracy: float
    low: float
    """The interval of the accuracy (Wilson)."""
    high: float


def coverage(
    probabilities: Floats, references: Indices, shares: Sequence[float] = SHARES
) -> tuple[Kept, ...]:
    """`probabilities` [N, C], calibrated; `references` [N]. At least one answer is kept.

    Of equally sure answers the earlier ones are kept.
    """
    sure = probabilities.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    hits = np.cumsum((probabilities.argmax(axis=1) == references)[order])
    found = []
    for share in shares:
        count = max(1, round(share * len(sure)))
        right = int(hits[count - 1])
        low, high = wilson(right, count)
        found.append(Kept(share, count, float(sure[order[count - 1]]), right / count, low, high))
    return tuple(found)
