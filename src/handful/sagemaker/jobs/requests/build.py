"""Which request a work becomes; the operation's name and its parameters, nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handful.errors import UserError
from handful.sagemaker.jobs.requests.processing import processing_request
from handful.sagemaker.jobs.requests.request_context import Work
from handful.sagemaker.jobs.requests.training import training_request, tuning_request
from handful.settings import Settings

PROCESSING, TRAINING, TUNING = "processing", "training", "tuning"
KINDS = {
    "reconcile": PROCESSING,
    "prepare": PROCESSING,
    "test": PROCESSING,
    "train": TRAINING,
    "tune": TUNING,
}
"""A job's task → the kind of SageMaker job that does it."""
_OPERATIONS = {
    PROCESSING: ("CreateProcessingJob", processing_request),
    TRAINING: ("CreateTrainingJob", training_request),
    TUNING: ("CreateHyperParameterTuningJob", tuning_request),
}


@dataclass(frozen=True)
class Request:
    """One call of SageMaker's API."""

    operation: str
    parameters: dict[str, Any]


def request(settings: Settings, work: Work) -> Request:
    """`UserError` names the key of the settings that is missing or does not fit."""
    if work.job.task not in KINDS:
        raise UserError(f"{work.job.task} does not run on SageMaker", remedy="run it here")
    operation, make = _OPERATIONS[KINDS[work.job.task]]
    return Request(operation, make(settings, work))
