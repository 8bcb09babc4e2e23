"""Steps on managed machines: what they may cost, what they would send, and reconcile over there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from handful.backends.base import Job
from handful.errors import StepError
from handful.experiment.context import Experiment
from handful.experiment.store_format import keep_what_runs
from handful.jobs.arguments import ReconcileArgs
from handful.pipeline.open_backend import open_backend
from handful.pipeline.step import Choice, Step
from handful.pipeline.step_status import load_step_record, states
from handful.records import Record

if TYPE_CHECKING:
    from handful.sagemaker.jobs.costs.cost_check import Purse
    from handful.sagemaker.jobs.requests.preview import Planned


def purse_of(
    experiment: Experiment, steps: Sequence[Step], chosen: Sequence[Step], choice: Choice
) -> Purse | None:
    """What a run of the `chosen` of all `steps` may cost; None at home, which costs nothing."""
    managed = open_backend(experiment).managed_steps
    if not managed:
        return None
    from handful.sagemaker.jobs.costs.cost_check import Purse

    to_do = {one.step for one in states(experiment, steps) if not one.up_to_date} | choice.again
    names = [step.name for step in chosen if step.name in to_do]
    return Purse(experiment, names, managed=managed)


def run_managed_reconcile(experiment: Experiment, step: Step, choice: Choice) -> Record:
    """By a job, which holds the lock and writes the record; from here only what it is made from.

    The job sees other places than this machine does (a path, a login), so it would say otherwise.
    """
    from handful.storage.lock import hold_lock

    made_from = step.made_from(experiment, {})
    redo = step.name in choice.redo
    arguments = ReconcileArgs(dict(made_from), choice.refresh, choice.prune, redo)
    job = Job(arguments, str(experiment.directory), experiment.overrides)
    open_backend(experiment).run(job, experiment.progress)
    doing = "noting what reconcile is made from"
    with hold_lock(experiment.store, step.locked_at(experiment), doing) as held:
        mine = replace(experiment, store=held.store)
        keep_what_runs(mine.store, mine.directory, mine.overrides)
        record = load_step_record(mine.store, step.kept_at(mine), step)
        if record is None:
            raise StepError(
                "the job is done, but left no record",
                where=f"{experiment.store.url}/{step.kept_at(experiment)}",
                remedy="can its role write to the STORE? Run again to start it anew",
            )
        record = replace(record, made_from=made_from)
        mine.store.write(step.kept_at(experiment), record.to_json())
        held.check()
    return record


def list_managed_job_requests(experiment: Experiment, steps: Sequence[str]) -> Sequence[Planned]:
    """What `steps` would send; nothing is sent or asked."""
    from handful.sagemaker.jobs.requests.preview import preview_requests

    return preview_requests(experiment, steps)
