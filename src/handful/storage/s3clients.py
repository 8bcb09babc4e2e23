"""Who asks an S3 server, and through which client: obstore for work, boto3 for what it cannot."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handful.errors import Denied, UserError
from handful.storage.retry import (
    COPY_RETRIES,
    RETRIES,
    boto_config,
    obstore_client,
    obstore_retries,
)
from handful.storage.s3errors import asking

if TYPE_CHECKING:
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store as Obstore

REGION = "us-east-1"
"""The region where none is configured; servers other than AWS mostly do not care."""


@dataclass(frozen=True)
class Access:
    """Which server, and whose credentials: equal ones may copy on the server's side."""

    endpoint_url: str | None = None
    """None: AWS, or what the AWS configuration says."""
    profile: str | None = None
    """The section of the AWS configuration; None: the usual chain."""


class Clients:
    """The clients of one bucket, made when they are first needed, for all threads together.

    After unpickling, in another process, they are made anew.
    """

    def __init__(self, access: Access, bucket: str) -> None:
        self.access = access
        self.bucket = bucket
        self._lock = threading.RLock()

    def __getstate__(self) -> tuple[Access, str]:
        return self.access, self.bucket

    def __setstate__(self, state: tuple[Access, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def boto(self) -> Any:
        """A boto3 client."""
        with self._lock:
            return self._boto

    def bucket_store(self) -> Obstore:
        """obstore on the whole bucket."""
        with self._lock:
            return self._bucket_store

    def server_store(self) -> Obstore:
        """obstore that reads its *destination* keys as `bucket/key`, for copies across buckets.

        Told that the endpoint already names the bucket, it puts the key right behind the endpoint:
        a path-style address of any bucket. What is copied is still looked for in this bucket.
        Undocumented, therefore tested at first use (see `handful.storage.s3copy`).
        """
        with self._lock:
            return self._server_store

    @property
    def region(self) -> str:
        with self._lock:
            return self._session.region_name or REGION

    @property
    def endpoint_url(self) -> str:
        """The server that is really asked."""
        return self.access.endpoint_url or str(self.boto().meta.endpoint_url)

    @cached_property
    def _session(self) -> boto3.Session:
        import boto3
        from botocore.exceptions import BotoCoreError

        try:
            return boto3.Session(profile_name=self.access.profile)
        except BotoCoreError as error:
            raise UserError(
                str(error), where="AWS_PROFILE", remedy="name a section of the AWS configuration"
            ) from None

    @cached_property
    def _boto(self) -> Any:
        try:
            return self._session.client(
                "s3",
                endpoint_url=self.access.endpoint_url,
                region_name=self._session.region_name or REGION,
                config=boto_config(),
            )
        except ValueError as error:
            raise UserError(str(error), where="S3_ENDPOINT_URL") from None

    @cached_property
    def _credentials(self) -> Boto3CredentialProvider:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider

        try:
            return Boto3CredentialProvider(self._session)
        except (ValueError, BotoCoreError) as error:
            words = str(error) if isinstance(error, BotoCoreError) else "none were found"
            raise Denied(
                f"no AWS credentials: {words}",
                where=f"s3://{self.bucket}",
                remedy="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ) from None

    @cached_property
    def _bucket_store(self) -> Obstore:
        return self._store(any_bucket=False)

    @cached_property
    def _server_store(self) -> Obstore:
        return self._store(any_bucket=True)

    def _store(self, *, any_bucket: bool) -> Obstore:
        from obstore.store import S3Store as Obstore

        endpoint = self.endpoint_url
        with asking(f"s3://{self.bucket}", self.bucket):
            return Obstore(
                self.bucket,
                endpoint=endpoint,
                region=self.region,
                virtual_hosted_style_request=any_bucket,
                credential_provider=self._credentials,
                client_options=obstore_client(allow_http=endpoint.startswith("http://")),
                retry_config=obstore_retries(COPY_RETRIES if any_bucket else RETRIES),
            )
