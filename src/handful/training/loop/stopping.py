"""A polite end: SIGTERM and Ctrl-C are heard; the loop stops where it can write a checkpoint.

A loop that does not come to such a place in time (code of a model may wait for something that
never comes) is ended all the same: nobody is beyond SIGTERM. Python's handlers run between two of
the main thread's own steps, so one that stands in foreign code, waiting for another process, hears
nothing; another thread does.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from handful.errors import HandfulError, Interrupted, StepError
from handful.errors.exceptions import note_signal

_HEARD = (signal.SIGTERM, signal.SIGINT)
PATIENCE_SECONDS = 60.0
"""As long as whoever sends a SIGTERM usually waits before SIGKILL."""


def _of_its_own() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_of_its_own)  # a child's signals are not its parent's


class Stopped(StepError):
    """Somebody was told to go."""


class Stopping:
    """Listens while it is entered. Outside the main thread signals cannot be heard; then never."""

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._reached = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._fd_before = -1

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _HEARD}
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._fd_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True).start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reached.set()
        if self._pipe:
            signal.set_wakeup_fd(self._fd_before)
            os.close(self._pipe[1])  # the watch reads the end, and closes its own
            self._pipe = None

    def reached(self) -> None:
        """The loop has come to its stop: what it writes there may take as long as it needs."""
        self._reached.set()

    def _watch(self, pipe: int) -> None:
        """End the process in time after the first signal, unless it comes to a stop by itself."""
        with os.fdopen(pipe, "rb", buffering=0) as heard:
            while number := heard.read(1):
                if number[0] in _HEARD:
                    if not self._reached.wait(PATIENCE_SECONDS):
                        os._exit(128 + number[0])
                    return

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.heard is signal.SIGINT and number == signal.SIGINT:
            note_signal()
            raise KeyboardInterrupt  # someone is impatient: leave at once
        if self.heard is None:
            self.heard = signal.Signals(number)

    def error(self, step: int) -> HandfulError:
        """What to raise once the checkpoint of `step` is written."""
        # Those that train together stop together, although not each has heard it.
        by = self.heard.name if self.heard else "a signal to another process"
        what = f"stopped by {by} at step {step}"
        remedy = "a checkpoint was written: run again to go on from there"
        if self.heard is signal.SIGINT:
            return Interrupted(what, remedy=remedy)
        return StepError(what, remedy=remedy)

    def error_before(self) -> HandfulError:
        """What to raise where there is nothing yet to write a checkpoint of."""
        by = self.heard.name if self.heard else "a signal to another process"
        what = f"stopped by {by} before the first step"
        kind = Interrupted if self.heard is signal.SIGINT else Stopped
        return kind(what, remedy="run again")
