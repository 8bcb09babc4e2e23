"""Something that is done on a thread of its own while the story goes on.

A distant store answers each request after a while; what does not depend on the answer need not
wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from handful.progress import Progress, Scalar, Silent

T = TypeVar("T")


class Meanwhile(Generic[T]):
    """Begins at once. `get` waits for the result, or raises what went wrong."""

    def __init__(self, do: Callable[[], T]) -> None:
        self._result: list[T] = []
        self._error: BaseException | None = None
        # No daemon: an interpreter that ends while a client library is at work may crash.
        self._thread = threading.Thread(target=self._run, args=(do,), name="handful-meanwhile")
        self._thread.start()

    def get(self) -> T:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def wait(self) -> None:
        """Until it has ended, well or not: then nothing of it touches files or the store."""
        self._thread.join()

    def _run(self, do: Callable[[], T]) -> None:
        try:
            self._result.append(do())
        except BaseException as error:  # noqa: BLE001 - raised again by whoever asks
            self._error = error


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
