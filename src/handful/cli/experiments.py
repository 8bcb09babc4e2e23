"""`handful init` and `handful check`: before there is anything to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handful.cli.command import errors_told, on_experiment
from handful.cli.options import Traceback

if TYPE_CHECKING:
    from handful.experiment.context import Experiment


def init(
    name: Annotated[str, typer.Argument(metavar="NAME")], traceback: Traceback = False
) -> None:
    """Make a new experiment's directory: settings.ini and functions.py to fill in."""
    with errors_told(traceback=traceback):
        from handful.experiment.scaffold import init_experiment

        made = init_experiment(Path.cwd(), name)
        print(
            f"{made} is ready: fill in settings.ini and functions.py, then `handful check {name}`"
        )


@on_experiment
def check(
    experiment: Experiment,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask production; after a first reconcile.")
    ] = False,
) -> None:
    """Try everything on three real artifacts, and show what a run would do."""
    from handful.cli.screens.plan import show_plan
    from handful.pipeline.check import rehearse

    rehearse(experiment, offline=offline, show=lambda plan: show_plan(experiment.progress, plan))
