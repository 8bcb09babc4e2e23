"""Progress as JSON lines, from a worker to its driver."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from handful.progress import Events, Progress


class EventWriter(Events):
    """A `Progress` that writes each call as a line of JSON to a file, a FIFO or standard output."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(self._write)
        self._file: TextIO = path.open("a", buffering=1) if path else sys.stdout
        self._own = path is not None

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._file.close()

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()


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
