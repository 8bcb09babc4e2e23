"""Older versions of objects, on a bucket that keeps them: deleted, or named where denied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from handful.errors import HandfulError
from handful.storage import retry
from handful.storage.s3.errors import asking

if TYPE_CHECKING:
    from handful.storage.s3.store import S3Store


def purge_versions(store: S3Store, keys: Sequence[str]) -> tuple[str, ...]:
    """Delete every version of `keys` but the one that stands, and every marker of a deletion.

    What could not be deleted, in words.
    """
    left = []
    for key in dict.fromkeys(keys):
        try:
            for version in list(_older_versions(store, key)):
                _delete_version(store, key, version)
        except HandfulError as error:
            left.append(f"{store.url}/{key}: older versions may be kept there ({error})")
    return tuple(left)


def _older_versions(store: S3Store, key: str) -> Iterator[str]:
    full = store.full(key)
    after: dict[str, str] = {}
    while True:
        answer = _list_versions(store, full, after)
        for one in answer.get("Versions", ()):
            if one["Key"] == full and not one.get("IsLatest"):
                yield one["VersionId"]
        for one in answer.get("DeleteMarkers", ()):
            if one["Key"] == full:
                yield one["VersionId"]
        if not answer.get("IsTruncated"):
            return
        after = {
            "KeyMarker": answer["NextKeyMarker"],
            "VersionIdMarker": answer.get("NextVersionIdMarker", ""),
        }
        if not after["VersionIdMarker"]:
            after.pop("VersionIdMarker")
        if not after["KeyMarker"].startswith(full):
            return


def _list_versions(store: S3Store, full: str, after: dict[str, str]) -> Any:
    clients = store.clients

    def ask() -> Any:
        with asking(f"s3://{clients.bucket}/{full}", clients.bucket):
            return clients.single_try().list_object_versions(
                Bucket=clients.bucket, Prefix=full, **after
            )

    return retry.patiently(ask, known=clients.answered)


def _delete_version(store: S3Store, key: str, version: str) -> None:
    clients, full = store.clients, store.full(key)

    def delete() -> None:
        with asking(f"s3://{clients.bucket}/{full}", clients.bucket):
            clients.single_try().delete_object(Bucket=clients.bucket, Key=full, VersionId=version)

    retry.patiently(delete, known=clients.answered)
