"""Clients for AWS's services, and what their answers mean in handful's own errors.

One session serves them all. `ENDPOINT_URL` leads every service but S3 to another server, for tests;
the store's own `S3_ENDPOINT_URL` does that for S3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from handful.errors import HandfulError, UserError
from handful.sagemaker.account import answers
from handful.settings import Settings

ATTEMPTS = 6
_SECONDS = 20


class Clients:
    """boto3 clients by the service's name, each made once; nothing is asked yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Any] = {}
        self._session: Any = None

    @property
    def region(self) -> str:
        """REGION, else that of AWS's own search. `UserError` if neither names one."""
        found = self._settings.sagemaker.REGION
        if not found:
            with told("the AWS configuration"):
                found = self._open_boto_session().region_name
        if not found:
            raise UserError(
                "is required",
                where="[sagemaker] REGION",
                remedy="write the region of your bucket, such as eu-central-1",
            )
        return str(found)

    def _open_boto_session(self) -> Any:
        import boto3

        profile = self._settings.experiment.AWS_PROFILE
        self._session = self._session or boto3.Session(profile_name=profile)
        return self._session

    def of(self, service: str, region: str | None = None) -> Any:
        """The client of `service`, e.g. "iam". `Denied` if AWS_PROFILE names no profile."""
        name = f"{service}@{region or ''}"
        if name not in self._made:
            self._made[name] = self._make(service, region or self.region)
        return self._made[name]

    def _make(self, service: str, region: str) -> Any:
        from botocore.config import Config

        mine = self._settings.experiment
        endpoint = self._settings.sagemaker.ENDPOINT_URL
        if service == "s3":
            endpoint = mine.S3_ENDPOINT_URL or endpoint
        config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
        )
        with told(f"a client of {service}"):
            return self._open_boto_session().client(
                service,
                region_name=region,
                endpoint_url=endpoint,
                verify=mine.CA_BUNDLE and str(mine.CA_BUNDLE),
                config=config,
            )


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise what the client library raises as handful's: absent, denied, unreachable, not of AWS.

    An answer that lacks what it should hold is not of AWS, so the body may take it apart.
    """
    try:
        yield
    except HandfulError:
        raise
    except Exception as error:
        raise answers.translate_aws_error(error, doing) from error
