"""Lists a bucket as Arrow batches.

The pages come by boto3, which signs, repeats and tells errors apart, but whose own parser is slow:
what the answer says of objects is taken out before (see `pages`).
obstore lists faster still, but neither knows an object's storage class nor tells a folder's marker
from a file, and it stops at keys that no path may have (`a//b`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from handful.errors import StoreError
from handful.storage import markers, retry
from handful.storage.columns import as_listing
from handful.storage.keys import HIDDEN
from handful.storage.local.folders import folder_seams
from handful.storage.parallel_listing import is_safe, list_in_parallel
from handful.storage.s3.clients import Clients
from handful.storage.s3.errors import asking
from handful.storage.s3.pages import OBJECTS, objects

PAGE = 1_000
"""Keys that a server gives at once."""
_RESTORED = "OptionalObjectAttributes"


def list_bucket_objects(
    clients: Clients, root: str, prefix: str, where: str, near: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Every object below the folder `root` ("" or ending in `/`) whose key there begins so.

    A long listing is read by many hands (see `storage.parallel_listing`), at once where it is told
    which keys to expect (`near`, relative to `root`).
    """

    def pages(after: str | None) -> Iterator[pa.RecordBatch]:
        return _pages(clients, root + prefix, after, where)

    seams = [root + key for key in near if key.startswith(prefix) and is_safe(key)]
    top = root + prefix
    known = seams or (top and not top.endswith("/"))
    explore = None if known else lambda: _bucket_folder_seams(clients, top, where)
    for page in list_in_parallel(pages, top, seams, explore):
        yield from _relative(page, root, prefix)


def _bucket_folder_seams(clients: Clients, top: str, where: str) -> list[str]:
    """Where the listing may be cut. A server that cannot tell folders costs speed alone."""

    def below(folder: str) -> list[str] | None:
        asked = {"Bucket": clients.bucket, "Prefix": folder, "Delimiter": "/"}
        with asking(where, clients.bucket):
            page = clients.boto().list_objects_v2(**asked)
        found = [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        return None if page.get("IsTruncated") else found

    try:
        return [seam for seam in folder_seams(below, top) if is_safe(seam)]
    except StoreError:
        return []


def _pages(
    clients: Clients, prefix: str, after: str | None, where: str
) -> Iterator[pa.RecordBatch]:
    """The keys behind `after`, in the server's order."""
    import polars as pl

    ask: dict[str, Any] = {"Bucket": clients.bucket, "Prefix": prefix, "EncodingType": "url"}
    if after:
        ask["StartAfter"] = after

    def page() -> dict[str, Any]:
        with asking(where, clients.bucket):
            answer: dict[str, Any] = clients.single_try().list_objects_v2(**ask)
        if OBJECTS not in answer:
            raise StoreError(
                "what answers here is no S3 server: it sent no listing",
                where=where,
                remedy="is S3_ENDPOINT_URL right? a proxy may have answered in its place",
            )
        return answer

    while True:
        answer = retry.patiently(page, known=clients.answered)
        clients.answered = True
        found = objects(answer[OBJECTS])
        archived = found.filter(pl.col("archived").is_not_null())["key"]
        if len(archived) and not ask.get(_RESTORED):
            # Some may have been restored for a while; asked only here, as not all servers know it.
            ask[_RESTORED] = ["RestoreStatus"]
            continue
        if len(archived) and not clients.archives(archived[0]):
            found = found.with_columns(archived=pl.lit(None, pl.String))
        yield as_listing(found)
        token = answer.get("NextContinuationToken")
        if not answer.get("IsTruncated") or not (token or found.height):
            return
        ask |= {"ContinuationToken": token} if token else {"StartAfter": found["key"][-1]}


def _relative(batch: pa.RecordBatch, root: str, prefix: str) -> Iterator[pa.RecordBatch]:
    """The batch with keys relative to `root`; markers and our aside folder are left out."""
    import polars as pl

    key = pl.col("key")
    wanted = key.str.starts_with(root + prefix) & (key != root)
    found = pl.DataFrame(pl.from_arrow(batch)).filter(
        wanted & ~key.str.starts_with(f"{root}{HIDDEN}/")
    )
    files = found.filter(~markers.is_marker())
    if found.height:
        listing = as_listing(files.with_columns(key.str.strip_prefix(root)))
        yield markers.add_marker_count(listing, found.height - files.height)
