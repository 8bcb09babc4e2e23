"""Parts that the requests of all kinds of jobs share. Pure functions of the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from handful.errors import UserError
from handful.sagemaker.jobs.requests.request_context import ORIGIN, Channel, Work
from handful.settings import Settings

ENTRY = ("train",)
"""What an image of `docker/Dockerfile` has on its PATH, and what SageMaker runs by itself, too."""
DAY = 86_400
LONGEST_TRAINING = 28 * DAY
LONGEST_PROCESSING = 9 * DAY
_LOCAL_DISK = re.compile(
    r"ml\.(?:[a-z]+[0-9]+[a-z]*d[a-z]*|g4dn|g5|g6|g6e|g7|g7e|p5|p5e|p5en|p6.*)\."
)
_TAG = re.compile(r"[\w\s.:/=+\-@]*")


def at_most(channels: Sequence[Channel], limit: int, taker: str) -> Sequence[Channel]:
    """The channels, if `taker` takes as many: each model that is not the hub's has one."""
    if len(channels) > limit:
        raise UserError(
            f"{taker} takes {limit} inputs, and this one would have {len(channels)}, among them "
            "one for each model that is a local directory or an s3:// folder",
            where="[train] MODEL_NAMES",
            remedy="compare fewer of these at once, or name them on the hub",
        )
    return channels


def role(settings: Settings) -> str:
    """`UserError` if there is none."""
    return _require_sagemaker_key(
        settings.sagemaker.ROLE_ARN, "ROLE_ARN", "the ARN of a role for the jobs"
    )


def image(settings: Settings) -> str:
    """`UserError` if there is none."""
    return _require_sagemaker_key(
        settings.sagemaker.IMAGE_URI, "IMAGE_URI", "the container image's URI"
    )


def instance_type(value: str | None, key: str) -> str:
    """`UserError` if there is none, or it is not of SageMaker's form."""
    found = _require_sagemaker_key(value, key, "an instance type such as ml.m5.xlarge")
    if not found.startswith("ml."):
        raise UserError(
            f"{found!r} is no instance type of SageMaker's",
            where=f"[sagemaker] {key}",
            remedy=f"write ml.{found}",
        )
    return found


def _require_sagemaker_key(value: str | None, key: str, what: str) -> str:
    if not value:
        raise UserError("is required for jobs", where=f"[sagemaker] {key}", remedy=f"write {what}")
    return value


def has_local_disk(kind: str) -> bool:
    """Whether the type brings disks of its own, which are encrypted by themselves.

    SageMaker refuses a KMS key for the volume of such an instance (ResourceConfig in its API).
    """
    return bool(_LOCAL_DISK.match(kind))


def volume_key(settings: Settings, kind: str) -> dict[str, str]:
    key = settings.experiment.KMS_KEY
    return {"VolumeKmsKeyId": key} if key and not has_local_disk(kind) else {}


def output_key(settings: Settings) -> dict[str, str]:
    key = settings.experiment.KMS_KEY
    return {"KmsKeyId": key} if key else {}


def vpc(settings: Settings) -> dict[str, Any]:
    """`VpcConfig`, or nothing. `UserError` if only one half of it is set."""
    subnets, groups = settings.sagemaker.SUBNETS, settings.sagemaker.SECURITY_GROUPS
    if bool(subnets) != bool(groups):
        missing = "SUBNETS" if groups else "SECURITY_GROUPS"
        raise UserError(
            "SUBNETS and SECURITY_GROUPS go together",
            where=f"[sagemaker] {missing}",
            remedy="write both, or neither",
        )
    _at_most(subnets, 16, "SUBNETS")
    _at_most(groups, 5, "SECURITY_GROUPS")
    if not subnets:
        return {}
    return {"VpcConfig": {"SecurityGroupIds": list(groups), "Subnets": list(subnets)}}


def _at_most(values: tuple[str, ...], most: int, key: str) -> None:
    if len(values) > most:
        raise UserError(
            f"{len(values)} are more than the {most} that SageMaker takes",
            where=f"[sagemaker] {key}",
        )


def tags(settings: Settings, work: Work) -> list[dict[str, str]]:
    """The user's, and three by which a person finds what belongs together."""
    own = {
        "handful:experiment": _taggable(settings.experiment.NAME),
        "handful:task": _taggable(work.job.task),
        "handful:bundle": work.bundle_hash,
    }
    found = {**own, **settings.sagemaker.TAGS}
    if len(found) > 50:
        raise UserError(f"{len(found)} tags are more than 50", where="[sagemaker] TAGS")
    for key, value in settings.sagemaker.TAGS.items():
        fits = len(key) <= 128 and len(value) <= 256
        if not (fits and _TAG.fullmatch(key) and _TAG.fullmatch(value)):
            raise UserError(
                f"{key!r} is no tag that AWS takes",
                where="[sagemaker] TAGS",
                remedy="letters, digits, blanks and _ . : / = + - @; at most 128 and 256 of them",
            )
    return [{"Key": key, "Value": value} for key, value in found.items()]


def _taggable(text: str) -> str:
    return re.sub(r"[^\w\s.:/=+\-@]", "-", text)[:256]


def environment(settings: Settings, work: Work) -> dict[str, str]:
    """The container's variables: no secret is among them, only where a secret is found."""
    found = {
        **work.variables,
        "PYTHONUNBUFFERED": "1",
        "HANDFUL_BUNDLE": work.bundle_hash,
        "HANDFUL_LOCAL_DATA": settings.sagemaker.SAGEMAKER_LOCAL_DATA_DIR,
        **{f"{ORIGIN}{number}": name for number, name in enumerate(work.origins)},
        **{f"HANDFUL_VERSION_{name}": value for name, value in work.versions.items()},
        **{f"HANDFUL_SECRET_{name}": arn for name, arn in settings.sagemaker.SECRETS.items()},
    }
    if settings.sagemaker.REGION:
        found["AWS_DEFAULT_REGION"] = settings.sagemaker.REGION
    for name, value in found.items():
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or len(value) > 256:
            raise UserError(
                f"{name.removeprefix('HANDFUL_SECRET_')!r} cannot be an environment variable there",
                where="[sagemaker] SECRETS",
                remedy="a name of letters, digits and _, and an ARN of at most 256 characters",
            )
    if len(found) > 48:
        raise UserError(f"{len(found)} variables are more than 48", where="[sagemaker] SECRETS")
    return found


def seconds(settings: Settings, longest: int) -> int:
    """`MAX_RUNTIME` as SageMaker takes it. `UserError` if it is longer than it allows."""
    wanted = max(1, round(settings.sagemaker.MAX_RUNTIME))
    if wanted > longest:
        raise UserError(
            f"SageMaker stops such a job after {longest // DAY} days",
            where="[sagemaker] MAX_RUNTIME",
            remedy=f"write {longest // DAY}d or less",
        )
    return wanted
