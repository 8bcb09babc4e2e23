"""Progress as JSON lines, from a worker to its driver."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from handful.progress import Progress, Scalar


class EventWriter:
    """A `Progress` that writes each call as a line of JSON to a file, a FIFO or standard output."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO = path.open("a", buffering=1) if path else sys.stdout
        self._own = path is not None

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._file.close()

    def _write(self, event: str, **values: Any) -> None:
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()

    def note(self, message: str) -> None:
        self._write("note", message=message)

    def warn(self, message: str) -> None:
        self._write("warn", message=message)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        self._write(
            "advance", task=task, done=done, total=total, unit=unit, figures=dict(figures or {})
        )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self._write("table", title=title, columns=list(columns), rows=[list(row) for row in rows])


def replay(line: str, progress: Progress) -> None:
    """Tell `progress` what an `EventWriter` wrote; ValueError if the line is none of its own."""
    values = json.loads(line)
    if not isinstance(values, dict) or values.get("event") not in {
        "note",
        "warn",
        "advance",
        "table",
    }:
        raise ValueError(f"not an event: {line[:80]!r}")
    getattr(progress, values.pop("event"))(**values)
