"""The jobs that run at this moment: several side by side, and Ctrl-C leaves them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from handful.errors import LeftRunning
from handful.sagemaker.jobs.control import NoRoom
from handful.system.threads import run_side_by_side

_FOLLOW = "run the same command to follow it again"


class Running:
    """Those of one driver."""

    def __init__(self) -> None:
        self._stops: dict[str, Callable[[], object]] = {}
        self._sent: set[str] = set()
        self._sending = threading.Lock()
        self._ends = 0
        self._change = threading.Condition()

    @contextmanager
    def one(self, name: str, stop: Callable[[], object]) -> Iterator[None]:
        """While the job `name` is followed. `LeftRunning` instead of Ctrl-C's interrupt."""
        with self._change:
            self._stops[name] = stop
            self._sent.add(name)
        try:
            yield
        except KeyboardInterrupt:
            raise LeftRunning(
                f"the job {name} goes on without you", stop=stop, remedy=_FOLLOW
            ) from None
        finally:
            with self._change:
                del self._stops[name]
                self._sent.discard(name)
                self._ends += 1
                self._change.notify_all()

    def when_there_is_room(self, name: str, send: Callable[[], object]) -> None:
        """Send the job `name`; if the quota refuses it, again when another of ours has ended.

        `NoRoom` if none of ours runs, so that waiting would not help.
        """
        while not self._was_sent(name, send):
            pass

    def _was_sent(self, name: str, send: Callable[[], object]) -> bool:
        with self._sending:  # one by one, so that who is refused knows who was not
            before = self._ends
            try:
                send()
                self._sent.add(name)
                return True
            except NoRoom:
                if not self._sent and self._ends == before:
                    raise
        with self._change:
            self._change.wait_for(lambda: self._ends > before)
        return False

    def side_by_side(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each work returns; the first error is raised when all have ended."""
        try:
            found = run_side_by_side(works)
        except KeyboardInterrupt:
            raise self._leave_running_jobs() from None
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return found

    def _leave_running_jobs(self) -> LeftRunning:
        with self._change:
            stops = dict(self._stops)

        def stop() -> None:
            for one in stops.values():
                one()

        names = ", ".join(stops)
        return LeftRunning(f"these jobs go on without you: {names}", stop=stop, remedy=_FOLLOW)
