"""The backend that `[compute] BACKEND` names; nothing is asked over the network yet."""

from __future__ import annotations

from handful.backends.base import Backend
from handful.experiment.context import Experiment


def open_backend(experiment: Experiment) -> Backend:
    """Who runs the experiment's jobs."""
    if experiment.settings.compute.BACKEND == "sagemaker":
        from handful.sagemaker.jobs.backend import SageMaker

        return SageMaker(experiment)
    from handful.backends.local import Local

    return Local()
