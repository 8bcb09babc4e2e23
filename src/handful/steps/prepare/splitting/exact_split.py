"""The split of each whole group, such that one label comes as near to its shares as it can.

Exchanging groups one by one or two by two can get stuck where only three of them at once would
help: with groups of 5, 5, 5 and 6 artifacts, say. A label of few groups is settled by looking at
all that its groups can add up to, which is the subset-sum problem with three bins and as cheap as
the label is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MOST_CELLS = 20_000_000
"""Bytes of the tables, beyond which a label is left as it is: about 30 groups of 800 artifacts."""

Table = NDArray[np.bool_]


def find_exact_split(
    sizes: Sequence[int],
    now: Sequence[int],
    wanted: NDArray[np.float64],
    is_open: Sequence[bool],
) -> list[int] | None:
    """The split of each group with the smallest largest distance from `wanted`; None if too many.

    `sizes`: artifacts of each group; `now`: where each is, kept where that is as good; `wanted`
    [3]: how many artifacts of these groups each split should get; `is_open` [3]: whether it may.
    """
    everything = sum(sizes)
    if (everything + 1) ** 2 * (len(sizes) + 1) > _MOST_CELLS:
        return None
    tables = _tables(sizes, is_open)
    first, second = np.nonzero(tables[-1])
    sums = np.stack([first, second, everything - first - second], axis=1)
    off = np.abs(sums - wanted)
    best = np.lexsort(((off**2).sum(axis=1), off.max(axis=1).round(9)))[0]
    return _way_back(tables, sizes, now, is_open, (int(first[best]), int(second[best])))


def _tables(sizes: Sequence[int], is_open: Sequence[bool]) -> list[Table]:
    """After each group: [artifacts in the first split, in the second], whether that can be."""
    everything = sum(sizes)
    table: Table = np.zeros((everything + 1, everything + 1), np.bool_)
    table[0, 0] = True
    tables = [table]
    for size in sizes:
        before, table = table, np.zeros_like(table)
        if is_open[0]:
            table[size:] |= before[:-size]
        if is_open[1]:
            table[:, size:] |= before[:, :-size]
        if is_open[2]:
            table |= before
        tables.append(table)
    return tables


def _way_back(
    tables: Sequence[Table],
    sizes: Sequence[int],
    now: Sequence[int],
    is_open: Sequence[bool],
    place: tuple[int, int],
) -> list[int]:
    """Which split each group went to on a way to `place`."""
    a, b = place
    found = []
    for before, size, here in reversed(list(zip(tables[:-1], sizes, now, strict=True))):
        came_from = {0: (a - size, b), 1: (a, b - size), 2: (a, b)}
        split = next(
            split
            for split in (here, *came_from)
            if is_open[split] and min(came_from[split]) >= 0 and before[came_from[split]]
        )
        a, b = came_from[split]
        found.append(split)
    return found[::-1]
