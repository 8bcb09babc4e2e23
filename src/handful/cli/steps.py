"""`handful run`, and a verb for each step on what the steps before it left."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handful.cli.command import Telling, experiment_session, on_experiment
from handful.cli.completion import complete_experiment, complete_step
from handful.cli.options import (
    AsJson,
    Overrides,
    Quietly,
    Redo,
    Refresh,
    ResumeAnyway,
    Traceback,
    Verbosely,
    Verify,
)
from handful.errors import UserError

if TYPE_CHECKING:
    from handful.experiment.context import Experiment
    from handful.pipeline.step import Choice
    from handful.records import Record


@on_experiment
def run(
    experiment: Experiment,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Begin here.", autocompletion=complete_step),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--until", metavar="STEP", help="End here.", autocompletion=complete_step),
    ] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(
            "--redo",
            metavar="STEP",
            help="Do this step although nothing changed.",
            autocompletion=complete_step,
        ),
    ] = None,
    refresh: Refresh = False,
    resume_anyway: ResumeAnyway = False,
    verify: Verify = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    as_json: bool = False,
) -> None:
    """Bring the whole experiment up to date, from labels to the report."""
    from handful.pipeline.step import Choice

    for step in (first, last, *(redo or ())):
        _must_be_a_step(step)
    choice = Choice(
        first,
        last,
        frozenset(redo or ()),
        refresh=refresh,
        resume_anyway=resume_anyway,
        verify=verify,
    )
    if refresh and first not in (None, "reconcile"):
        raise UserError(
            "production is asked by reconcile, which --from leaves out",
            where="run --refresh",
            remedy="leave --from out; steps that are up to date are not done again",
        )
    if dry_run:
        _show_plan(experiment, choice, as_json)
    else:
        _run(experiment, choice)


@on_experiment
def reconcile(
    experiment: Experiment,
    refresh: Refresh = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove stale copies.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Look again at every copy.")] = False,
) -> None:
    """Match labels with files, and copy them into the experiment's store."""
    _run(experiment, _only("reconcile", redo, refresh=refresh, prune=prune))


@on_experiment
def prepare(
    experiment: Experiment,
    redo: Annotated[bool, typer.Option("--redo", help="Draw splits and encode anew.")] = False,
    worker: Annotated[
        int | None,
        typer.Option("--worker", metavar="I", help="Only encode the share of machine I, from 0."),
    ] = None,
    of: Annotated[int, typer.Option("--of", metavar="N", help="Of so many machines.")] = 1,
    sent: Annotated[bool, typer.Option("--sent", hidden=True, help="By a job's driver.")] = False,
) -> None:
    """Encode the files into Arrow datasets, and split them."""
    if worker is None:
        _run(experiment, _only("prepare", redo))
    elif redo:
        raise UserError(
            "--redo would remove what the other workers encode",
            where="prepare --worker",
            remedy="run `handful prepare EXP --redo` on one machine",
        )
    else:
        from handful.pipeline.multi_host import prepare_share

        prepare_share(experiment, worker, of, sent=sent)


@on_experiment
def tune(experiment: Experiment, redo: Redo = False) -> None:
    """Search for better settings, on validation only."""
    _run(experiment, _only("tune", redo))


@on_experiment
def train(
    experiment: Experiment,
    redo: Redo = False,
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
) -> None:
    """Train every model with every seed."""
    choice = _only("train", redo, resume_anyway=resume_anyway)
    if hosts is None:
        _run(experiment, choice)
    else:
        from handful.pipeline.multi_host import train_together

        train_together(experiment, choice, hosts, port)


@on_experiment
def test(experiment: Experiment, redo: Redo = False) -> None:  # noqa: PT028 - a verb, no test
    """Look at the held-out split, once."""
    _run(experiment, _only("test", redo))


def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="EXP…",
            help="One experiment, or several.",
            autocompletion=complete_experiment,
        ),
    ],
    redo: Redo = False,
    overrides: Overrides = None,
    as_json: AsJson = False,
    traceback: Traceback = False,
    quiet: Quietly = False,
    verbose: Verbosely = False,
) -> None:
    """Rank the models, or several experiments, and say which differences are real."""
    telling = Telling(as_json, traceback, quiet, verbose)
    with ExitStack() as stack:
        experiments = [
            stack.enter_context(experiment_session(one, overrides, telling)) for one in directories
        ]
        if len(experiments) > 1:
            from handful.cli.comparison import show_across

            show_across(experiments, redo, as_json)
        else:
            _run(experiments[0], _only("compare", redo))


@on_experiment
def report(experiment: Experiment, redo: Redo = False) -> None:
    """Write the report: one HTML page. What was tested is compared first; nothing is trained."""
    _run(experiment, _only("report", redo))


# --- what they share -----------------------------------------------------------------------------


def _only(step: str, redo: bool, **more: Any) -> Choice:
    from handful.pipeline.step import Choice

    return Choice(step, step, frozenset({step} if redo else ()), **more)


def _must_be_a_step(word: str | None) -> None:
    from handful.pipeline.steps import STEP_NAMES

    if word is not None and word not in STEP_NAMES:
        raise UserError(f"there is no step {word!r}", remedy=f"steps: {', '.join(STEP_NAMES)}")


def _show_plan(experiment: Experiment, choice: Choice, as_json: bool) -> None:
    from handful.cli.managed import show_requests
    from handful.cli.states import show_states
    from handful.pipeline.open_backend import open_backend

    if open_backend(experiment).managed_steps:
        show_requests(experiment, choice, as_json)
    else:
        show_states(experiment, choice)


def _run(experiment: Experiment, choice: Choice) -> None:
    from handful.cli.console import tell_result
    from handful.pipeline.run import run as run_steps
    from handful.records import Reported

    records = run_steps(experiment, choice)
    last = list(records.values())[-1]
    if isinstance(last, Reported):
        tell_result(experiment.progress, f"the report: {experiment.store.url}/{last.key}")
    else:
        tell_result(experiment.progress, _describe_outcome(last), again=True)


def _describe_outcome(record: Record) -> str:
    """What a step has left, in a line or a few."""
    from handful.records import Compared, Prepared, Reconciled, Tested, Trained, Tuned

    match record:
        case Reconciled():
            return f"{record.kept:,} artifacts are kept"
        case Prepared():
            return "\n".join(
                f"{model}: " + ", ".join(f"{rows:,} {split}" for split, rows in counts.items())
                for model, counts in record.rows.items()
            )
        case Tuned():
            best = [f"{one.model}: trial {one.trial}, {one.value:.4g}" for one in record.best]
            return "\n".join(best) or "nothing was to be tuned"
        case Trained():
            return f"{len(record.runs):,} trained models stand in the store"
        case Tested():
            count = len(record.evaluations)
            return f"{count:,} trained models are tested on the held-out split"
        case Compared():
            return record.verdict
    return "done"
