"""Lists a bucket as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from handful.storage.base import LISTING_SCHEMA
from handful.storage.keys import HIDDEN
from handful.storage.s3clients import Clients
from handful.storage.s3errors import answer_of, asking
from handful.storage.shards import sharded

PAGE = 1_000
"""Keys that a server gives at once."""


def listed(clients: Clients, root: str, prefix: str, where: str) -> Iterator[pa.RecordBatch]:
    """Every object below the folder `root` ("" or ending in `/`) whose key there begins so.

    A long listing is read by many hands (see `handful.storage.shards`).
    """

    def pages(after: str | None) -> Iterator[pa.RecordBatch]:
        return _pages(clients, root + prefix, after, where)

    for page in sharded(pages, root + prefix):
        yield from _relative(page, root, prefix)


def _pages(
    clients: Clients, prefix: str, after: str | None, where: str
) -> Iterator[pa.RecordBatch]:
    """The keys behind `after`, in the server's order.

    obstore knows only whole folders, and stops at keys that no path may have (`a//b`, a line
    break); then boto3 goes on behind the last key that was seen, since such keys must come into
    the ledger too.
    """
    last = after
    if not prefix or prefix.endswith("/"):
        try:
            for page in _obstore_pages(clients, prefix, after, where):
                if page.num_rows:
                    last = page.column("key")[-1].as_py()
                yield page
        except _OddKey:
            pass
        else:
            return
    yield from _boto_pages(clients, prefix, last, where)


class _OddKey(Exception):
    """obstore met a key that it cannot have."""


def _obstore_pages(
    clients: Clients, folder: str, after: str | None, where: str
) -> Iterator[pa.RecordBatch]:
    import obstore

    # Without arro3 obstore has no Arrow; then the same comes as dictionaries, some times slower.
    arrow = find_spec("arro3") is not None
    with asking(where, clients.bucket):
        stream: Any = obstore.list(
            clients.bucket_store(),
            folder.rstrip("/") or None,
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
    batch = pa.record_batch(chunk)
    return _batch(
        batch.column("path").cast(pa.string()),
        batch.column("size").cast(pa.int64()),
        batch.column("e_tag").cast(pa.string()),
    )


def _from_entries(chunk: Any) -> pa.RecordBatch:
    return _batch(
        [entry["path"] for entry in chunk],
        [entry["size"] for entry in chunk],
        [entry["e_tag"] for entry in chunk],
    )


def _batch(keys: Any, sizes: Any, etags: Any) -> pa.RecordBatch:
    columns = [pa.array(keys, pa.string()), pa.array(sizes, pa.int64())]
    tags = pc.utf8_trim(pa.array(etags, pa.string()), characters='"')
    return pa.RecordBatch.from_arrays([*columns, tags.fill_null("")], schema=LISTING_SCHEMA)


def _relative(batch: pa.RecordBatch, root: str, prefix: str) -> Iterator[pa.RecordBatch]:
    """The batch with keys relative to `root`; its own marker and our aside folder are left out."""
    keys = batch.column("key")
    wanted = pc.starts_with(keys, root + prefix)
    hidden = pc.or_(pc.starts_with(keys, f"{root}{HIDDEN}/"), pc.equal(keys, root))
    kept = batch.filter(pc.and_(wanted, pc.invert(hidden)))
    if kept.num_rows:
        short = pc.utf8_slice_codeunits(kept.column("key"), len(root)) if root else kept.column(0)
        yield pa.RecordBatch.from_arrays(
            [short, kept.column("size"), kept.column("etag")], schema=LISTING_SCHEMA
        )
