"""Union-find: which things hang together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable


class Components:
    """Things 0…n-1, at first each alone."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))
        self._nodes: dict[Hashable, int] = {}

    def find(self, thing: int) -> int:
        """The root of its component."""
        parent = self._parent
        while parent[thing] != thing:
            parent[thing] = parent[parent[thing]]
            thing = parent[thing]
        return thing

    def union(self, one: int, other: int) -> None:
        """Tie two components together; the smaller root wins, so that the result is stable."""
        a, b = self.find(one), self.find(other)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def node(self, key: Hashable) -> int:
        """The number of a key that things can share; it is a thing itself, beyond n."""
        if key not in self._nodes:
            self._nodes[key] = len(self._parent)
            self._parent.append(self._nodes[key])
        return self._nodes[key]

    def members(self, things: Iterable[int]) -> dict[int, list[int]]:
        """Root → those of `things` in its component, in their order."""
        found: dict[int, list[int]] = defaultdict(list)
        for thing in things:
            found[self.find(thing)].append(thing)
        return dict(found)
