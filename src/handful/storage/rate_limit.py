"""How many requests are under way at once: fewer when the server throttles, more when it stops.

Additive increase, multiplicative decrease, as TCP does (Chiu and Jain, 1989): a throttled request
takes the limit down to 0.7 of what was under way, at most once a round trip; as many good answers
as the limit is high raise it by one. Until the first throttled request there is no limit.

One throttled request among hundreds of good ones changes nothing: the clients try a few times, so
that where one answer in twenty is a refusal by chance, one request in thousands is refused.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from handful.errors import Unreachable
from handful.storage.retry import FIRST_WAIT, GIVE_UP_AFTER, LONGEST_WAIT, Throttled

T = TypeVar("T")
_LOGGER = logging.getLogger(__name__)

LESS = 0.7
STEP_SECONDS = 0.25
"""One overload throttles many requests at once: they count as one step down."""
RARE = 200
"""So many good answers since the last throttled request tell that it is no overload."""


class Pace:
    """Shared by all threads that ask one server for the same kind of work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._change = threading.Condition(self._lock)
        self._running = 0
        self._waiting = 0
        self._slowed_at = -math.inf
        self._good = 0
        self.limit = math.inf
        """Requests at once."""
        self.throttled = 0
        """How many answers asked for a slower pace."""

    def keep(self, call: Callable[[], T]) -> T:
        """`call()` when its turn comes; again, with backoff, while the server cannot answer.

        The clients have tried a few times before they say so. Raises `Unreachable` when it has
        gone on for `GIVE_UP_AFTER`; all other errors at once.
        """
        until: float | None = None
        wait = FIRST_WAIT.total_seconds()
        while True:
            self._begin()
            try:
                result = call()
            except Unreachable as error:
                self._end()
                now = time.monotonic()
                until = until or now + GIVE_UP_AFTER.total_seconds()
                if isinstance(error, Throttled):
                    self._slower(now)
                if now > until:
                    raise
                _LOGGER.debug("waits up to %.1f s and asks again: %s", wait, error)
            except BaseException:
                self._end()
                raise
            else:
                self._end(good=True)
                return result
            time.sleep(random.uniform(0, wait))  # nosec B311
            wait = min(2 * wait, LONGEST_WAIT.total_seconds())

    # Thousands of copies a second pass here, from hundreds of threads: as few steps as can be.

    def _begin(self) -> None:
        with self._lock:
            if self._running >= self.limit:
                self._waiting += 1
                try:
                    while self._running >= self.limit:
                        self._change.wait()
                finally:
                    self._waiting -= 1
            self._running += 1

    def _end(self, *, good: bool = False) -> None:
        with self._lock:
            self._running -= 1
            if good:
                self._good += 1
                if self.limit < math.inf:
                    self.limit += 1 / self.limit
            if self._waiting:
                self._change.notify(2 if good else 1)

    def _slower(self, now: float) -> None:
        with self._lock:
            self.throttled += 1
            is_rare, self._good = self._good > RARE, 0
            if is_rare or now - self._slowed_at < STEP_SECONDS:
                return
            self._slowed_at = now
            # The one that was throttled has ended its turn already.
            self.limit = max(1.0, LESS * min(self.limit, self._running + 1))
