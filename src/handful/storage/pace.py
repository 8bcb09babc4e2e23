"""How many requests are under way at once: fewer when the server throttles, more when it stops.

Additive increase, multiplicative decrease, as TCP does (Chiu and Jain, 1989): a throttled request
takes the limit down to 0.7 of what was under way, at most once a round trip; as many good answers
as the limit is high raise it by one. Until the first throttled request there is no limit.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from handful.errors import Unreachable
from handful.storage.retry import FIRST_WAIT, GIVE_UP_AFTER, LONGEST_WAIT, Throttled

T = TypeVar("T")

LESS = 0.7
STEP_SECONDS = 0.25
"""One overload throttles many requests at once: they count as one step down."""


class Pace:
    """Shared by all threads that ask one server for the same kind of work."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._running = 0
        self._slowed_at = -math.inf
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
            try:
                with self._turn():
                    result = call()
            except Unreachable as error:
                now = time.monotonic()
                until = until or now + GIVE_UP_AFTER.total_seconds()
                if isinstance(error, Throttled):
                    self._slower(now)
                if now > until:
                    raise
            else:
                self._faster()
                return result
            time.sleep(random.uniform(0, wait))
            wait = min(2 * wait, LONGEST_WAIT.total_seconds())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._change:
            while self._running >= self.limit:
                self._change.wait()
            self._running += 1
        try:
            yield
        finally:
            with self._change:
                self._running -= 1
                self._change.notify()

    def _slower(self, now: float) -> None:
        with self._change:
            self.throttled += 1
            if now - self._slowed_at < STEP_SECONDS:
                return
            self._slowed_at = now
            # The one that was throttled has ended its turn already.
            self.limit = max(1.0, LESS * min(self.limit, self._running + 1))

    def _faster(self) -> None:
        if self.limit == math.inf:
            return
        with self._change:
            self.limit += 1 / self.limit
            self._change.notify()
