"""Evens out a draw of groups: where a label is too far from its share, groups are exchanged.

The greedy draw looks at one label of a group only. With groups that mix labels, or of very unlike
sizes, that may leave a label further from its share than half of its largest group. Then the group,
or the two groups, whose move brings all labels nearest to their quotas changes its split, again
and again, until no label is too far or no such move is left (steepest descent over the sum of
squares, each label measured by how far it may be). A label that is still too far then is settled
by the groups that hold no other label (see `handful.steps.prepare.splitting.exact_split`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handful.steps.prepare.splitting.exact_split import find_exact_split

_MOST_MOVES = 2000
_PARTNERS = 64
"""How many of the best groups of each split are tried as pairs."""
_BALANCE_TOLERANCE = 1e-9

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Shares:
    """What each label should have in each split. Labels and splits are numbered."""

    wanted: Matrix
    """[labels, splits]: the quotas, whole numbers."""
    exact: Matrix
    """[labels, splits]: the shares themselves."""
    largest: NDArray[np.float64]
    """[labels]: how many artifacts of the label its largest group has."""
    is_open: Sequence[bool]
    """[splits]: whether anything may be put there."""

    @property
    def reach(self) -> NDArray[np.float64]:
        """[labels]: how far from its share a label may be."""
        return np.maximum(1.0, self.largest / 2)


def balance(
    groups: Sequence[Mapping[int, int]], splits: Sequence[int], have: Matrix, shares: Shares
) -> list[int]:
    """The split of each group, evened out.

    `groups`: label → artifacts, for each group that may be moved; `splits`: where each is now;
    `have` [labels, splits]: all artifacts as they are now, those that stay where they are included.
    """
    if not groups:
        return []
    mine = _Draw(groups, splits, have, shares)
    for _ in range(_MOST_MOVES):
        if not mine.too_far().any() or not mine.move():
            break
    for label in np.flatnonzero(mine.too_far()):
        mine.settle(int(label))
    return [int(split) for split in mine.splits]


class _Draw:
    """A draw in the making."""

    def __init__(
        self,
        groups: Sequence[Mapping[int, int]],
        splits: Sequence[int],
        have: Matrix,
        shares: Shares,
    ) -> None:
        self.splits = np.array(splits, np.int64)
        self._have = have.astype(np.float64)
        self._shares = shares
        self._open = np.array(shares.is_open)
        sizes = [len(group) for group in groups]
        self._group = np.repeat(np.arange(len(groups)), sizes)
        self._label = np.array([label for group in groups for label in group], np.int64)
        self._count = np.array([n for group in groups for n in group.values()], np.float64)
        self._weight = 1 / shares.reach**2

    def too_far(self) -> NDArray[np.bool_]:
        """[labels]: which are further from their share than they may be."""
        off = np.abs(self._have - self._shares.exact)
        return np.asarray(
            (off > self._shares.reach[:, None] + _BALANCE_TOLERANCE).any(axis=1), np.bool_
        )

    def move(self) -> bool:
        """Do the best move; False if none makes anything better."""
        candidates = np.unique(self._group[self.too_far()[self._label]])
        if not len(candidates):
            return False
        gains = self._gains(candidates)  # [candidates, splits], negative is better
        best = np.unravel_index(int(gains.argmin()), gains.shape)
        alone = float(gains[best])
        gain, pair = self._best_pair(candidates, gains)
        if min(alone, gain) > -_BALANCE_TOLERANCE:
            return False
        if alone <= gain:
            self._put(int(candidates[best[0]]), int(best[1]))
        else:
            one, other = pair
            there, here = int(self.splits[other]), int(self.splits[one])
            self._put(one, there)
            self._put(other, here)
        return True

    def settle(self, label: int) -> None:
        """Bring a label as near to its shares as groups that hold no other label can."""
        labels_of = np.bincount(self._group, minlength=len(self.splits))
        mine = (self._label == label) & (labels_of[self._group] == 1)
        groups, counts = self._group[mine], self._count[mine].astype(np.int64)
        now = self.splits[groups]
        others = self._have[label] - np.bincount(now, counts, minlength=len(self._open))
        splits = find_exact_split(
            counts.tolist(), now.tolist(), self._shares.exact[label] - others, self._shares.is_open
        )
        for group, split in zip(groups.tolist(), splits or now.tolist(), strict=True):
            self._put(group, split)

    def _gains(self, candidates: NDArray[np.int64]) -> Matrix:
        """What the sum of squares would gain if a group went to each split; inf for where it is."""
        off = self._have - self._shares.wanted
        here = off[self._label, self.splits[self._group]]
        weight = self._weight[self._label]
        each = 2 * weight[:, None] * self._count[:, None] * (off[self._label] - here[:, None])
        each += (2 * weight * self._count**2)[:, None]
        gains = np.zeros((len(self.splits), off.shape[1]))
        np.add.at(gains, self._group, each)
        gains[np.arange(len(gains)), self.splits] = np.inf
        gains[:, ~self._open] = np.inf
        found: Matrix = gains[candidates]
        return found

    def _best_pair(
        self, candidates: NDArray[np.int64], gains: Matrix
    ) -> tuple[float, tuple[int, int]]:
        """The two groups of different splits whose exchange gains most, and how much that is."""
        best, pair = 0.0, (-1, -1)
        here = self.splits[candidates]
        for a in range(gains.shape[1]):
            for b in range(a + 1, gains.shape[1]):
                going = self._promising(np.flatnonzero(here == a), gains[:, b])
                coming = self._promising(np.flatnonzero(here == b), gains[:, a])
                if not len(going) or not len(coming):
                    continue
                one, other = self._rows(candidates[going]), self._rows(candidates[coming])
                both = gains[going, b][:, None] + gains[coming, a][None, :]
                both -= 4 * (one * self._weight) @ other.T
                place = np.unravel_index(int(both.argmin()), both.shape)
                if both[place] < best:
                    best = float(both[place])
                    pair = (int(candidates[going[place[0]]]), int(candidates[coming[place[1]]]))
        return best, pair

    def _promising(
        self, places: NDArray[np.int64], gains: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        fit = places[np.isfinite(gains[places])]
        found: NDArray[np.int64] = fit[np.argsort(gains[fit], kind="stable")[:_PARTNERS]]
        return found

    def _rows(self, groups: NDArray[np.int64]) -> Matrix:
        """[groups, labels]: their artifacts."""
        rows = np.zeros((len(groups), len(self._have)))
        place = {int(group): row for row, group in enumerate(groups)}
        for index in np.flatnonzero(np.isin(self._group, groups)):
            rows[place[int(self._group[index])], self._label[index]] = self._count[index]
        return rows

    def _put(self, group: int, split: int) -> None:
        mine = self._group == group
        self._have[self._label[mine], self.splits[group]] -= self._count[mine]
        self._have[self._label[mine], split] += self._count[mine]
        self.splits[group] = split
