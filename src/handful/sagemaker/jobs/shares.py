"""Steps whose verbs run over there: prepare by shares, and reconcile near the database.

These jobs write into the store themselves, so there is no answer to take.
"""

from __future__ import annotations

from collections.abc import Set

from handful.backends.base import Job
from handful.experiment.context import Experiment
from handful.records import Fingerprint
from handful.sagemaker.jobs.requests.request_context import RECONCILE_WORDS


def prepare_job(experiment: Experiment, made_from: Fingerprint) -> Job:
    """The same for the same settings, functions and ledger."""
    arguments = {"made_from": dict(made_from)}
    return Job("prepare", str(experiment.directory), experiment.overrides, arguments)


def reconcile_job(experiment: Experiment, made_from: Fingerprint, asked: Set[str]) -> Job:
    """The same for the same settings, functions and wishes."""
    wishes = {word: word in asked for word in RECONCILE_WORDS}
    arguments = {"made_from": dict(made_from), **wishes}
    return Job("reconcile", str(experiment.directory), experiment.overrides, arguments)
