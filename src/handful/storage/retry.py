"""The one retry policy of all stores: what is tried again, how often, how long.

Tried again, with exponential backoff and jitter: server errors (503 among them), refused and reset
connections, timeouts, and bodies that break off. Never: an absence, a denial, a request that is
wrong. Each client library gets the policy in its own words, so no loop is written twice. Who never
answered is given up after a few seconds, as the address may be wrong; who answered before is waited
for longer: as long as a lock in that store can be believed in (see `handful.storage.lock`).
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from handful.errors import Unreachable

if TYPE_CHECKING:
    from botocore.config import Config
    from obstore.store import ClientConfig, RetryConfig

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

RETRIES = 10
PATIENT_RETRIES = 1_000
"""More than fit into the time: `WAIT_FOR_KNOWN` ends them."""
COPY_RETRIES = 2
COPY_FIRST_WAIT = timedelta(milliseconds=50)
"""Copies are many: the server's wish for fewer must be heard soon (see `rate_limit`)."""
BOTO_ATTEMPTS = 4
"""boto3 waits up to 1, 2, 4, … seconds between them."""
FIRST_WAIT = timedelta(milliseconds=100)
LONGEST_WAIT = timedelta(seconds=4)
GIVE_UP_AFTER = timedelta(seconds=20)
WAIT_FOR_KNOWN = timedelta(seconds=75)
"""A minute is ridden out, with the waits between the tries; `lock.EXPIRES` is longer still."""
CONNECT_SECONDS = 5
READ_SECONDS = 60
"""How long a server may stay silent, in a request or in the middle of a body."""
CONNECTIONS = 64


class Throttled(Unreachable):
    """The server asks for fewer requests (503 SlowDown, 429)."""


class BrokenOff(Unreachable):
    """The answer began and did not end; asking again from the start may help."""


def again(call: Callable[[], T]) -> T:
    """`call()`, repeated while its answer breaks off, for clients that do not do so themselves."""
    for tries in range(RETRIES):
        try:
            return call()
        except BrokenOff as error:
            _LOG.debug("asked again, try %d: %s", tries + 2, error)
            pause(tries)
    return call()


def patiently(call: Callable[[], T], *, known: bool) -> T:
    """`call()` with this policy, for a client that asks only once; `known`: it answered before."""
    patience = WAIT_FOR_KNOWN if known else GIVE_UP_AFTER
    until, tries = time.monotonic() + patience.total_seconds(), 0
    while True:
        try:
            return call()
        except Unreachable as error:
            if time.monotonic() > until or (tries >= RETRIES and not known):
                raise
            _LOG.debug("asked again, try %d: %s", tries + 2, error)
        pause(tries)
        tries += 1


def pause(tries: int) -> None:
    """Wait before the next try: longer after each, and never all at the same moment."""
    longest = min(FIRST_WAIT * 2**tries, LONGEST_WAIT)
    time.sleep(random.uniform(0, longest.total_seconds()))  # nosec B311


def obstore_retries(
    retries: int = RETRIES,
    timeout: timedelta = GIVE_UP_AFTER,
    first_wait: timedelta = FIRST_WAIT,
) -> RetryConfig:
    """The policy for obstore."""
    return {
        "max_retries": retries,
        "backoff": {"init_backoff": first_wait, "max_backoff": LONGEST_WAIT, "base": 2},
        "retry_timeout": timeout,
    }


def obstore_client(*, allow_http: bool) -> ClientConfig:
    """The time limits for obstore: of silence, not of a whole transfer, which may be long."""
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=READ_SECONDS),
        "timeout": timedelta(days=1),
    }


def checksums() -> dict[str, Any]:
    """How botocore's clients (boto3, and aiobotocore below s3fs) treat checksums of content.

    Only where S3 demands them, unless the AWS variables say otherwise. By default botocore sends
    them over https as trailers of a chunked body, which Ceph 16 and rclone refuse, and which nanio
    writes into the object. Without them the content is signed by its SHA-256, which every server
    checks.
    """
    return {
        key: os.environ.get(f"AWS_{key.upper()}", "when_required").lower()
        for key in ("request_checksum_calculation", "response_checksum_validation")
    }


def boto_config(attempts: int = BOTO_ATTEMPTS) -> Config:
    """The policy and the time limits for boto3; path-style addresses, as every server has them."""
    from botocore.config import Config

    return Config(
        **checksums(),
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path"},
    )
