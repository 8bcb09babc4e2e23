"""What a worker is busy with, in a few bytes of shared memory: it costs the worker nothing to tell.

When a worker hangs or dies, the parent reads here which instances it had in hand.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_FIELDS = struct.Struct("<qqqqq")


@dataclass(frozen=True)
class Reading:
    """One look at a gauge."""

    ticket: int
    """Grows with everything that is begun or put down."""
    first: int
    """The first instance in hand, by its place in the work; -1: none."""
    last: int
    """One after the last in hand."""
    warm: bool
    """Has this worker finished an instance of this work's kind before?"""
    done: int
    """How many instances of the work are through."""

    @property
    def in_hand(self) -> range:
        return range(self.first, self.last) if self.first >= 0 else range(0)


class Gauge:
    """A gauge in a file. One process writes, another reads."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_FIELDS.pack(0, -1, -1, 1, 0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FIELDS.size)
        self._ticket = 0

    def begin(self, first: int, last: int, *, warm: bool = True) -> None:
        """Instances `first` to before `last` are in hand now."""
        self._write(first, last, warm, first)

    def rest(self, done: int = 0) -> None:
        """No instance is in hand; `done` are through."""
        self._write(-1, -1, True, done)

    def read(self) -> Reading:
        ticket, first, last, warm, done = _FIELDS.unpack_from(self._memory)
        return Reading(ticket, first, last, bool(warm), done)

    def close(self) -> None:
        self._memory.close()

    def _write(self, first: int, last: int, warm: bool, done: int) -> None:
        self._ticket += 1
        _FIELDS.pack_into(self._memory, 0, self._ticket, first, last, warm, done)
