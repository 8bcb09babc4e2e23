"""The command line: thin, and the only room that prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from handful.cli.aws import aws
from handful.cli.experiments import check, init
from handful.cli.forget import forget
from handful.cli.image import image
from handful.cli.keys import settings
from handful.cli.output import flush_stdout, guard_output, tell_error
from handful.cli.predictions import export, predict
from handful.cli.schema import schema
from handful.cli.states import status
from handful.cli.steps import compare, prepare, reconcile, report, run, test, train, tune
from handful.errors import StepError, UserError
from handful.errors.exceptions import listen

app = typer.Typer(
    name="handful",
    help="From labels in a database and files in a bucket to a compared, tested classifier.",
    no_args_is_help=True,
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
    *(status, settings, schema, predict, export, forget),
):
    app.command()(verb)
app.add_typer(aws, name="aws")
app.add_typer(image, name="image")


def main() -> None:
    """The console script."""
    # A stop from outside ends like Ctrl-C does: workers get the time for a last checkpoint.
    listen()
    guard_output()
    sys.exit(flush_stdout(_run_cli_app()))


def _run_cli_app() -> int:
    """The exit status of the command line."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except (StepError, UserError) as error:  # from a command that is on no experiment
        tell_error(error)
        return error.exit_status
    return 0
