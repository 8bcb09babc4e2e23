"""What all commands share: an experiment that is opened, and errors that end in words."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from handful.cli.options import AsJson, Directory, Overrides, Quietly, Traceback, Verbosely
from handful.cli.output import tell_error
from handful.cli.verbosity import Verbosity, choose_verbosity
from handful.errors import HandfulError, Interrupted, LeftRunning
from handful.errors.exceptions import error_to_json, wrap_unexpected_error

if TYPE_CHECKING:
    from handful.cli.console import Listener
    from handful.experiment.context import Experiment

_EXP = Parameter("directory", Parameter.POSITIONAL_OR_KEYWORD, annotation=Directory)
_COMMON = tuple(
    Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
    for name, default, annotation in (
        ("overrides", None, Overrides),
        ("as_json", False, AsJson),
        ("traceback", False, Traceback),
        ("quiet", False, Quietly),
        ("verbose", False, Verbosely),
    )
)


def on_experiment(verb: Callable[..., None]) -> Callable[..., None]:
    """`verb`, which takes an opened experiment, as a command that takes EXP instead.

    The options that all such commands have come last. A verb is told of `--json` if it has a
    parameter `as_json`. Whatever it raises ends in words and in the right exit status.
    """
    # Experiment's own module is too heavy to be imported only to say what a command takes.
    hints = get_type_hints(verb, localns={"Experiment": object}, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in list(signature(verb).parameters.values())[1:]
    ]
    told = [parameter for parameter in own if parameter.name == "as_json"]

    def command(
        directory: Path,
        overrides: list[str] | None,
        as_json: bool,
        traceback: bool,
        quiet: bool,
        verbose: bool,
        **words: Any,
    ) -> None:
        if told:
            words["as_json"] = as_json
        telling = Telling(as_json, traceback, quiet, verbose)
        with experiment_session(directory, overrides, telling) as experiment:
            verb(experiment, **words)

    parameters = [_EXP, *(one for one in own if one not in told), *_COMMON]
    command.__name__, command.__doc__ = verb.__name__, verb.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return command


@dataclass(frozen=True)
class Telling:
    """How the options of a call want to be told."""

    as_json: bool = False
    traceback: bool = False
    quiet: bool = False
    verbose: bool = False


@contextmanager
def experiment_session(
    directory: Path, overrides: list[str] | None, telling: Telling
) -> Iterator[Experiment]:
    """The experiment in `directory`, during the body; errors are told as `errors_told` does."""
    with (
        errors_told(
            traceback=telling.traceback,
            as_json=telling.as_json,
            quiet=telling.quiet,
            verbose=telling.verbose,
        ) as progress,
        # What cannot be removed must not hide why the command ended.
        tempfile.TemporaryDirectory(prefix="handful-", ignore_cleanup_errors=True) as scratch,
    ):
        from handful.backends.worker import without_secrets
        from handful.experiment.context import open_experiment

        experiment = open_experiment(
            directory.absolute(), tuple(overrides or ()), progress, Path(scratch)
        )
        with without_secrets(experiment.settings.hide), _details(experiment, progress):
            yield experiment


@contextmanager
def _details(experiment: Experiment, progress: Listener) -> Iterator[None]:
    """What `--verbose` tells besides, during the body."""
    from handful.cli.screens.details import Detailed, details_told

    if isinstance(progress, Detailed):
        with details_told(progress, experiment.settings.hide):
            yield
    else:
        yield


@contextmanager
def errors_told(
    *, traceback: bool, as_json: bool = False, quiet: bool = False, verbose: bool = False
) -> Iterator[Listener]:
    """End with the right status, and with words rather than a traceback."""
    from handful.cli.console import listener

    try:
        verbosity = choose_verbosity(quiet, verbose)
    except HandfulError as error:
        _tell(error, as_json, traceback)
        raise typer.Exit(error.exit_status) from None
    progress = listener(as_json, verbosity)
    if verbosity is Verbosity.VERBOSE:
        from handful.cli.screens.details import Detailed

        progress = Detailed(progress)
    try:
        yield progress
    except KeyboardInterrupt:
        progress.close()
        _tell(Interrupted("interrupted; run the same command again to go on"), as_json, traceback)
        raise typer.Exit(Interrupted.exit_status) from None
    except HandfulError as error:
        progress.close()
        _tell(error, as_json, traceback)
        if isinstance(error, LeftRunning):
            from handful.cli.managed import ask_to_stop

            ask_to_stop(error)
        raise typer.Exit(error.exit_status) from None
    except typer.Exit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last door: told, with status 1
        progress.close()
        _tell(wrap_unexpected_error(error), as_json, traceback)
        raise typer.Exit(1) from None
    finally:
        progress.close()


def _tell(error: HandfulError, as_json: bool, traceback: bool) -> None:
    """In words on stderr, and as an event for machines; where it came from only if asked."""
    answer = {"event": "error", "status": error.exit_status, **error_to_json(error)}
    own = answer.pop("traceback")
    origin = "\n".join(getattr(error, "__notes__", ())) or own
    if as_json:
        print(json.dumps({**answer, "traceback": origin} if traceback else answer), flush=True)
    sys.stdout.flush()
    tell_error(error)
    if traceback:
        print(origin, file=sys.stderr)
