"""Older versions of objects, on a bucket that keeps them: deleted, or named where denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from handful.errors import HandfulError
from handful.storage import retry
from handful.storage.s3.errors import asking

if TYPE_CHECKING:
    from handful.storage.s3.store import S3Store

_HANDS = 16


def purge_versions(store: S3Store, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Delete every version but the one that stands, and every marker of a deletion, of the keys
    that are `wanted`: also of those that were deleted long ago.

    What could not be deleted, in words.
    """
    try:
        if not _keeps_versions(store):
            return ()
        found = _find_older_versions(store, wanted)
    except HandfulError as error:
        return (f"{store.url}: older versions of its files may be kept there ({error})",)

    def purge(key: str) -> str | None:
        try:
            for version in found[key]:
                _delete_version(store, key, version)
        except HandfulError as error:
            return f"{store.url}/{key}: older versions may be kept there ({error})"
        return None

    with ThreadPoolExecutor(_HANDS) as pool:
        return tuple(told for told in pool.map(purge, sorted(found)) if told)


def _keeps_versions(store: S3Store) -> bool:
    """Does the bucket, or did it once? Where it never did, nothing but what stands is touched,
    whatever a server says of versions."""
    clients = store.clients

    def ask() -> Any:
        with asking(f"s3://{clients.bucket}", clients.bucket):
            return clients.single_try().get_bucket_versioning(Bucket=clients.bucket)

    return "Status" in retry.patiently(ask, known=clients.answered)


def _find_older_versions(store: S3Store, wanted: Callable[[str], bool]) -> dict[str, list[str]]:
    """Key → ids of its versions, and behind them its markers of deletions: as long as one of
    those stands, no older version comes to light."""
    root = store.full("x").removesuffix("x")
    versions: dict[str, list[str]] = {}
    markers: dict[str, list[str]] = {}
    for answer in _version_pages(store, root):
        for one in answer.get("Versions", ()):
            key = one["Key"].removeprefix(root)
            if not one.get("IsLatest") and wanted(key):
                versions.setdefault(key, []).append(one["VersionId"])
        for one in answer.get("DeleteMarkers", ()):
            key = one["Key"].removeprefix(root)
            if wanted(key):
                markers.setdefault(key, []).append(one["VersionId"])
    keys = versions.keys() | markers.keys()
    return {key: [*versions.get(key, ()), *markers.get(key, ())] for key in keys}


def _version_pages(store: S3Store, prefix: str) -> Iterator[Any]:
    after: dict[str, str] = {}
    while True:
        answer = _list_versions(store, prefix, after)
        yield answer
        if not answer.get("IsTruncated"):
            return
        after = {"KeyMarker": answer["NextKeyMarker"]}
        if version := answer.get("NextVersionIdMarker"):
            after["VersionIdMarker"] = version


def _list_versions(store: S3Store, prefix: str, after: dict[str, str]) -> Any:
    clients = store.clients

    def ask() -> Any:
        with asking(f"s3://{clients.bucket}/{prefix}", clients.bucket):
            return clients.single_try().list_object_versions(
                Bucket=clients.bucket, Prefix=prefix, **after
            )

    return retry.patiently(ask, known=clients.answered)


def _delete_version(store: S3Store, key: str, version: str) -> None:
    clients, full = store.clients, store.full(key)

    def delete() -> None:
        with asking(f"s3://{clients.bucket}/{full}", clients.bucket):
            clients.single_try().delete_object(Bucket=clients.bucket, Key=full, VersionId=version)

    retry.patiently(delete, known=clients.answered)
