"""What a request is made from, beside the settings: the job, its name, and where its things lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handful.backends.base import Job

EXPERIMENT_CHANNEL = "experiment"
"""The bundle arrives under this name."""
MODEL_CHANNEL = "model-"
"""A local model's files arrive as `model-0`, `model-1`, …, each in a folder of the model's name."""
JOB_CHANNEL = "job"
"""A processing job, which has no hyperparameters, finds its job file here."""
JOB_FILE = "job.json"


@dataclass(frozen=True)
class Channel:
    """Files of S3 that SageMaker brings to each instance before the container starts."""

    name: str
    url: str
    """Everything below this `s3://` folder."""
    mode: str = "File"
    """File: brought at the start; FastFile: streamed when read (training only)."""


@dataclass(frozen=True)
class Work:
    """One job to be sent."""

    name: str
    """Of `handful.backends.sagemaker.names`."""
    job: Job
    bundle_hash: str
    settings_text: str
    """settings.ini as it travels: no secrets are in it."""
    folder: str
    """The `s3://` folder of the experiment's store that is this job's own."""
    channels: tuple[Channel, ...] = ()
    instance_type: str = ""
    """Which type of several to ask for; empty: the first."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Library → version of the caller; the container checks that its own fit."""


def with_models(value: Any, renamed: Callable[[str], str]) -> Any:
    """A job's arguments with every model (what stands under "model", at any depth) renamed."""
    if isinstance(value, Mapping):
        return {
            key: renamed(one)
            if key == "model" and isinstance(one, str)
            else with_models(one, renamed)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [with_models(one, renamed) for one in value]
    return value
