"""The command line: thin, and the only room that prints."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from handful.cli.aws import aws
from handful.cli.experiments import check, init
from handful.cli.image import image
from handful.cli.keys import settings
from handful.cli.predictions import export, predict
from handful.cli.states import status
from handful.cli.steps import compare, prepare, reconcile, report, run, test, train, tune

app = typer.Typer(
    name="handful",
    help="From labels in a database and files in a bucket to a compared, tested classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"handful {version('handful')}")
        raise typer.Exit


@app.callback()
def handful(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Tell the version and leave."
        ),
    ] = False,
) -> None:
    """From labels in a database and files in a bucket to a compared, tested classifier."""


for verb in (
    *(init, check),
    *(run, reconcile, prepare, tune, train, test, compare, report),
    *(status, settings, predict, export),
):
    app.command()(verb)
app.add_typer(aws, name="aws")
app.add_typer(image, name="image")


def main() -> None:
    """The console script."""
    # A stop from outside ends like Ctrl-C does: workers get the time for a last checkpoint.
    signal.signal(signal.SIGTERM, _stop)
    app()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt
