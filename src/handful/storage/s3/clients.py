"""Who asks an S3 server, and through which client: obstore for work, boto3 for what it cannot."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from handful.errors import Denied, StoreError, UserError
from handful.storage.retry import (
    COPY_FIRST_WAIT,
    COPY_RETRIES,
    PATIENT_RETRIES,
    WAIT_FOR_KNOWN,
    boto_config,
    obstore_client,
    obstore_retries,
)
from handful.storage.s3.delete import Deleter
from handful.storage.s3.errors import asking
from handful.storage.s3.pages import cut_objects
from handful.storage.s3.session import REGION, Access, Trusted, core_of, load_ca_bundle, session_of

if TYPE_CHECKING:
    import boto3
    import botocore.session
    from botocore.config import Config
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import RetryConfig, S3Config
    from obstore.store import S3Store as Obstore

KMS: Final = "aws:kms"


class Clients:
    """The clients of one bucket, made when they are first needed, for all threads together.

    After unpickling, in another process, they are made anew.
    """

    def __init__(self, access: Access, bucket: str, kms_key: str | None = None) -> None:
        self.access = access
        self.bucket = bucket
        self.kms_key = kms_key
        """Encrypts what is written here; None: as the bucket does by default."""
        self.answered = False
        """Has the server ever answered? Then it is waited for longer."""
        self.etags_are_md5: bool | None = None
        """Of what went in one piece; None: no body was compared yet."""
        self._archives: bool | None = None
        self._server_stores: dict[str | None, Obstore] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> tuple[Access, str, str | None]:
        return self.access, self.bucket, self.kms_key

    def __setstate__(self, state: tuple[Access, str, str | None]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def boto(self) -> Any:
        """A boto3 client."""
        with self._lock:
            return self._boto

    def single_try(self) -> Any:
        """A boto3 client that asks once (see `retry.patiently`).

        Its listings come as `handful.storage.s3.pages` reads them.
        """
        with self._lock:
            return self._single_try

    def archives(self, key: str) -> bool:
        """Does this server really archive what its listing says is archived, as `key` is?

        Elsewhere than on AWS the storage class is often a mere label; so one object is tried.
        """
        with self._lock:
            if self._archives is None:
                self._archives = self._is_archived(key)
            return self._archives

    def _is_archived(self, key: str) -> bool:
        import obstore

        try:
            with asking(f"s3://{self.bucket}/{key}", self.bucket):
                obstore.get(self._bucket_store, key)
        except StoreError:
            return True  # Archived; or whatever it is, nothing says that it can be read
        return False

    @cached_property
    def deleter(self) -> Deleter:
        """What deletes in this bucket."""
        return Deleter(self)

    def bucket_store(self, *, patient: bool = True) -> Obstore:
        """obstore on the whole bucket. Who is not `patient` wants to hear of trouble soon."""
        with self._lock:
            return self._patient_store if patient and self.answered else self._bucket_store

    def hasty_store(self) -> Obstore:
        """obstore that hears of trouble at once."""
        with self._lock:
            return self._hasty_store

    def server_store(self, kms_key: str | None = None) -> Obstore:
        """obstore that reads its *destination* keys as `bucket/key`, for copies across buckets.

        `kms_key` encrypts what is copied: the destination's, not this bucket's.
        Told that the endpoint already names the bucket, it puts the key right behind the endpoint:
        a path-style address of any bucket. What is copied is still looked for in this bucket.
        Undocumented, therefore tested at first use (see `handful.storage.s3.copy`).
        """
        with self._lock:
            if kms_key not in self._server_stores:
                self._server_stores[kms_key] = self._store(
                    obstore_retries(COPY_RETRIES, first_wait=COPY_FIRST_WAIT),
                    kms_key,
                    any_bucket=True,
                )
            return self._server_stores[kms_key]

    @property
    def extra(self) -> dict[str, str]:
        """What boto3 says beside every object that it writes."""
        if self.kms_key is None:
            return {}
        return {"ServerSideEncryption": KMS, "SSEKMSKeyId": self.kms_key}

    def login(self) -> dict[str, str | None]:
        """Access key, secret and token as they are now, for clients that know no role."""
        with self._lock:
            found = self._credentials()
        return {
            "key": found["access_key_id"],
            "secret": found["secret_access_key"],
            "token": found.get("token"),
        }

    @property
    def region(self) -> str:
        with self._lock:
            return self._session.region_name or REGION

    @property
    def address(self) -> str:
        """The server's address, from the configuration alone: no role is asked for."""
        if self.access.endpoint_url:
            return self.access.endpoint_url
        own = Clients(replace(self.access, role_arn=None), self.bucket)
        return str(own.boto().meta.endpoint_url)

    @property
    def ca_bundle(self) -> str | None:
        """The file of certificates to trust; None: those that each client trusts by itself."""
        with self._lock:
            return self._trusted.path if self._trusted else None

    @property
    def endpoint_url(self) -> str:
        """The server that is really asked."""
        return self.access.endpoint_url or str(self.boto().meta.endpoint_url)

    @cached_property
    def _session(self) -> boto3.Session:
        return session_of(self.access, self._core, self._trusted)

    @cached_property
    def _core(self) -> botocore.session.Session:
        return core_of(self.access)

    @cached_property
    def _trusted(self) -> Trusted | None:
        return load_ca_bundle(self.access, self._core)

    @cached_property
    def _boto(self) -> Any:
        return self._boto_client(boto_config())

    @cached_property
    def _single_try(self) -> Any:
        client = self._boto_client(boto_config(attempts=1))
        # With a `*` it comes before botocore's own observers, which would parse the whole answer.
        client.meta.events.register("before-parse.*.ListObjectsV2", cut_objects)
        return client

    def _boto_client(self, config: Config) -> Any:
        try:
            return self._session.client(
                "s3",
                endpoint_url=self.access.endpoint_url,
                region_name=self._session.region_name or REGION,
                verify=self.ca_bundle,
                config=config,
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
        return self._store(obstore_retries(), self.kms_key)

    @cached_property
    def _hasty_store(self) -> Obstore:
        return self._store(obstore_retries(COPY_RETRIES, first_wait=COPY_FIRST_WAIT), self.kms_key)

    @cached_property
    def _patient_store(self) -> Obstore:
        return self._store(obstore_retries(PATIENT_RETRIES, WAIT_FOR_KNOWN), self.kms_key)

    def _store(
        self, retries: RetryConfig, kms_key: str | None, *, any_bucket: bool = False
    ) -> Obstore:
        from obstore.store import S3Store as Obstore

        endpoint, trusted = self.endpoint_url, self._trusted
        options = obstore_client(allow_http=endpoint.startswith("http://"))
        if trusted:
            options["root_certificate"] = trusted.content
        config: S3Config = {}
        if "AWS_ENDPOINT_URL_S3" in os.environ:  # obstore 0.12 would prefer it to `endpoint`
            config = {"aws_endpoint_url_s3": endpoint}
        if kms_key is not None:
            config |= {"server_side_encryption": KMS, "sse_kms_key_id": kms_key}
        with asking(f"s3://{self.bucket}", self.bucket):
            return Obstore(
                self.bucket,
                endpoint=endpoint,
                region=self.region,
                virtual_hosted_style_request=any_bucket,
                credential_provider=self._credentials,
                client_options=options,
                retry_config=retries,
                config=config,
            )
