"""Turns shares into whole numbers."""

from __future__ import annotations

import math

RARE_FIRST = (0, 2, 1)
"""Where a label that has too few artifacts for all splits goes: train, then test, validation."""
Shares = tuple[float, float, float]
"""Of train, validation and test."""


def quota(count: int, shares: Shares) -> tuple[int, int, int]:
    """How many of `count` artifacts each split gets: its share, rounded up or down.

    What rounding leaves over goes first to splits that have none yet (train, test, validation),
    then to those that lost most.
    """
    exact = [count * share for share in shares]
    seats = [math.floor(value + 1e-9) for value in exact]

    def need(split: int) -> tuple[bool, float, int]:
        empty = seats[split] == 0
        lost = 0.0 if empty else exact[split] - seats[split]
        return not empty, -lost, RARE_FIRST.index(split)

    open_splits = [split for split in range(3) if exact[split] > seats[split] + 1e-9]
    for split in sorted(open_splits, key=need)[: count - sum(seats)]:
        seats[split] += 1
    return seats[0], seats[1], seats[2]
