"""The command line: thin, and the only room that prints."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handful.cli.aws import aws
from handful.cli.image import image
from handful.cli.options import AsJson, Directory, Overrides, Traceback
from handful.errors import HandfulError, Interrupted, LeftRunning, UserError

if TYPE_CHECKING:
    from handful.cli.console import Listener
    from handful.experiment import Experiment
    from handful.step import Choice

app = typer.Typer(
    name="handful",
    help="From labels in a database and files in a bucket to a compared, tested classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(aws, name="aws")
app.add_typer(image, name="image")

ResumeAnyway = Annotated[
    bool,
    typer.Option(
        "--resume-anyway", help="Go on with an interrupted training although something changed."
    ),
]


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


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME")], traceback: Traceback = False
) -> None:
    """Make a new experiment's directory: settings.ini and functions.py to fill in."""
    with _errors_told(traceback=traceback):
        from handful.init import init_experiment

        made = init_experiment(Path.cwd(), name)
        print(
            f"{made} is ready: fill in settings.ini and functions.py, then `handful check {name}`"
        )


@app.command()
def check(
    directory: Directory,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Try everything on three real artifacts, and show what a run would do."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.rehearsal import rehearse

        rehearse(experiment)


@app.command()
def run(
    directory: Directory,
    first: Annotated[str | None, typer.Option("--from", metavar="STEP", help="Begin here.")] = None,
    last: Annotated[str | None, typer.Option("--until", metavar="STEP", help="End here.")] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option("--redo", metavar="STEP", help="Do this step although nothing changed."),
    ] = None,
    resume_anyway: ResumeAnyway = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Bring the whole experiment up to date, from labels to the report."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.step import Choice

        for step in (first, last, *(redo or ())):
            _must_be_a_step(step)
        choice = Choice(first, last, frozenset(redo or ()), resume_anyway=resume_anyway)
        if dry_run and experiment.settings.compute.BACKEND == "sagemaker":
            from handful.cli.managed import show_requests

            show_requests(experiment, choice, as_json)
        elif dry_run:
            _show_states(experiment, choice)
        else:
            _run(experiment, choice)


@app.command()
def reconcile(
    directory: Directory,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask production anew.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove stale copies.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Look again at every copy.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Match labels with files, and copy them into the experiment's store."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.step import Choice

        again = frozenset({"reconcile"}) if redo else frozenset[str]()
        _run(experiment, Choice("reconcile", "reconcile", again, refresh, prune))


def _verb(step: str, help_text: str) -> None:
    """A command that runs one step on what the steps before it left."""

    def verb(
        directory: Directory,
        redo: Annotated[
            bool, typer.Option("--redo", help="Do it although nothing changed.")
        ] = False,
        overrides: Overrides = None,
        as_json: AsJson = False,
        traceback: Traceback = False,
    ) -> None:
        with _opened(directory, overrides, as_json, traceback) as experiment:
            from handful.step import Choice

            _must_be_a_step(step)
            again = frozenset({step}) if redo else frozenset[str]()
            _run(experiment, Choice(step, step, again))

    app.command(step, help=help_text)(verb)


@app.command()
def prepare(
    directory: Directory,
    redo: Annotated[bool, typer.Option("--redo", help="Draw splits and encode anew.")] = False,
    worker: Annotated[
        int | None,
        typer.Option("--worker", metavar="I", help="Only encode the share of machine I, from 0."),
    ] = None,
    of: Annotated[int, typer.Option("--of", metavar="N", help="Of so many machines.")] = 1,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Encode the files into Arrow datasets, and split them."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.pipeline import prepare_share
        from handful.step import Choice

        if worker is None:
            again = frozenset({"prepare"}) if redo else frozenset[str]()
            _run(experiment, Choice("prepare", "prepare", again))
        elif redo:
            raise UserError(
                "--redo would remove what the other workers encode",
                where="prepare --worker",
                remedy="run `handful prepare EXP --redo` on one machine",
            )
        else:
            prepare_share(experiment, worker, of)


_verb("tune", "Search for better settings, on validation only.")


@app.command()
def train(
    directory: Directory,
    redo: Annotated[bool, typer.Option("--redo", help="Do it although nothing changed.")] = False,
    resume_anyway: ResumeAnyway = False,
    hosts: Annotated[
        Path | None,
        typer.Option(
            "--hosts",
            metavar="FILE",
            help="Train with other machines: a JSON file with hosts and current_host.",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", help="Of the first host; the next one is used, too.")
    ] = 7777,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Train every model with every seed."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.pipeline import train_together
        from handful.step import Choice

        again = frozenset({"train"}) if redo else frozenset[str]()
        choice = Choice("train", "train", again, resume_anyway=resume_anyway)
        if hosts is None:
            _run(experiment, choice)
        else:
            train_together(experiment, choice, hosts, port)


_verb("test", "Look at the held-out split, once.")


@app.command()
def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="EXP…", help="One experiment, or several.")
    ],
    redo: Annotated[bool, typer.Option("--redo", help="Do it although nothing changed.")] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Rank the models, or several experiments, and say which differences are real."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(_opened(one, overrides, as_json, traceback)) for one in directories
        ]
        if len(opened) > 1:
            from handful.cli.comparison import show_across

            show_across(opened, redo, as_json)
            return
        from handful.step import Choice

        again = frozenset({"compare"}) if redo else frozenset[str]()
        _run(opened[0], Choice("compare", "compare", again))


_verb("report", "Write the report: one HTML page.")


@app.command()
def status(
    directory: Directory,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Show how far the experiment is, and what a run would do."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.step import Choice

        _show_states(experiment, Choice())


@app.command()
def settings(as_json: AsJson = False) -> None:
    """Show every key of settings.ini: its unit, default and meaning."""
    from dataclasses import asdict

    from handful.settings import describe_settings

    keys = [asdict(key) for key in describe_settings()]
    print(json.dumps(keys, indent=2) if as_json else _as_text(keys))


@app.command()
def predict(
    directory: Directory,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Artifact folders, folders of them, or s3:// prefixes of such.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Not the winner on validation.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of this seed.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="JSONL; what is in it is not done again."),
    ] = None,
    every_label: Annotated[
        bool, typer.Option("--all", help="Tell the probability of every label.")
    ] = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Classify documents with the trained model."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.cli.predictions import Wish, predict_all

        predict_all(experiment, paths, Wish(model, seed, output, every_label, as_json))


@app.command()
def export(
    directory: Directory,
    onnx: Annotated[bool, typer.Option("--onnx", help="As an ONNX file.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Not the winner on validation.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of this seed.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Default: EXP-MODEL.onnx here.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
) -> None:
    """Write the trained model for other programs."""
    with _opened(directory, overrides, as_json, traceback) as experiment:
        from handful.cli.predictions import export_model

        if not onnx:
            raise UserError("to what?", where="handful export", remedy="say --onnx")
        export_model(experiment, model, seed, output)


def main() -> None:
    """The console script."""
    # A stop from outside ends like Ctrl-C does: workers get the time for a last checkpoint.
    signal.signal(signal.SIGTERM, _stop)
    app()


# --- what the commands share ---------------------------------------------------------------------


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _must_be_a_step(word: str | None) -> None:
    from handful.pipeline import STEP_NAMES

    if word is not None and word not in STEP_NAMES:
        raise UserError(f"there is no step {word!r}", remedy=f"steps: {', '.join(STEP_NAMES)}")


@contextmanager
def _opened(
    directory: Path, overrides: list[str] | None, as_json: bool, traceback: bool
) -> Iterator[Experiment]:
    with (
        _errors_told(traceback=traceback, as_json=as_json) as progress,
        # What cannot be removed must not hide why the command ended.
        tempfile.TemporaryDirectory(prefix="handful-", ignore_cleanup_errors=True) as scratch,
    ):
        from handful.experiment import open_experiment

        yield open_experiment(directory.absolute(), tuple(overrides or ()), progress, Path(scratch))


@contextmanager
def _errors_told(*, traceback: bool, as_json: bool = False) -> Iterator[Listener]:
    """End with the right status, and with words rather than a traceback."""
    from handful.cli.console import listener

    progress = listener(as_json)
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
    except (typer.Exit, SystemExit):
        raise
    except Exception as error:  # noqa: BLE001 - the last door: told, with status 1
        from handful.worker import unexpected

        progress.close()
        _tell(unexpected(error), as_json, traceback)
        raise typer.Exit(1) from None
    finally:
        progress.close()


def _tell(error: HandfulError, as_json: bool, traceback: bool) -> None:
    from handful.worker import error_to_json

    answer = error_to_json(error)
    if as_json:
        print(json.dumps({"event": "error", "status": error.exit_status, **answer}), flush=True)
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr)
    if traceback:
        notes = getattr(error, "__notes__", None)
        print("\n".join(notes) if notes else answer["traceback"], file=sys.stderr)


def _run(experiment: Experiment, choice: Choice) -> None:
    from handful.pipeline import run as run_steps
    from handful.records import Reported

    records = run_steps(experiment, choice)
    last = list(records.values())[-1]
    if isinstance(last, Reported):
        experiment.progress.note(f"the report: {last.url}")


def _show_states(experiment: Experiment, choice: Choice) -> None:
    from handful.pipeline import STEPS
    from handful.standing import age, states

    rows = []
    for state in states(experiment, STEPS):
        done = age(state.record.finished_at) if state.record else "never"
        what = "up to date" if state.up_to_date else f"to do: {state.reason}"
        if state.step in choice.redo:
            what = "to do: asked to do it again"
        rows.append((state.step, done, what))
    experiment.progress.table(str(experiment.store.url), ("step", "last done", "state"), rows)


def _as_text(keys: list[dict[str, Any]]) -> str:
    lines, section = [], None
    for key in keys:
        if key["section"] != section:
            section = key["section"]
            lines.append(f"\n[{section}]")
        default = "required" if key["required"] else f"default: {key['default'] or 'none'}"
        unit = f", {key['unit']}" if key["unit"] else ""
        lines += [f"  {key['key']}  ({default}{unit})", f"      {key['meaning']}"]
    return "\n".join(lines).lstrip("\n")
