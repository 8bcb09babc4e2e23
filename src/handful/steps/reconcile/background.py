"""Something that is done on a thread of its own while the story goes on.

A distant store answers each request after a while; what does not depend on the answer need not
wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from handful.progress import Progress, Scalar, Silent

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """Begins at once. `get` waits for the result, or raises what went wrong."""

    def __init__(self, do: Callable[[], T]) -> None:
        # No daemon: an interpreter that ends while a client library is at work may crash.
        thread = ThreadPoolExecutor(1, thread_name_prefix="handful-meanwhile")
        self._future = thread.submit(do)
        thread.shutdown(wait=False)

    def get(self) -> T:
        return self._future.result()

    def wait(self) -> None:
        """Until it has ended, well or not: then nothing of it touches files or the store."""
        wait([self._future])


class _BackgroundEndError(Exception):
    """Ends what is done meanwhile."""


class Hushed(Silent):
    """The progress of what is done meanwhile: silent as long as somebody else is speaking."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.loud = False
        self.enough = False
        """Nobody will ask for the result any more: end at the next word."""

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        if self.enough:
            raise _BackgroundEndError
        if self.loud:
            self._progress.advance(task, done, total, unit, figures)
