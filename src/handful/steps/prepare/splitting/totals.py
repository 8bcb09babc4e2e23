"""Evens out a draw whose labels are each near their shares, but whose splits are not.

What rounding leaves over of one label is given to one split; of 60 labels with five artifacts each
all 60 go to the same. So where a split is far from its share of all artifacts, groups go from the
splits that have too many to those that have too few, the ones first that bring their labels nearer
to their own shares. No label gets further from its share than it may be, none loses its last
artifact to learn from, and what was placed before stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from handful.steps.prepare.splitting.quotas import Shares, quota

FAR, TOO_FAR = 0.1, 0.25
"""Of its share: what a split (of more than one artifact) may be off before artifacts are moved, and
before that may take from it all that it has of a label. A small label is better in every split."""
_MAX_EXCHANGE_TRIES = 16
"""Groups that are tried in an exchange of two."""
_SLACK = 1e-9
_SPLITS = range(3)
_TRAIN = 0


@dataclass(frozen=True)
class Group:
    """A group that may be moved: its labels, each with its artifacts, and what breaks ties."""

    labels: Mapping[str, int]
    key: str

    @property
    def size(self) -> int:
        return sum(self.labels.values())


def even_out(
    groups: Sequence[Group],
    splits: Sequence[int],
    fixed: Mapping[tuple[str, int], int],
    largest: Mapping[str, int],
    shares: Shares,
) -> list[int]:
    """The split of each group, evened out.

    `splits`: where each is now; `fixed`: (label, split) → artifacts that were placed before;
    `largest`: label → how many of its artifacts its largest group has.
    """
    draw = _TotalsDraw(groups, list(splits), fixed, largest, shares)
    for far, least in ((FAR, 1), (TOO_FAR, 0)):
        draw.least = least
        if draw.is_far(far):
            while draw.move_all() or draw.move_through_the_third():
                pass
    return draw.splits


class _TotalsDraw:
    """A draw in the making."""

    def __init__(
        self,
        groups: Sequence[Group],
        splits: list[int],
        fixed: Mapping[tuple[str, int], int],
        largest: Mapping[str, int],
        shares: Shares,
    ) -> None:
        self.splits = splits
        self.least = 0
        """What has to be left of a label in a split that has some of it."""
        self._groups, self._shares = groups, shares
        self._have: dict[str, list[int]] = {}
        for (label, split), count in fixed.items():
            self._of(label)[split] += count
        for group, split in zip(groups, splits, strict=True):
            for label, count in group.labels.items():
                self._of(label)[split] += count
        self._counts = {label: sum(have) for label, have in self._have.items()}
        # Without groups a label is its share, rounded up or down.
        self._reach = {
            label: max(1.0, size / 2) if size > 1 else 1.0 - 2 * _SLACK
            for label, size in largest.items()
        }
        self._totals = [sum(have[split] for have in self._have.values()) for split in _SPLITS]
        self._wanted = quota(sum(self._totals), shares)

    def is_far(self, far: float) -> bool:
        """Is a split further from its share of all artifacts than `far` of it, or empty?"""
        everything = sum(self._totals)
        return any(
            abs(has - everything * share) >= max(1.0, far * everything * share) - _SLACK
            or (wanted and not has)
            for has, share, wanted in zip(self._totals, self._shares, self._wanted, strict=True)
        )

    def move_all(self) -> bool:
        """Move what can go straight from where too many are to where too few are; did any?"""
        moved = False
        for here, there in self._directions():
            for group in self._candidates(here, there):
                moved |= self._try_move(group, here, there)
        return moved

    def move_through_the_third(self) -> bool:
        """One group out of a split with too many, and another of that size on from the third."""
        moved = False
        for here, there in self._directions():
            third = 3 - here - there
            onward: dict[int, list[int]] = defaultdict(list)
            for number in self._candidates(third, there):
                onward[self._groups[number].size].append(number)
            if not onward or not self._shares[third]:
                continue
            for number in self._candidates(here, third):
                size = self._groups[number].size
                if self._helps(size, here, there):
                    moved |= self._try_exchange(number, onward[size], here, there)
        return moved

    def _try_exchange(self, one: int, onward: list[int], here: int, there: int) -> bool:
        """`one` takes the place of the first of `onward` that may go on from it."""
        if not self._bearable(self._groups[one], here, third := 3 - here - there):
            return False
        self._put(one, third)
        for other in onward[:_MAX_EXCHANGE_TRIES]:
            if self._bearable(self._groups[other], third, there):
                self._put(other, there)
                onward.remove(other)
                return True
        self._put(one, here)
        return False

    def _directions(self) -> Iterator[tuple[int, int]]:
        """From where to where: the largest lack first."""
        off = [has - wanted for has, wanted in zip(self._totals, self._wanted, strict=True)]
        for there in sorted(_SPLITS, key=off.__getitem__):
            for here in sorted(_SPLITS, key=off.__getitem__, reverse=True):
                if off[there] < 0 < off[here] and self._shares[there]:
                    yield here, there

    def _candidates(self, here: int, there: int) -> list[int]:
        """The groups that may go, those first that their labels like best."""
        found = [
            (self._cost(group, here, there), group.key, number)
            for number, group in enumerate(self._groups)
            if self.splits[number] == here and self._bearable(group, here, there)
        ]
        return [number for *_, number in sorted(found)]

    def _try_move(self, number: int, here: int, there: int) -> bool:
        """Move it if that brings the splits nearer to their shares, and still may be."""
        group = self._groups[number]
        if not (self._helps(group.size, here, there) and self._bearable(group, here, there)):
            return False
        self._put(number, there)
        return True

    def _helps(self, size: int, here: int, there: int) -> bool:
        """Would the splits be nearer to their shares?"""
        too_many = self._totals[here] - self._wanted[here]
        too_few = self._wanted[there] - self._totals[there]
        return too_few > 0 < too_many and size < too_many + too_few

    def _bearable(self, group: Group, here: int, there: int) -> bool:
        for label, count in group.labels.items():
            have = self._have[label]
            # Something has to be left of it to learn from.
            if have[here] - count < (1 if here == _TRAIN else self.least):
                return False
            for split, after in ((here, have[here] - count), (there, have[there] + count)):
                exact = self._counts[label] * self._shares[split]
                now, then = abs(have[split] - exact), abs(after - exact)
                if then > max(now, self._reach[label]) + _SLACK:
                    return False
        return True

    def _cost(self, group: Group, here: int, there: int) -> float:
        """How much further its labels would be from their shares, in squares."""
        cost = 0.0
        for label, count in group.labels.items():
            have, total = self._have[label], self._counts[label]
            for split, step in ((here, -count), (there, count)):
                off = have[split] - total * self._shares[split]
                cost += (off + step) ** 2 - off**2
        return round(cost, 6)

    def _put(self, number: int, split: int) -> None:
        group, here = self._groups[number], self.splits[number]
        for label, count in group.labels.items():
            self._have[label][here] -= count
            self._have[label][split] += count
        self._totals[here] -= group.size
        self._totals[split] += group.size
        self.splits[number] = split

    def _of(self, label: str) -> list[int]:
        return self._have.setdefault(label, [0, 0, 0])
