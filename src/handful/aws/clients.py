"""Clients for AWS's services, and what their answers mean in handful's own errors.

One session serves them all. `ENDPOINT_URL` leads every service but S3 to another server, for tests;
the store's own `S3_ENDPOINT_URL` does that for S3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from handful.errors import Absent, Denied, HandfulError, StepError, Unreachable, UserError
from handful.settings import Settings

ATTEMPTS = 6
_SECONDS = 20
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "403",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_ABSENT = {"404", "NoSuchBucket", "NoSuchEntity", "RepositoryNotFoundException", "ImageNotFound"}
_ABSENT |= {"ImageNotFoundException", "InvalidSubnetID.NotFound", "InvalidGroup.NotFound"}
_LOG_IN = "log in (`aws sso login`), or let [experiment] AWS_PROFILE name a profile"


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
                found = self._opened().region_name
        if not found:
            raise UserError(
                "is required",
                where="[sagemaker] REGION",
                remedy="write the region of your bucket, such as eu-central-1",
            )
        return str(found)

    def _opened(self) -> Any:
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
            return self._opened().client(
                service,
                region_name=region,
                endpoint_url=endpoint,
                verify=mine.CA_BUNDLE and str(mine.CA_BUNDLE),
                config=config,
            )


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Raise botocore's errors as handful's: absent, denied and unreachable are told apart."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
        TokenRetrievalError,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as error:
        raise Denied("there are no AWS credentials", where=doing, remedy=_LOG_IN) from error
    except ProfileNotFound as error:
        remedy = "name a section of the AWS configuration"
        raise Denied(str(error), where="[experiment] AWS_PROFILE", remedy=remedy) from error
    except ClientError as error:
        raise _from_answer(error.response, doing) from error
    except BotoCoreError as error:
        raise Unreachable(
            f"AWS did not answer: {type(error).__name__}",
            where=doing,
            remedy="check the network and [sagemaker] REGION; then try again",
        ) from error


def _from_answer(response: Any, doing: str) -> HandfulError:
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        return Denied("the AWS credentials have expired", where=doing, remedy=_LOG_IN)
    if code in _DENIED:
        return Denied(f"{code}: {message}", where=doing, remedy="your identity may not do this")
    if code in _ABSENT or code.endswith(".NotFound"):
        return Absent(f"{code}: {message}", where=doing)
    if status >= 500 or "Throttl" in code:
        return Unreachable(f"{code}: {message}", where=doing, remedy="try again in a while")
    return StepError(f"{code}: {message}", where=doing)
