"""The processes in which prepare reads and encodes."""

from __future__ import annotations

from handful.experiment.context import Experiment
from handful.system.machine import cores
from handful.user_functions.workers.messages import Setup
from handful.user_functions.workers.pool import Workers


def workers_of(experiment: Experiment, *, to_encode: bool = True) -> Workers:
    """As many as NUM_PROCESSES asks for, or one for each core."""
    settings = experiment.settings
    most = settings.prepare.NUM_PROCESSES or cores()
    setup = Setup(experiment.directory, settings, ("datasets",) if to_encode else None)
    memory = settings.prepare.WORKER_MEMORY
    return Workers(setup, experiment.scratch / "workers", most, memory=memory)
