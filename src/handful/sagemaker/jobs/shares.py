"""Steps whose verbs run over there: prepare by shares, and reconcile near the database.

These jobs write into the store themselves, so there is no answer to take.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from handful.backends.base import Job
from handful.experiment.context import Experiment
from handful.records import Fingerprint
from handful.sagemaker.jobs.backend import SageMaker
from handful.sagemaker.jobs.requests.request_context import RECONCILE_WORDS


def encode_shares(
    experiment: Experiment, made_from: Fingerprint, before_anew: Callable[[], object] | None = None
) -> None:
    """Run the job, or go on with it; the store holds all shards then, and nothing is joined.

    `before_anew` is called before a job is sent to begin anew, and not before one that runs.
    Raises what the backend raises.
    """
    backend = SageMaker(experiment)
    job = prepare_job(experiment, made_from)
    if before_anew and backend.begun(job) is None:
        before_anew()
    backend.run(job, experiment.progress)


def prepare_job(experiment: Experiment, made_from: Fingerprint) -> Job:
    """The same for the same settings, functions and ledger."""
    arguments = {"made_from": dict(made_from)}
    return Job("prepare", str(experiment.directory), experiment.overrides, arguments)


def reconcile_there(experiment: Experiment, made_from: Fingerprint, asked: Set[str]) -> None:
    """Run reconcile as a job, or go on with it. It takes the store's lock itself.

    `asked`: which of `RECONCILE_WORDS` are wanted. Raises what the backend raises.
    """
    job = reconcile_job(experiment, made_from, asked)
    SageMaker(experiment).run(job, experiment.progress)


def reconcile_job(experiment: Experiment, made_from: Fingerprint, asked: Set[str]) -> Job:
    """The same for the same settings, functions and wishes."""
    wishes = {word: word in asked for word in RECONCILE_WORDS}
    arguments = {"made_from": dict(made_from), **wishes}
    return Job("reconcile", str(experiment.directory), experiment.overrides, arguments)
