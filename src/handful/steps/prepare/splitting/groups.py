"""Which artifacts hang together, and which newcomers must stay out as they tie splits together.

Artifacts that were placed before never move. A newcomer that is linked with two splits at once
would carry one into the other, so it alone is left out. Links through a left-out artifact do not
count: what it resembles was not brought together by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from handful.steps.prepare.splitting.union_find import Components

Pairs = Callable[[Sequence[int], Sequence[int]], Iterable[tuple[int, int]]]


@dataclass(frozen=True)
class Links:
    """What ties artifacts together. Artifacts are numbers 0…n-1 here."""

    shared: Sequence[tuple[Hashable, ...]]
    """For each artifact what it shares exactly with others: a GROUP_BY value, its content."""
    family: Sequence[Hashable | None]
    """For each artifact its family of near-duplicates: chains of likeness, cut nowhere."""
    direct: Pairs
    """Pairs of near-duplicates among those that have their split and some newcomers; asked only
    where splits collide. Those that have their split may be tied in chains among themselves."""


@dataclass(frozen=True)
class Grouping:
    """Who belongs together."""

    root: Sequence[int]
    """For each artifact the number of its group; one that is left out stands alone."""
    left_out: Mapping[int, tuple[str, ...]]
    """Newcomer → the splits that it would tie together."""


def grouped(
    links: Links, fixed: Mapping[int, str], banned: frozenset[int], newcomers: Sequence[int]
) -> Grouping:
    """Group artifacts, leaving out newcomers that would tie two `fixed` splits together.

    `fixed`: artifact → split, for those that were placed before. `banned`: those that were left
    out before. `newcomers`: all others, in the order in which they are looked at.
    """
    free = [i for i in range(len(links.shared)) if i not in banned]
    whole = _build_group_components(links, free)
    final = Components(len(links.shared))
    left_out: dict[int, tuple[str, ...]] = {}
    position = {newcomer: place for place, newcomer in enumerate(newcomers)}
    for members in whole.members(free).values():
        if len({fixed[m] for m in members if m in fixed}) < 2:
            for member in members:
                final.union(members[0], member)
            continue
        arriving = sorted((m for m in members if m not in fixed), key=position.__getitem__)
        settled = [m for m in members if m in fixed]
        left_out |= _Collision(links, fixed, final).settle(settled, arriving)
    return Grouping([final.find(i) for i in range(len(links.shared))], left_out)


def _build_group_components(links: Links, members: Iterable[int]) -> Components:
    components = Components(len(links.shared))
    for member in members:
        for key in links.shared[member]:
            components.union(member, components.node(key))
        if links.family[member] is not None:
            components.union(member, components.node(("family", links.family[member])))
    return components


class _Collision:
    """One chain of links that reaches into several splits: link by link, newcomers last."""

    def __init__(self, links: Links, fixed: Mapping[int, str], final: Components) -> None:
        self._links = links
        self._fixed = fixed
        self._components = final
        self._splits: dict[int, frozenset[str]] = {}

    def settle(self, settled: list[int], arriving: list[int]) -> dict[int, tuple[str, ...]]:
        """Tie everything that can be; the newcomers that cannot, with the splits they reach."""
        alike: dict[int, list[int]] = defaultdict(list)
        for one, other in self._links.direct(settled, arriving):
            alike[one].append(other)
            alike[other].append(one)
        placed: set[int] = set()
        for member in settled:
            self._tie(member, self._neighbours(member, alike, placed), self._fixed[member])
            placed.add(member)
        left_out = {}
        for newcomer in arriving:
            neighbours = self._neighbours(newcomer, alike, placed)
            reached = frozenset().union(*(self._reach(n) for n in neighbours))
            if len(reached) > 1:
                left_out[newcomer] = tuple(sorted(reached))
                continue
            self._tie(newcomer, neighbours)
            placed.add(newcomer)
        return left_out

    def _neighbours(
        self, member: int, alike: Mapping[int, list[int]], placed: set[int]
    ) -> list[int]:
        nodes = [self._components.node(key) for key in self._links.shared[member]]
        return nodes + [other for other in alike.get(member, ()) if other in placed]

    def _reach(self, thing: int) -> frozenset[str]:
        return self._splits.get(self._components.find(thing), frozenset())

    def _tie(self, member: int, neighbours: list[int], split: str | None = None) -> None:
        reached = self._reach(member).union(*(self._reach(n) for n in neighbours))
        for neighbour in neighbours:
            self._components.union(member, neighbour)
        if split is not None:
            reached |= {split}
        self._splits[self._components.find(member)] = reached
