"""Lists a bucket as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from handful.errors import StoreError
from handful.storage import retry
from handful.storage.columns import as_listing
from handful.storage.folders import folder_seams
from handful.storage.keys import HIDDEN
from handful.storage.s3clients import Clients
from handful.storage.s3errors import answer_of, asking
from handful.storage.shards import is_safe, sharded

PAGE = 1_000
"""Keys that a server gives at once."""


def listed(
    clients: Clients, root: str, prefix: str, where: str, near: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Every object below the folder `root` ("" or ending in `/`) whose key there begins so.

    A long listing is read by many hands (see `handful.storage.shards`), at once where it is told
    which keys to expect (`near`, relative to `root`).
    """

    def pages(after: str | None) -> Iterator[pa.RecordBatch]:
        return _pages(clients, root + prefix, after, where)

    seams = [root + key for key in near if key.startswith(prefix) and is_safe(key)]
    top = root + prefix
    known = seams or (top and not top.endswith("/"))
    explore = None if known else lambda: _folders(clients, top, where)
    for page in sharded(pages, top, seams, explore):
        yield from _relative(page, root, prefix)


def _folders(clients: Clients, top: str, where: str) -> list[str]:
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
    """The keys behind `after`, in the server's order.

    obstore knows only whole folders, and stops at keys that no path may have (`a//b`, a line
    break); then boto3 goes on behind the last key that was seen, since such keys must come into
    the ledger too.
    """
    last, broken = after, 0
    pages = _obstore_pages if not prefix or prefix.endswith("/") else _boto_pages
    while True:
        try:
            for page in pages(clients, prefix, last, where):
                broken = 0
                if page.num_rows:
                    last = page.column("key")[-1].as_py()
                yield page
            return
        except _OddKey:
            pages = _boto_pages
        except retry.BrokenOff:
            # obstore does not ask for a page again whose body ended early.
            broken += 1
            if broken > retry.RETRIES:
                raise
            retry.pause(broken)


class _OddKey(Exception):
    """obstore met a key that it cannot have."""


def _obstore_pages(
    clients: Clients, prefix: str, after: str | None, where: str
) -> Iterator[pa.RecordBatch]:
    import obstore

    # Without arro3 obstore has no Arrow; then the same comes as dictionaries, some times slower.
    arrow = find_spec("arro3") is not None
    with asking(where, clients.bucket):
        stream: Any = obstore.list(
            clients.bucket_store(),
            prefix.rstrip("/") or None,
            offset=after,
            chunk_size=PAGE,
            return_arrow=arrow,
        )
        while True:
            try:
                chunk = next(stream, None)
            except Exception as error:
                answer = answer_of(error)
                if answer is not None and answer.bad_key:
                    raise _OddKey from None
                raise
            if chunk is None:
                return
            yield _from_arrow(chunk) if arrow else _from_entries(chunk)


def _boto_pages(
    clients: Clients, prefix: str, after: str | None, where: str
) -> Iterator[pa.RecordBatch]:
    start = {"StartAfter": after} if after else {}
    with asking(where, clients.bucket):
        pages = clients.boto().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=clients.bucket, Prefix=prefix, **start):
            found = page.get("Contents", [])
            yield _batch(
                [entry["Key"] for entry in found],
                [entry["Size"] for entry in found],
                [entry.get("ETag", "") for entry in found],
            )


def _from_arrow(chunk: Any) -> pa.RecordBatch:
    import polars as pl

    found = pl.DataFrame(pl.from_arrow(pa.record_batch(chunk)))
    return _batch(found["path"], found["size"].cast(pl.Int64), found["e_tag"])


def _from_entries(chunk: Any) -> pa.RecordBatch:
    return _batch(
        [entry["path"] for entry in chunk],
        [entry["size"] for entry in chunk],
        [entry["e_tag"] for entry in chunk],
    )


def _batch(keys: Any, sizes: Any, etags: Any) -> pa.RecordBatch:
    import polars as pl

    return as_listing(
        pl.DataFrame(
            {
                "key": pl.Series(keys, dtype=pl.String),
                "size": pl.Series(sizes, dtype=pl.Int64),
                "etag": pl.Series(etags, dtype=pl.String).str.strip_chars('"').fill_null(""),
            }
        )
    )


def _relative(batch: pa.RecordBatch, root: str, prefix: str) -> Iterator[pa.RecordBatch]:
    """The batch with keys relative to `root`; its own marker and our aside folder are left out."""
    import polars as pl

    key = pl.col("key")
    wanted = key.str.starts_with(root + prefix) & (key != root)
    found = pl.DataFrame(pl.from_arrow(batch)).filter(
        wanted & ~key.str.starts_with(f"{root}{HIDDEN}/")
    )
    if found.height:
        yield as_listing(found.with_columns(key.str.strip_prefix(root)))
