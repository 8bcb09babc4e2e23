"""The section about managed machines.

One declaration a key, and nothing about a key anywhere else: the reader, `handful settings`, the
page in docs/ and the fingerprints are all made from these. A step stands in `counts` if the RESULT
of that step depends on the key; what only changes speed, patience or access does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handful.settings.declare import key
from handful.settings.values import names
from handful.settings.values.lists import mapping, words_list
from handful.settings.values.parse import (
    Bounds,
    boolean,
    choice,
    duration_of,
    optional,
    real,
    text,
    whole,
)

_OPTIONAL_AWS_TEXT = optional(text())
_INSTANCE = optional(text("type", names.instance_type))
_DOLLARS = Bounds(0.0001, 1_000_000_000)


@dataclass(frozen=True)
class SagemakerSection:
    """Managed machines, for BACKEND = sagemaker."""

    ROLE_ARN: str | None = key(
        optional(text("ARN", names.role_arn)),
        None,
        "The role of the jobs: it reads and writes STORE.",
        said="required for jobs",
    )
    REGION: str | None = key(
        _OPTIONAL_AWS_TEXT, None, "The AWS region of the jobs.", said="AWS's own search"
    )
    IMAGE_URI: str | None = key(
        _OPTIONAL_AWS_TEXT,
        None,
        "The container image.",
        said="required for jobs",
        also=("DOCKER_IMAGE_PATH",),
    )
    SAGEMAKER_LOCAL_DATA_DIR: str = key(
        text("path", names.processing_path),
        "/opt/ml/processing/input/data",
        "Where a processing job keeps the files that it fetches, on the instance's volume.",
    )
    VOLUME_SIZE_GB: int = key(whole(1, 16_384, "GB"), "100", "The disk of each instance.")
    RECONCILE_AS_JOB: bool = key(
        boolean,
        "false",
        "Reconcile as a job too, where SUBNETS reach the database; on PREPARE_INSTANCE_TYPE.",
    )
    PREPARE_INSTANCE_TYPE: str | None = key(
        _INSTANCE, None, "The instances that prepare.", said="required for jobs"
    )
    PREPARE_INSTANCE_COUNT: int = key(whole(1, 100, "instances"), "1", "How many prepare.")
    TRAIN_INSTANCE_TYPE: tuple[str, ...] = key(
        words_list(names.instance_type, "types"),
        "",
        "The instances that train; of a list, the next is tried when there is no capacity.",
        said="required for jobs",
    )
    TRAIN_INSTANCE_COUNT: int = key(
        whole(1, 100, "instances"), "1", "How many train one model together."
    )
    TRAIN_INPUT_MODE: str = key(
        choice("file", "fastfile"),
        "file",
        "How the encoded data come to the instances that train: before the training begins, or "
        "streamed while it reads, where they are larger than the disk.",
    )
    TEST_INSTANCE_TYPE: str | None = key(
        _INSTANCE, None, "The instance that tests.", said="required for jobs"
    )
    USE_SPOT: bool = key(
        boolean, "false", "Train on spot instances: cheaper, and interrupted at times."
    )
    MAX_RUNTIME: float = key(duration_of(1), "24h", "A job that takes longer is stopped.")
    MAX_COST_USD: float | None = key(
        optional(real(_DOLLARS, "US dollars")),
        None,
        "What one run may cost: more is refused, and no job may take longer than that allows.",
    )
    PRICE_PER_HOUR: float | None = key(
        optional(real(_DOLLARS, "US dollars")),
        None,
        "The price of an instance for an hour, where AWS's price list has none.",
    )
    KEEP_ALIVE: float | None = key(
        optional(duration_of(1)), None, "How long a training instance stays warm for the next job."
    )
    SUBNETS: tuple[str, ...] = key(words_list(unit="ids"), "", "The subnets of the jobs.")
    SECURITY_GROUPS: tuple[str, ...] = key(
        words_list(unit="ids"), "", "The security groups of the jobs."
    )
    SECRETS: Mapping[str, str] = key(
        mapping(unit="NAME = ARN per line"),
        "",
        "Environment variables of the jobs, out of Secrets Manager.",
    )
    TAGS: Mapping[str, str] = key(
        mapping(unit="name = value per line"), "", "Tags of the jobs, beside handful's own."
    )
    ENDPOINT_URL: str | None = key(
        optional(text("URL", names.server_url)),
        None,
        "Another server than AWS for all services but S3, for tests.",
        said="AWS",
    )
