"""How many bytes transfers may ask for together, however many of them are under way.

Hundreds of small files at once cost nothing, and hundreds of large ones would cost gigabytes: each
that goes through this machine holds the pieces that are under way. So each takes room first. Who
came first is served first, so that a large one is not passed by small ones for ever. What the
libraries and the allocator keep beside comes on top: several times as much was seen.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 96 * 1024 * 1024


class Room:
    """Shared by all threads of this process."""

    def __init__(self, size: int = AT_ONCE) -> None:
        """`size`: bytes."""
        self.size = size
        self._free = size
        self._queue: deque[object] = deque()
        self._change = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[bool]:
        """Hold `size` bytes of it during the body; more than there is: all of it, alone.

        True if it had to be waited for.
        """
        mine, size = object(), min(size, self.size)
        with self._change:
            waits = bool(self._queue) or self._free < size
            self._queue.append(mine)
            try:
                self._change.wait_for(lambda: self._queue[0] is mine and self._free >= size)
                self._free -= size
            finally:
                self._queue.remove(mine)
                self._change.notify_all()
        try:
            yield waits
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()


TRANSFERS = Room()
