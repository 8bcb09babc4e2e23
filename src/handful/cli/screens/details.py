"""What `--verbose` tells besides: how long each task took, and what was tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from handful.cli.console import Listener, ScreenLine
from handful.progress import Scalar

RETRIES_OF_OTHERS = ("botocore.retries", "urllib3.connectionpool")
"""Loggers of the libraries that ask again by themselves, and say so."""
_ABOUT_RETRIES = ("Retry needed", "Retrying", "retrying request")


class Detailed:
    """A `Listener` that passes everything on, and tells how long each finished task took."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.hears_all = listener.hears_all
        self._opened = time.monotonic()
        self._began: dict[str, float] = {}

    def note(self, message: str) -> None:
        self.listener.note(message)

    def warn(self, message: str) -> None:
        self.listener.warn(message)

    def debug(self, message: str) -> None:
        self.listener.debug(f"{time.monotonic() - self._opened:7.1f} s  {message}")

    def result(self, message: str, *, again: bool = False) -> None:
        self.listener.result(message, again=again)

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:
        self.listener.screen(event, lines, values)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self.listener.table(title, columns, rows)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        began = self._began.setdefault(task, time.monotonic())
        self.listener.advance(task, done, total, unit, figures)
        if total is not None and done >= total:
            del self._began[task]
            self.debug(f"{task}: {done:,} {unit} in {time.monotonic() - began:.2f} s")

    def close(self) -> None:
        self.listener.close()


class _Passing(logging.Handler):
    """What is logged, as details; nothing that it meets may end the work."""

    def __init__(self, detailed: Detailed, hide: Callable[[str], str]) -> None:
        super().__init__(logging.DEBUG)
        self._detailed, self._hide = detailed, hide

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.name.startswith("handful") or any(one in text for one in _ABOUT_RETRIES):
                self._detailed.debug(self._hide(text))
        except Exception:  # noqa: BLE001 - a log line is not worth the command
            self.handleError(record)


@contextmanager
def details_told(detailed: Detailed, hide: Callable[[str], str]) -> Iterator[None]:
    """Tell, during the body, what handful and the clients of stores log about their work."""
    handler = _Passing(detailed, hide)
    loggers = [logging.getLogger(name) for name in ("handful", *RETRIES_OF_OTHERS)]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
