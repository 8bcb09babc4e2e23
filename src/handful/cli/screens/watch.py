"""Showing an overview: once, or again and again until the run is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from handful.cli.console import Listener, ScreenLine, Terminal, listener_of
from handful.cli.screens.details import Detailed
from handful.cli.screens.overview import describe_task, overview_lines
from handful.progress import Discreet

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.pipeline.overview import Overview

SCREEN_LINES = 24
"""Of an ordinary terminal; a higher one is used to its end."""


def show_overview(experiment: Experiment, *, verify: bool) -> None:
    """Once. `Damaged` behind it, if a file is."""
    from handful.pipeline.overview import find_overview

    found = find_overview(experiment, verify=verify)
    listener = listener_of(experiment.progress)
    listener.screen("status", _lines_for(listener, found), found.to_json())
    for state in found.damage:
        state.check()


def watch_overview(experiment: Experiment, seconds: float, *, verify: bool) -> None:
    """Look every so many `seconds`, and return once every step is up to date.

    A terminal is drawn upon in place; elsewhere there is a line for each thing that changed, and
    machines get an object for each look. `Damaged` as soon as a file is.
    """
    from handful.pipeline.overview import find_overview

    listener = listener_of(experiment.progress)
    draws = _base(listener)
    show = _in_place(draws) if isinstance(draws, Terminal) else _by_change(listener, experiment)
    try:
        while True:
            found = find_overview(experiment, verify=verify)
            show(found)
            for state in found.damage:
                state.check()
            if found.is_done:
                return
            time.sleep(seconds)
    finally:
        listener.close()


def _base(listener: Listener) -> Listener:
    return listener.listener if isinstance(listener, Detailed) else listener


def _lines_for(listener: Listener, found: Overview) -> list[ScreenLine]:
    if isinstance(listener, Detailed) or not isinstance(listener, Terminal):
        return overview_lines(found)
    size = shutil.get_terminal_size()
    # One line stays for the prompt.
    return overview_lines(found, size.columns, max(SCREEN_LINES, size.lines) - 1)


def _in_place(terminal: Terminal) -> Callable[[Overview], None]:
    return lambda found: terminal.redraw(_lines_for(terminal, found))


def _by_change(listener: Listener, experiment: Experiment) -> Callable[[Overview], None]:
    """Told whenever something changed; to machines each time."""
    before: dict[str, str] = {}
    progress = experiment.progress
    hide: Callable[[str], str] = progress.hide if isinstance(progress, Discreet) else str

    def show(found: Overview) -> None:
        now = _what_changes(found)
        changed = [
            ScreenLine(hide(text)) for place, text in now.items() if before.get(place) != text
        ]
        if changed or listener.hears_all:
            listener.screen("status", changed, found.to_json())
        before.clear()
        before.update(now)

    return show


def _what_changes(found: Overview) -> Mapping[str, str]:
    """A place on the screen → what stands there, without what only time changes."""
    told: dict[str, Any] = {}
    for one in found.steps:
        moment = f", done {one.finished_at}" if one.finished_at else ""
        told[one.step] = f"{one.step}: {one.state}{moment}"
    if found.progress:
        for task in found.progress.tasks:
            told[f"task {task.task}"] = f"  {found.progress.step}: {describe_task(task)}"
    if found.best:
        best = found.best
        value = best.validation if best.test is None else best.test
        told["best"] = f"best: {best.model}" + ("" if value is None else f", {value:.3f}")
    told["next"] = f"next: {found.next}"
    return told
