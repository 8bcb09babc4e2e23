"""What would be sent, for a dry run: no credentials are needed, and nothing is asked or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from handful.backends.base import Job
from handful.experiment.context import Experiment
from handful.jobs.arguments import (
    Arguments,
    PrepareArgs,
    ReconcileArgs,
    TestArgs,
    TrainArgs,
    TuneArgs,
)
from handful.progress import Scalar
from handful.sagemaker.jobs.requests.build import request
from handful.sagemaker.jobs.requests.plan import plan, work_of
from handful.sagemaker.jobs.requests.shapes import refuse
from handful.settings import Settings


@dataclass(frozen=True)
class Planned:
    """One request, and of which step."""

    COLUMNS: ClassVar = ("step", "job", "instances", "type", "spot", "at most", "operation")
    step: str
    operation: str
    parameters: dict[str, Any]

    @property
    def row(self) -> tuple[Scalar, ...]:
        """What a person wants to know first, in the order of `COLUMNS`."""
        body = self.parameters
        definition: dict[str, Any] = body.get("TrainingJobDefinition", body)
        resources = definition.get("ResourceConfig") or body["ProcessingResources"]["ClusterConfig"]
        name = next(value for key, value in body.items() if key.endswith("JobName"))
        hours = definition["StoppingCondition"]["MaxRuntimeInSeconds"] / 3_600
        spot = bool(definition.get("EnableManagedSpotTraining", False))
        count, kind = resources["InstanceCount"], resources["InstanceType"]
        return (self.step, name, count, kind, spot, f"{hours:g} h", self.operation)


def preview_requests(experiment: Experiment, steps: Sequence[str]) -> list[Planned]:
    """The requests of these steps' jobs, as far as they are known before the steps are run.

    Labels, row counts and what tune will find are not in them yet. `UserError` names the key of
    the settings that does not fit, or that SageMaker would refuse.
    """
    found, settings = [], experiment.settings
    for step in steps:
        for arguments in _arguments_of_jobs(settings, step):
            job = Job(arguments, str(experiment.directory), experiment.overrides)
            planned = plan(experiment, job)
            name = planned.stem.attempt(1)
            work = work_of(settings, experiment.store.url, experiment.layout, planned, name)
            made = request(settings, work)
            refuse(made.operation, made.parameters, settings.sagemaker.REGION)
            found.append(Planned(step, made.operation, made.parameters))
    return found


def _arguments_of_jobs(settings: Settings, task: str) -> Sequence[Arguments]:
    """Those of a step; there are none of steps that run here."""
    models, seeds = settings.train.MODEL_NAMES, settings.train.SEEDS
    if task == "reconcile" and settings.sagemaker.RECONCILE_AS_JOB:
        return [ReconcileArgs()]
    if task == "prepare":
        return [PrepareArgs()]
    if task == "tune" and settings.tune.TRIALS:
        return [TuneArgs(model, seeds[0]) for model in models]
    if task == "train":
        return [TrainArgs(model, seed) for model in models for seed in seeds]
    return [TestArgs()] if task == "test" else []
