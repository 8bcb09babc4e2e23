"""The job as it runs here: from what the container was brought, to a job file for the worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from handful import layout
from handful.backends.base import Job
from handful.errors import StepError, UserError
from handful.experiment import model_identity
from handful.jobs.arguments import TrainArgs, TrialArgs, TuneArgs
from handful.sagemaker.container.environment import Container
from handful.sagemaker.jobs.requests import pieces
from handful.sagemaker.jobs.requests.bundle import FILE, unpack
from handful.sagemaker.jobs.requests.names import trial_number
from handful.sagemaker.jobs.requests.ranges import overrides_of, values_of
from handful.sagemaker.jobs.requests.request_context import (
    EXPERIMENT_CHANNEL,
    JOB_CHANNEL,
    JOB_FILE,
    MODEL_CHANNEL,
    ORIGIN,
    REMOTE_CHANNEL,
)
from handful.settings import read_settings
from handful.system.machine import gpus

VERSION = "HANDFUL_VERSION_"
REQUIREMENTS = "requirements.txt"
_LAST_LINES = 12


@dataclass(frozen=True)
class Here:
    """A job that can be run in this container."""

    job: Job
    per_host: int
    """Processes on each host."""


def job_here(container: Container, work: Path) -> Here:
    """Lay out the experiment below `work`, and the job that the worker is to run.

    `UserError` or `StepError` if something is missing, damaged or of another version.
    """
    check_versions(os.environ)
    directory = work / "experiment"
    arrived = container.input(EXPERIMENT_CHANNEL) / FILE
    if not arrived.is_file():
        raise StepError("the experiment's bundle did not arrive", where=str(arrived))
    unpack(arrived, os.environ.get("HANDFUL_BUNDLE", ""), directory)
    settings_text = pieces.join_pieces("settings", container.parameters)
    if settings_text is not None:
        (directory / layout.SETTINGS).write_text(settings_text)
    _link_models(container, work / "models")
    install(directory / REQUIREMENTS)
    return _adapt_job_to_container(_read_container_job(container), container, directory)


def check_versions(environment: Mapping[str, str]) -> None:
    """`UserError` if a library that counts is of another version than the caller's."""
    for name, value in sorted(environment.items()):
        if not name.startswith(VERSION):
            continue
        library = name.removeprefix(VERSION)
        try:
            here = version(library)
        except PackageNotFoundError:
            here = "none"
        # `2.9.0+cpu` at home and `2.9.0+cu130` there are one version.
        if here.partition("+")[0] != value.partition("+")[0]:
            raise UserError(
                f"the image has {library} {here}, but the caller has {value}",
                where="[sagemaker] IMAGE_URI",
                remedy="build the image again with the versions that are installed at home",
            )


def install(requirements: Path) -> None:
    """Install the experiment's requirements.txt, if there is one. `StepError` if pip fails."""
    if not requirements.is_file():
        return
    command = [sys.executable, "-m", "pip", "install", "--no-input", "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:])
        raise StepError(
            f"{REQUIREMENTS} cannot be installed",
            remedy="check its lines; without internet, put these packages into the image\n" + last,
        )


def _link_models(container: Container, models: Path) -> None:
    """Models that were brought lie beside the experiment, as its settings say here.

    `../models/<name>`; what was an `s3://` model still counts as that one.
    """
    for name, folder in container.inputs.items():
        if name.startswith(MODEL_CHANNEL):
            models.mkdir(exist_ok=True)
            for model in sorted(folder.iterdir()):
                (models / model.name).symlink_to(model)
        if name.startswith(REMOTE_CHANNEL):
            models.mkdir(exist_ok=True)
            origin = os.environ[f"{ORIGIN}{name.removeprefix(REMOTE_CHANNEL)}"]
            here = models / layout.model_folder(origin)
            here.symlink_to(folder)
            here.with_name(f"{here.name}{model_identity.ORIGIN}").write_text(origin)


def _read_container_job(container: Container) -> Job:
    text = pieces.join_pieces("job", container.parameters)
    if text is None:
        text = (container.input(JOB_CHANNEL) / JOB_FILE).read_text()
    try:
        return Job.from_json(text)
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(f"the job's description is damaged: {error!r}") from error


def _adapt_job_to_container(job: Job, container: Container, directory: Path) -> Here:
    """The job with what only this place knows: its directory, its processes, its trial's values."""
    arguments = job.arguments.with_models(lambda name: _model_here(name, directory))
    overrides = job.overrides
    if isinstance(arguments, TuneArgs):
        # By the model's name in the settings of over here, so that a value there is replaced.
        overrides += overrides_of(container.parameters, job.model or "")
        arguments = _trial(container, arguments)
    if job.task != "reconcile":
        # Only reconcile asks production, so only its job is given the database's password.
        overrides = (*overrides, "production.DATABASE_URL=sqlite:///stays-at-home.sqlite")
    per_host = 1
    if isinstance(arguments, TrainArgs):
        settings = read_settings(directory, overrides)
        per_host = settings.compute.TRAIN_PROCESSES or max(1, gpus())
        processes = per_host * len(container.hosts.hosts)
        settings.train_for(arguments.model).check_shared(processes)
        # The owner is the same when SageMaker starts it again: its checkpoints are still its own.
        arguments = replace(arguments, processes=processes, owner=container.name)
    return Here(Job(arguments, str(directory), overrides, per_host), per_host)


def _trial(container: Container, search: TuneArgs) -> TrainArgs:
    """What makes this job of a tuning job a trial of its own: its number, values and checkpoints.

    A trial that is started again has the same name, and so finds its checkpoints.
    """
    values = values_of(container.parameters)
    tried = {f"[tune] {key} tried": text for key, text in values.items()}
    told = {**vars(search), "made_from": {**search.made_from, **tried}}
    return TrainArgs(**told, trial=TrialArgs(trial_number(container.name), values))


def _model_here(name: str, directory: Path) -> str:
    """A model that lies beside the experiment, as the settings' reader has it."""
    return os.path.normpath(directory / name) if name.startswith(".") else name
