"""A polite end: SIGTERM and Ctrl-C are heard; the loop stops where it can write a checkpoint.

A loop that does not come to such a place in time (code of a model may wait for something that
never comes) is ended all the same: nobody is beyond SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from handful.errors import HandfulError, Interrupted, StepError

_HEARD = (signal.SIGTERM, signal.SIGINT)
PATIENCE_SECONDS = 60.0
"""As long as whoever sends a SIGTERM usually waits before SIGKILL."""


class Stopping:
    """Listens while it is entered. Outside the main thread signals cannot be heard; then never."""

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._deadline: threading.Timer | None = None

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _HEARD}
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._deadline:
            self._deadline.cancel()

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self.heard is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt  # someone is impatient: leave at once
        if self.heard is None:
            self.heard = signal.Signals(number)
            self._deadline = threading.Timer(PATIENCE_SECONDS, os._exit, (128 + number,))
            self._deadline.daemon = True
            self._deadline.start()

    def error(self, step: int) -> HandfulError:
        """What to raise once the checkpoint of `step` is written."""
        what = f"stopped by {self.heard.name if self.heard else 'nobody'} at step {step}"
        remedy = "a checkpoint was written: run again to go on from there"
        if self.heard is signal.SIGINT:
            return Interrupted(what, remedy=remedy)
        return StepError(what, remedy=remedy)
