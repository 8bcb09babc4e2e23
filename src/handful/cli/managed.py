"""What the command line says of jobs on managed machines: a dry run's requests, and Ctrl-C."""

from __future__ import annotations

import json
import sys

import typer

from handful.cli.console import tell_result
from handful.errors import LeftRunning, StoreError
from handful.experiment.context import Experiment
from handful.pipeline.managed_jobs import list_managed_job_requests
from handful.pipeline.run import select_pipeline_steps
from handful.pipeline.step import Choice
from handful.pipeline.step_status import states
from handful.pipeline.steps import STEPS


def show_requests(experiment: Experiment, choice: Choice, as_json: bool) -> None:
    """The requests of every step that would run; of all steps if nobody may look into the store."""
    progress = experiment.progress
    try:
        found = {one.step: "; ".join(one.reasons) for one in states(experiment, STEPS)}
    except StoreError as error:
        progress.warn(f"every job is shown, since the store cannot be looked into: {error}")
        found = {step.name: "not known" for step in STEPS}
    names = [step.name for step in select_pipeline_steps(choice)]
    to_do = [step for step in names if found[step] or step in choice.again]
    planned = list_managed_job_requests(experiment, to_do)
    if as_json:
        for one in planned:
            told = {"step": one.step, "operation": one.operation, "parameters": one.parameters}
            print(json.dumps({"event": "request", **told}), flush=True)
        return
    rows = [(step, reason or "up to date") for step, reason in found.items()]
    progress.table(str(experiment.store.url), ("step", "state"), rows)
    if planned:
        told_rows = [one.row for one in planned]
        progress.table("what would be sent to SageMaker", planned[0].COLUMNS, told_rows)
        progress.note("what labels, rows and tuned settings will be is not known before; each")
        progress.note("request as JSON: --dry-run --json")
    else:
        progress.note("no job would be sent")
    tell_result(progress, f"{len(planned)} jobs would be sent", again=True)


def ask_to_stop(left: LeftRunning) -> None:
    """Whoever sits at a terminal decides; for anybody else the job goes on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if typer.confirm("Stop the job, too?", default=False, err=True):
        left.stop()
        typer.echo("it is being stopped, and gets its time for a last checkpoint", err=True)
