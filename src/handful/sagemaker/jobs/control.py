"""SageMaker's control plane: create, describe and stop jobs of each kind, over one boto3 client.

Throttled and failed calls are repeated by botocore (adaptive mode), in one place: `make_client`.
What is raised is handful's own, so that nobody else has to know botocore's errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from handful.errors import Denied, HandfulError, StepError, Unreachable
from handful.sagemaker.account import answers
from handful.sagemaker.jobs.failures import remedy_for
from handful.sagemaker.jobs.requests.build import PROCESSING, TRAINING, TUNING, Request
from handful.settings import Settings

ATTEMPTS = 10
_ENDED = ("Completed", "NonRetryableError", "Stopped")
_WORDS = {
    # kind: (method's noun, name's parameter, status' member)
    PROCESSING: ("processing_job", "ProcessingJobName", "ProcessingJobStatus"),
    TRAINING: ("training_job", "TrainingJobName", "TrainingJobStatus"),
    TUNING: (
        "hyper_parameter_tuning_job",
        "HyperParameterTuningJobName",
        "HyperParameterTuningJobStatus",
    ),
}
_CREATE = {
    "CreateProcessingJob": "create_processing_job",
    "CreateTrainingJob": "create_training_job",
    "CreateHyperParameterTuningJob": "create_hyper_parameter_tuning_job",
}
_NO_SUCH = {"ValidationException", "ValidationError", "ResourceNotFound"}
_IS_THERE = {"ResourceInUse", "ResourceInUseException"}
_FULL = {"ResourceLimitExceeded", "CapacityError"}
_TOKEN_EXPIRY_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_ACCESS_DENIAL_CODES = {"AccessDenied", "AccessDeniedException", "UnrecognizedClientException"}


class NoRoom(StepError):
    """There are no instances of this type to be had: no capacity, or no quota."""


class NameTaken(StepError):
    """There is a job of this name already."""


@dataclass(frozen=True)
class Status:
    """What SageMaker says of a job."""

    state: str
    """InProgress | Completed | Failed | Stopping | Stopped"""
    reason: str = ""
    """Why it failed: what the container left, or SageMaker's own words."""
    phase: str = ""
    """What it is about: Starting, Downloading, Training, …"""
    trials: int = 0
    """Of a tuning job: how many trials have ended."""
    failure: str = ""
    """SageMaker's own words, where `reason` is what a container left."""

    @property
    def is_over(self) -> bool:
        return self.state in {"Completed", "Failed", "Stopped"}


@dataclass(frozen=True)
class TrialJob:
    """One training job of a tuning job."""

    name: str
    state: str
    parameters: Mapping[str, str]
    """The hyperparameters that were chosen for it."""
    reason: str = ""


def make_client(settings: Settings, service: str = "sagemaker") -> Any:
    """A boto3 client for a service of AWS's; nothing is asked yet. `Denied` without region."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS})
    section = settings.sagemaker
    try:
        session: Any = boto3.Session(profile_name=settings.experiment.AWS_PROFILE)
        return session.client(
            service,
            region_name=section.REGION,
            endpoint_url=section.ENDPOINT_URL,
            verify=settings.experiment.CA_BUNDLE and str(settings.experiment.CA_BUNDLE),
            config=config,
        )
    except BotoCoreError as error:
        raise Denied(
            f"there is no way to ask {service} of AWS: {error}",
            where="[sagemaker] REGION",
            remedy="write the region, and let AWS_PROFILE name credentials",
        ) from error


class Control:
    """Calls by kind of job."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def create(self, request: Request) -> None:
        """Send `request`. `NameTaken` if such a job is there, `NoRoom` without quota."""
        with _translate_client_errors(request.operation):
            getattr(self._client, _CREATE[request.operation])(**request.parameters)

    def status(self, kind: str, name: str) -> Status | None:
        """The job's; None if there is no job of this name."""
        noun, parameter, member = _WORDS[kind]
        try:
            with _translate_client_errors(f"describe {noun}"):
                answer = getattr(self._client, f"describe_{noun}")(**{parameter: name})
                state = answer[member]
        except _NoSuchJob:
            return None
        failure, left = answer.get("FailureReason") or "", answer.get("ExitMessage") or ""
        counted = answer.get("TrainingJobStatusCounters") or {}
        ended = sum(int(counted.get(one, 0)) for one in _ENDED)
        # A processing job's own words say more than SageMaker's.
        phase = answer.get("SecondaryStatus", "")
        return Status(state, left or failure, phase, ended, failure if left else "")

    def trials(self, name: str) -> list[TrialJob]:
        """The training jobs of a tuning job, in the order in which they were started."""
        found: list[TrialJob] = []
        more: dict[str, str] = {}
        while True:
            with _translate_client_errors("list training jobs for tuning job"):
                answer = self._client.list_training_jobs_for_hyper_parameter_tuning_job(
                    HyperParameterTuningJobName=name,
                    SortBy="CreationTime",
                    SortOrder="Ascending",
                    MaxResults=100,
                    **more,
                )
                found += [
                    TrialJob(
                        one["TrainingJobName"],
                        one["TrainingJobStatus"],
                        dict(one.get("TunedHyperParameters") or {}),
                        one.get("FailureReason", ""),
                    )
                    for one in answer["TrainingJobSummaries"]
                ]
            if not answer.get("NextToken"):
                return found
            more = {"NextToken": answer["NextToken"]}

    def stop(self, kind: str, name: str) -> None:
        """Ask for the job's end; it gets its time for a last checkpoint."""
        noun, parameter, _ = _WORDS[kind]
        with _translate_client_errors(f"stop {noun}"):
            getattr(self._client, f"stop_{noun}")(**{parameter: name})


class _NoSuchJob(Exception):
    pass


@contextmanager
def _translate_client_errors(doing: str) -> Iterator[None]:
    """Raise what the client library raises as handful's own."""
    try:
        yield
    except (HandfulError, _NoSuchJob):
        raise
    except Exception as error:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and not answers.is_page(response):
            raise _from_answer(response, doing) from error
        raise answers.translate_aws_error(error, doing) from error


def _from_answer(response: Any, doing: str) -> HandfulError | _NoSuchJob:
    code, message = answers.code_of(response), answers.message_of(response)
    missing = "not found" in message.lower() or "could not find" in message.lower()
    if code in _NO_SUCH and missing and doing.startswith(("describe", "stop")):
        return _NoSuchJob(message)
    if code in _IS_THERE:
        return NameTaken(f"{code}: {message}", where=doing)
    if code in _FULL:
        return NoRoom(
            f"{code}: {message}",
            where=doing,
            remedy="name other types in [sagemaker] TRAIN_INSTANCE_TYPE, or ask AWS for a quota",
        )
    if code in _TOKEN_EXPIRY_CODES:
        remedy = "log in again and run the same command: jobs go on meanwhile, and are found again"
        return Denied("the AWS credentials have expired", where=doing, remedy=remedy)
    if code in _ACCESS_DENIAL_CODES:
        remedy = "let your identity do this on SageMaker, and pass the role (iam:PassRole)"
        return Denied(f"{code}: {message}", where=doing, remedy=remedy)
    if answers.status_of(response) >= 500 or "Throttl" in code:
        return Unreachable(f"{code}: {message}", where=doing, remedy="run again in a while")
    return StepError(f"{code}: {message}", where=doing, remedy=remedy_for(message))
