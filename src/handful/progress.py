"""What a step tells while it works; only the command line turns it into words on a screen.

A step never prints. It calls a `Progress`; the command line draws bars on a terminal, plain lines
in a log, or JSON lines for machines, and a worker process sends the same calls home as JSON lines
(see `handful.backends.local`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Scalar = str | int | float | bool | None


class Progress(Protocol):
    """The listener of a step."""

    def note(self, message: str) -> None:
        """Say one thing that a person would want to know."""

    def warn(self, message: str) -> None:
        """Say one thing that a person should act upon."""

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        """`task` has reached `done` of `total` (None: not known) in `unit`s, e.g. "files".

        `figures` stand beside the bar (loss, bytes, padding share). Calls may come often: the
        listener thins them out. A task whose `done` equals `total` is finished.
        """

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        """Show a small table; the first column names the row."""


class Silent:
    """A `Progress` that keeps quiet, for tests and for calls from Python."""

    def note(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None: ...

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]
    ) -> None: ...


@dataclass(frozen=True)
class Discreet:
    """A `Progress` that tells `listener` all but secrets.

    Tables and figures are handful's own, and as they are: a label may be spelled like a secret.
    """

    listener: Progress
    hide: Callable[[str], str]

    def note(self, message: str) -> None:
        self.listener.note(self.hide(message))

    def warn(self, message: str) -> None:
        self.listener.warn(self.hide(message))

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        self.listener.advance(task, done, total, unit, figures)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        self.listener.table(title, columns, rows)


class Events:
    """A `Progress` that tells each call as an event, by its name, with values for JSON."""

    def __init__(self, tell: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._tell = tell

    def note(self, message: str) -> None:
        self._tell("note", {"message": message})

    def warn(self, message: str) -> None:
        self._tell("warn", {"message": message})

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        told = {"task": task, "done": done, "total": total, "unit": unit}
        self._tell("advance", {**told, "figures": dict(figures or {})})

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        told = {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}
        self._tell("table", told)


def printable(text: str, most: int = 0) -> str:
    """`text` as a terminal may show it: what moves a cursor or breaks a line is replaced.

    Labels and names come from databases, and may hold anything. `most`: letters, 0 for any number.
    """
    clean = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return f"{clean[: most - 1]}…" if most and len(clean) > most else clean
