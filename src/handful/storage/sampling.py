"""Keys from random places of a store, without listing all of it.

The first keys of a bucket are one day of it, or one customer. So a store that can be sampled is
asked at random places, and gives runs of neighbours there: an artifact's files mostly lie beside
each other, so most of those in a run are whole.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, runtime_checkable

from handful.storage.keys import HIDDEN, key_fault

RUN_OF_KEYS = 40
"""Neighbouring keys that are taken at one place."""
MOST_OF_RUN = 120
"""The same, where an artifact has many files."""

KeySize = tuple[str, int]
"""A key and its size in bytes."""


@dataclass
class KeyCollector:
    """What a store has given so far. One thread fills it, another may look at any time.

    Markers of folders are left out, and so are keys that name no file (see `storage.keys`).
    """

    most: int
    """Keys that are wanted."""
    random: Random = field(default_factory=Random)
    until: float = float("inf")
    """When the looking ends: `time.monotonic()` in seconds."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Key → size in bytes."""
    edges: set[str] = field(default_factory=set)
    """Keys at which a run was cut off: more files of their artifacts may lie behind the cut."""
    is_all: bool = False

    @property
    def is_full(self) -> bool:
        return len(self.sizes) >= self.most

    @property
    def is_over(self) -> bool:
        """Is the time up?"""
        return time.monotonic() >= self.until

    def add(self, run: Iterable[KeySize], *, begins: bool, ends: bool) -> None:
        """Take a run; `begins`, `ends`: nothing of the same folder lies before it, or behind."""
        if self.is_all:
            return
        files = [one for one in run if names_a_file(*one)][: max(0, self.most - len(self.sizes))]
        self.sizes |= dict(files)
        if files:
            cut = [*([] if begins else files[:1]), *([] if ends else files[-1:])]
            self.edges |= {key for key, _ in cut}

    def add_some(self, files: Sequence[KeySize], run: int, *, begins: bool, ends: bool) -> None:
        """Take a run of at most `run` of these neighbours, at random."""
        start = self.random.randrange(max(1, len(files) - run + 1))
        some = files[start : start + run]
        at_end = start + run >= len(files)
        self.add(some, begins=begins and not start, ends=ends and at_end)

    def take_all(self, files: Iterable[KeySize]) -> None:
        """These are all that there are."""
        self.edges = set()
        self.sizes = {key: size for key, size in files if names_a_file(key, size)}
        self.is_all = True


@runtime_checkable
class Sampleable(Protocol):
    """A source that can be asked at random places."""

    def sample(self, into: KeyCollector) -> None:
        """Fill `into`, until it is full, its time is up, or there is nothing else.

        Raises what listing raises. A folder that may not be listed is passed over, but for the
        root. Time that one question takes is not bounded: another thread does the waiting.
        """


def names_a_file(key: str, size: int) -> bool:
    """Is it neither a folder's marker, nor ours, nor a name that no store reads?"""
    is_marker = not size and key.endswith(("/", "_$folder$"))
    return not is_marker and not key.startswith(f"{HIDDEN}/") and not key_fault(key)


def run_length(keys: Sequence[str], most: int) -> int:
    """How many neighbours to take at one place, so that some artifacts in it are whole.

    `keys`: some neighbours, in order. `most`: keys that are wanted in all.
    """
    usual = 1
    for depth in range(1, 1 + max((key.count("/") for key in keys), default=0)):
        counts = Counter(tuple(key.split("/")[:depth]) for key in keys if key.count("/") >= depth)
        median = sorted(counts.values())[len(counts) // 2]
        usual = max(usual, median if median <= MOST_OF_RUN // 2 else 1)
    wanted = min(MOST_OF_RUN, max(RUN_OF_KEYS, 3 * usual))
    return max(5, min(wanted, most // 20))
