"""Opens a store or a source from its URL; nothing is asked over the network yet."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from handful.errors import UserError
from handful.files.paths import at_home
from handful.storage.base import Source, Store

_STORE_URL_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_SUPPORTED = "s3://bucket/prefix, file:///directory, or the path of a local directory"


def open_source(
    url: str,
    *,
    endpoint_url: str | None = None,
    profile: str | None = None,
    role_arn: str | None = None,
    ca_bundle: Path | None = None,
) -> Source:
    """A place to read from. A missing local directory or bucket is found out at first use.

    The other arguments are for S3 only: another server than AWS, the section of the AWS
    configuration whose credentials are used, the role that they assume, and the certificates to
    trust. `UserError` for a URL of another kind.
    """
    if _scheme(url) == "s3":
        from handful.storage.s3.session import Access
        from handful.storage.s3.source import S3Source

        access = Access(_endpoint(endpoint_url), profile, role_arn, ca_bundle)
        return S3Source(*_bucket_and_prefix(url), access)
    from handful.storage.local.store import LocalSource

    return LocalSource(_directory(url))


def open_store(
    url: str,
    *,
    endpoint_url: str | None = None,
    profile: str | None = None,
    role_arn: str | None = None,
    ca_bundle: Path | None = None,
    kms_key: str | None = None,
) -> Store:
    """A place to read from and write to; a missing local directory is made at the first write.

    `kms_key` encrypts what is written to S3 (SSE-KMS); None: as the bucket does by default. The
    other arguments and the errors are those of `open_source`.
    """
    if _scheme(url) == "s3":
        from handful.storage.s3.session import Access
        from handful.storage.s3.store import S3Store

        access = Access(_endpoint(endpoint_url), profile, role_arn, ca_bundle)
        return S3Store(*_bucket_and_prefix(url), access, kms_key)
    from handful.storage.local.store import LocalStore

    return LocalStore(_directory(url))


def _scheme(url: str) -> str:
    """ "s3" or "file"; `UserError` for anything else."""
    match = _STORE_URL_SCHEME.match(url)
    scheme = match.group(1).lower() if match else "file"
    if not url.strip() or scheme not in {"s3", "file"}:
        # The rest of the URL is not shown: of a kind unknown here, it may hold a password.
        raise UserError(
            f"{scheme}:// is no place that handful can open" if url.strip() else "no URL given",
            remedy=f"use {_SUPPORTED}",
        )
    return scheme


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    parts = url[len("s3://") :].rstrip("/").split("/")
    bucket, prefix = parts[0], "/".join(parts[1:])
    if not bucket or "" in parts or ".." in parts or "." in parts:
        raise UserError(f"{url!r} is no S3 URL", remedy="write s3://bucket/prefix")
    if "@" in bucket or "?" in url:
        raise UserError(
            "an S3 URL holds neither credentials nor options",
            remedy="write s3://bucket/prefix; credentials come from AWS_PROFILE or the environment",
        )
    return bucket, prefix


def _endpoint(url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and parts.hostname and not parts.username
    except ValueError:
        good = None
    if not good:
        raise UserError(
            "is no address of a server",
            where="S3_ENDPOINT_URL",
            remedy="write https://host:port, without credentials; http:// is for tests",
        )
    return url.rstrip("/")


def _directory(url: str) -> Path:
    if not _STORE_URL_SCHEME.match(url):
        return at_home(url).absolute()
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise UserError(f"{url!r} names a file of another machine", remedy=f"use {_SUPPORTED}")
    return at_home(unquote(parts.path)).absolute()
