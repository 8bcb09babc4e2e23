"""The ways to tell a step's progress: bars on a terminal, lines in a log, JSON lines, or nothing.

Whichever it is, `result` and `screen` are told: they are what a command was called for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from handful.cli.verbosity import Verbosity, draws_bars, fold
from handful.progress import Discreet, Events, Progress, Scalar, Silent, printable

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress as Bars
    from rich.progress import TaskID
    from rich.text import Text

LINE_EVERY_SECONDS = 10.0
EVENT_EVERY_SECONDS = 1.0
SHORTEST_SECONDS = 0.5
CELL_LETTERS = 160
"""Of a table's cell, at most."""


@dataclass(frozen=True)
class ScreenLine:
    """One line of a screen, and how a terminal with colours shows it (a style of rich's)."""

    text: str
    style: str = ""


@runtime_checkable
class Listener(Progress, Protocol):
    """A `Progress` that owns the screen until it is closed."""

    hears_all: bool
    """Is it told what has not changed, too, since a machine listens?"""

    def debug(self, message: str) -> None:
        """Say what only `--verbose` wants to know."""

    def result(self, message: str, *, again: bool = False) -> None:
        """Say what the command was called for. `again`: notes and tables have said it in full, so
        that only those who heard none of these, and machines, are told."""

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:
        """Show what was asked for: the lines to people, one `event` of `values` to machines."""

    def close(self) -> None: ...


def listener(as_json: bool, verbosity: Verbosity = Verbosity.NORMAL) -> Listener:
    """The right one for where standard output goes."""
    if as_json:
        return QuietJson() if verbosity is Verbosity.QUIET else JsonLines()
    if verbosity is Verbosity.QUIET:
        return Quiet()
    return Terminal() if draws_bars() else PlainLines()


def listener_of(progress: Progress) -> Listener:
    """The command line's own, behind what hides secrets from it; plain lines if there is none."""
    while isinstance(progress, Discreet):
        progress = progress.listener
    return progress if isinstance(progress, Listener) else PlainLines()


def tell_result(progress: Progress, message: str, *, again: bool = False) -> None:
    """`Listener.result`, told without secrets; a note to any other `Progress`."""
    hide = progress.hide if isinstance(progress, Discreet) else str
    base = progress
    while isinstance(base, Discreet):
        base = base.listener
    if isinstance(base, Listener):
        base.result(hide(message), again=again)
    elif not again:
        progress.note(message)


@dataclass
class Pace:
    """How fast one task goes: since when, from where, and when it was last shown."""

    began_at: int
    began: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def rate(self, done: int) -> float:
        """Units a second since the first call; 0 as long as that is too short to tell."""
        seconds = time.monotonic() - self.began
        return (done - self.began_at) / seconds if seconds >= SHORTEST_SECONDS else 0.0

    def left(self, done: int, total: int | None) -> float | None:
        """Seconds until `total`, or None if nobody can know yet."""
        rate = self.rate(done)
        return (total - done) / rate if total is not None and rate > 0 else None

    def due(self, every: float) -> bool:
        """Is it time to show this task again? Remembers that it was."""
        now = time.monotonic()
        if now - self.shown < every:
            return False
        self.shown = now
        return True


class Paces:
    """The pace of each task by its name; a finished task is forgotten."""

    def __init__(self, *, quiet_start: bool = False) -> None:
        self._paces: dict[str, Pace] = {}
        self._finished: dict[str, int] = {}
        self._quiet_start = quiet_start

    def _initial_shown_time(self) -> float:
        return time.monotonic() if self._quiet_start else 0.0

    def is_over(self, task: str, done: int) -> bool:
        """Was the end of this task told already?"""
        return self._finished.get(task) == done

    def of(self, task: str, done: int, total: int | None) -> Pace:
        pace = self._paces.setdefault(task, Pace(done, shown=self._initial_shown_time()))
        if total is not None and done >= total:
            del self._paces[task]
            self._finished[task] = done
            pace.shown = 0.0
        else:
            self._finished.pop(task, None)
        return pace


class JsonLines(Events):
    """One JSON object a line, for machines."""

    hears_all = True

    def __init__(self) -> None:
        super().__init__(self._write)
        self._paces = Paces()

    def _write(self, event: str, values: Mapping[str, Any]) -> None:
        print(json.dumps({"event": event, "at": round(time.time(), 3), **values}), flush=True)

    def debug(self, message: str) -> None:
        self._write("debug", {"message": message})

    def result(self, message: str, *, again: bool = False) -> None:  # noqa: ARG002
        self._write("result", {"message": message})

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._write(event, values)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        pace = self._paces.of(task, done, total)
        if not pace.due(EVENT_EVERY_SECONDS):
            return
        left = pace.left(done, total)
        told = {
            "task": task,
            "done": done,
            "total": total,
            "unit": unit,
            "per_second": round(pace.rate(done), 3),
            "seconds_left": None if left is None else round(left, 1),
            "figures": dict(figures or {}),
        }
        self._write("progress", told)

    def close(self) -> None: ...


class QuietJson(JsonLines):
    """The result and errors alone."""

    note = warn = debug = Silent.note
    advance = Silent.advance
    table = Silent.table


class Quiet(Silent):
    """The result alone; errors are told elsewhere."""

    hears_all = False

    def debug(self, message: str) -> None: ...

    def result(self, message: str, *, again: bool = False) -> None:  # noqa: ARG002
        print(fold(lines(message)), flush=True)

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        _print_screen(lines)

    def close(self) -> None: ...


class PlainLines:
    """Plain lines, for a log: a task is told of every ten seconds and when it is done."""

    hears_all = False

    def __init__(self) -> None:
        self._paces = Paces(quiet_start=True)

    def note(self, message: str) -> None:
        print(fold(lines(message)), flush=True)

    def warn(self, message: str) -> None:
        print(fold(f"warning: {lines(message)}"), flush=True)

    def debug(self, message: str) -> None:
        print(fold(f"debug: {lines(message)}"), flush=True)

    def result(self, message: str, *, again: bool = False) -> None:
        if not again:
            self.note(message)

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        _print_screen(lines)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        if self._paces.is_over(task, done):
            return
        pace = self._paces.of(task, done, total)
        if not pace.due(LINE_EVERY_SECONDS):
            return
        parts = [f"{done:,}{'' if total is None else f'/{total:,}'} {unit}".rstrip()]
        if rate := pace.rate(done):
            parts.append(f"{rate:,.1f}/s")
        left = pace.left(done, total)
        if left:
            parts.append(f"{duration(left)} left")
        parts += [f"{name} {figure(value)}" for name, value in (figures or {}).items()]
        print(fold(f"  {printable(task)}: {', '.join(parts)}"), flush=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        cells = [list(columns), *([cell(value) for value in row] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        print(title)
        for row in cells:
            texts = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            print(fold("  " + "  ".join(texts).rstrip()))
        sys.stdout.flush()

    def close(self) -> None: ...


class Terminal:
    """Bars with rate and time left; notes and tables go above them."""

    hears_all = False

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._bars: Bars | None = None
        self._live: Live | None = None
        self._tasks: dict[str, TaskID] = {}
        self._paces = Paces()

    def note(self, message: str) -> None:
        self._console.print(lines(message), markup=False)

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {lines(message)}", markup=False, style="yellow")

    def debug(self, message: str) -> None:
        self._console.print(f"debug: {lines(message)}", markup=False, style="dim")

    def result(self, message: str, *, again: bool = False) -> None:
        if not again:
            self.note(message)

    def screen(self, event: str, lines: Sequence[ScreenLine], values: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._console.print(_rich_lines(lines))

    def redraw(self, lines: Sequence[ScreenLine]) -> None:
        """Show the lines in the place of those that were drawn before."""
        from rich.live import Live

        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(_rich_lines(lines), refresh=True)

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        bars = self._start_progress_bars()
        if task not in self._tasks:
            self._tasks[task] = bars.add_task(task, total=total, told="")
        rate = self._paces.of(task, done, total).rate(done)
        told = [f"{rate:,.1f} {unit}/s"] if rate else []
        told += [f"{name} {figure(value)}" for name, value in (figures or {}).items()]
        bars.update(self._tasks[task], completed=done, total=total, told="  ".join(told))
        if total is not None and done >= total:
            del self._tasks[task]
            if not self._tasks:
                self.close()

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Scalar]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", header_style="bold", box=None)
        for index, column in enumerate(columns):
            numbers = all(isinstance(row[index], int | float) for row in rows)
            table.add_column(Text(column), justify="right" if numbers and index else "left")
        for row in rows:
            table.add_row(*(Text(cell(value)) for value in row))
        self._console.print(table)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks = {}

    def _start_progress_bars(self) -> Bars:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        if self._bars is None:
            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[told]}", markup=False),
                console=self._console,
            )
            self._bars.start()
        return self._bars


def _rich_lines(lines: Sequence[ScreenLine]) -> Text:
    from rich.text import Text

    parts = (Text(printable(line.text), style=line.style) for line in lines)
    return Text("\n").join(parts)


def _print_screen(lines: Sequence[ScreenLine]) -> None:
    for line in lines:
        print(fold(printable(line.text)))
    sys.stdout.flush()


def figure(value: Scalar) -> str:
    """A number as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else value


def cell(value: Scalar) -> str:
    """A table's cell: one line, whatever stands in it."""
    return printable(figure(value), CELL_LETTERS)


def lines(message: str) -> str:
    """A message of one line or several, with nothing in them that moves a cursor."""
    return "\n".join(printable(line.expandtabs()) for line in message.split("\n"))


def duration(seconds: float) -> str:
    """1h02m, 3m20s or 12s."""
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
