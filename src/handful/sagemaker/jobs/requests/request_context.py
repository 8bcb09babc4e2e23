"""What a request is made from, beside the settings: the job, its name, and where its things lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handful.backends.base import Job

EXPERIMENT_CHANNEL = "experiment"
"""The bundle arrives under this name."""
REMOTE_CHANNEL = "weights-"
"""The files of an `s3://` model arrive as `weights-0`, …; `HANDFUL_ORIGIN_0`, … name the model."""
ORIGIN = "HANDFUL_ORIGIN_"
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

    @property
    def prefix(self) -> str:
        """As SageMaker takes it: it compares keys as text, so the slash at the end matters."""
        return self.url.rstrip("/") + "/"


@dataclass(frozen=True)
class Work:
    """One job to be sent."""

    name: str
    """Of `handful.sagemaker.jobs.requests.names`."""
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
    origins: tuple[str, ...] = ()
    """The `s3://` models, in the order of their channels."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What of the caller's environment holds over there, too."""
