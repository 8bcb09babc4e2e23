"""The section about managed machines.

One declaration a key, and nothing about a key anywhere else: the reader, `handful settings`, the
page in docs/ and the fingerprints are all made from these. A step stands in `counts` if the RESULT
of that step depends on the key; what only changes speed, patience or access does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handful.settings import names
from handful.settings.declare import key
from handful.settings.lists import mapping, words_list
from handful.settings.values import Bounds, boolean, duration, optional, real, text, whole

_WORD = optional(text())
_POSITIVE = Bounds(0, low_open=True)


@dataclass(frozen=True)
class SagemakerSection:
    """Managed machines, for BACKEND = sagemaker."""

    ROLE_ARN: str | None = key(_WORD, None, "The role of the jobs.", built=False)
    REGION: str | None = key(_WORD, None, "The AWS region.", built=False)
    IMAGE_URI: str | None = key(
        _WORD, None, "The container image.", also=("DOCKER_IMAGE_PATH",), built=False
    )
    SAGEMAKER_LOCAL_DATA_DIR: str = key(
        text("path"),
        "/opt/ml/processing/input/data",
        "Where a processing job finds its input.",
        built=False,
    )
    VOLUME_SIZE_GB: int = key(whole(1, unit="GB"), "100", "The disk of each instance.", built=False)
    PREPARE_INSTANCE_TYPE: str | None = key(_WORD, None, "The instances that prepare.", built=False)
    PREPARE_INSTANCE_COUNT: int = key(
        whole(1, unit="instances"), "1", "How many prepare.", built=False
    )
    TRAIN_INSTANCE_TYPE: tuple[str, ...] = key(
        words_list(unit="types"),
        "",
        "The instances that train; of a list, the next is tried when there is no capacity.",
        built=False,
    )
    TRAIN_INSTANCE_COUNT: int = key(
        whole(1, unit="instances"), "1", "How many train together.", built=False
    )
    TEST_INSTANCE_TYPE: str | None = key(_WORD, None, "The instance that tests.", built=False)
    USE_SPOT: bool = key(boolean, "false", "Use spot instances.", built=False)
    MAX_RUNTIME: float = key(duration, "24h", "A job that takes longer is stopped.", built=False)
    MAX_COST_USD: float | None = key(
        optional(real(_POSITIVE, "US dollars")),
        None,
        "Refuse to start what is forecast to cost more.",
        built=False,
    )
    PRICE_PER_HOUR: float | None = key(
        optional(real(_POSITIVE, "US dollars")),
        None,
        "The price of an instance, where AWS's list is out of reach.",
        built=False,
    )
    KEEP_ALIVE: float | None = key(
        optional(duration), None, "How long an instance stays warm for the next job.", built=False
    )
    SUBNETS: tuple[str, ...] = key(
        words_list(unit="ids"), "", "The subnets of the jobs.", built=False
    )
    SECURITY_GROUPS: tuple[str, ...] = key(
        words_list(unit="ids"), "", "The security groups of the jobs.", built=False
    )
    SECRETS: Mapping[str, str] = key(
        mapping(unit="NAME = ARN per line"),
        "",
        "Environment variables of the jobs, out of Secrets Manager.",
        built=False,
    )
    TAGS: Mapping[str, str] = key(
        mapping(unit="name = value per line"), "", "Tags of all that is made on AWS.", built=False
    )
    ENDPOINT_URL: str | None = key(
        optional(text("URL", names.server_url)),
        None,
        "Another server than AWS, for tests.",
        built=False,
    )
