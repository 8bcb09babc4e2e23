"""An experiment's overview as lines: all of it for a log, one screen of it for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from handful.cli.console import CELL_LETTERS, ScreenLine, cell, duration, figure
from handful.progress import printable

if TYPE_CHECKING:
    from handful.pipeline.overview import BestModel, KeptModels, Overview
    from handful.pipeline.progress_file import TaskProgress

_STATE_STYLES = {
    "up to date": "green",
    "to do": "yellow",
    "in progress": "bold cyan",
    "cut off": "yellow",
    "damaged": "bold red",
}
_INDENT = " " * 29
"""As wide as the first two columns of the steps."""


def overview_lines(found: Overview, width: int = 0, height: int = 0) -> list[ScreenLine]:
    """The screen. `width` and `height` in letters and lines that it may take; 0: as it comes."""
    below = [*_progress_lines(found), *_figure_lines(found)]
    below.append(ScreenLine(f"next: {found.next}", "bold"))
    kept = _kept_model_lines(found.models)
    room = height - 2 - len(below) - len(kept) if height else 0
    lines = [
        ScreenLine(found.url, "bold"),
        ScreenLine(_step_row("step", "last done", "state"), "bold"),
    ]
    lines += [
        ScreenLine(_cut_to_width(one.text, width), one.style) for one in _step_lines(found, room)
    ]
    return [*lines, *below, *kept]


def _step_lines(found: Overview, room: int) -> list[ScreenLine]:
    """A line a step, and its further reasons as far as there is `room` (0: all of them)."""
    spare = max(0, room - len(found.steps)) if room else None
    lines = []
    for one in found.steps:
        first, *others = _most_telling_first(one.lines)
        style = _STATE_STYLES[one.state]
        shown = others if spare is None else others[:spare]
        hidden = len(others) - len(shown)
        first = f"{first} (and {hidden} more)" if hidden else first
        lines.append(ScreenLine(_step_row(one.step, one.last_done, first), style))
        lines += [ScreenLine(f"{_INDENT}{other}", style) for other in shown]
        spare = None if spare is None else spare - len(shown)
    return lines


def _most_telling_first(lines: Sequence[str]) -> list[str]:
    """Whoever is at work now, or was and died of it, comes before why that had to be."""
    at_work = ("in progress", "cut off", "perhaps cut off")
    return sorted(lines, key=lambda line: not line.startswith(at_work))


def _step_row(step: str, last_done: str, state: str) -> str:
    return f"  {step:<9}  {last_done:<14}  {printable(state, 10 * CELL_LETTERS)}"


def _progress_lines(found: Overview) -> list[ScreenLine]:
    if found.progress is None:
        return []
    return [
        ScreenLine(f"  {found.progress.step}: {describe_task(task)}", "cyan")
        for task in found.progress.tasks
    ]


def describe_task(task: TaskProgress) -> str:
    """How far it is: counts, rate, time left, figures."""
    total = "" if task.total is None else f"/{task.total:,}"
    parts = [f"{task.done:,}{total} {task.unit}".rstrip()]
    if task.per_second:
        parts.append(f"{task.per_second:,.1f}/s")
    if task.seconds_left:
        parts.append(f"{duration(task.seconds_left)} left")
    parts += [f"{name} {figure(value)}" for name, value in task.figures.items()]
    return printable(f"{task.task}: {', '.join(parts)}")


def _figure_lines(found: Overview) -> list[ScreenLine]:
    lines = []
    if found.kept is not None:
        lines.append(ScreenLine(f"kept: {found.kept:,} artifacts of {found.labels:,} labels"))
    lines += [ScreenLine(f"splits: {words}") for words in _describe_splits(found.splits)]
    if found.forgotten:
        lines.append(ScreenLine(found.forgotten))
    if found.best is not None:
        lines += _best_lines(found.best)
    if found.managed:
        known = "nothing yet, or not known" if found.dollars is None else f"${found.dollars:,.2f}"
        lines.append(ScreenLine(f"cost of the jobs so far: about {known}"))
    if found.report:
        lines.append(ScreenLine(f"report: {found.report.removeprefix(f'{found.url}/')}"))
    return lines


def _describe_splits(splits: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line for all models whose rows are as many, which is as a rule all of them."""
    models: dict[str, list[str]] = {}
    for model, rows in splits.items():
        words = ", ".join(f"{count:,} {split}" for split, count in rows.items())
        models.setdefault(words, []).append(model)
    if len(models) == 1:
        return list(models)
    return [f"{words} ({', '.join(names)})" for words, names in models.items()]


def _best_lines(best: BestModel) -> list[ScreenLine]:
    validation = "" if best.validation is None else f"{best.validation:.3f} on validation"
    if best.test is None:
        return [ScreenLine(f"best so far: {best.model}, {best.metric} {validation}")]
    interval = "" if best.low is None else f" ({best.low:.3f} to {best.high:.3f})"
    told = f"best: {best.model}, {best.metric} {best.test:.3f}{interval} on test, {validation}"
    lines = [ScreenLine(told)]
    values = ", ".join(
        f"{name.removeprefix('baseline-')} {value:.3f}"
        for name, value in best.baselines
        if value is not None
    )
    if values:
        verdict = {True: "beaten", False: "NOT beaten", None: "not compared"}[best.beats_baseline]
        style = "bold red" if best.beats_baseline is False else ""
        lines.append(ScreenLine(f"baselines: {values}; {verdict}", style))
    return lines


def _kept_model_lines(models: KeptModels | None) -> list[ScreenLine]:
    if models is None:
        return []
    title = "trained models; `handful predict EXP PATH --run RUN` uses one that is kept"
    rows = [list(models.columns), *([cell(value) for value in row] for row in models.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(models.columns))]
    texts = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return [ScreenLine(title), *(ScreenLine(f"  {text}") for text in texts)]


def _cut_to_width(text: str, width: int) -> str:
    return f"{text[: width - 1]}…" if width and len(text) > width else text
