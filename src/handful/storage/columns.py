"""Arrow columns made without pyarrow's own look at Python values, for which it imports pandas.

Every command lists at least the folder of its lock, so a local listing does without polars, too:
importing it takes a quarter of a second.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

LISTING_SCHEMA = pa.schema(
    [
        ("key", pa.large_string()),
        ("size", pa.int64()),
        ("etag", pa.large_string()),
        ("archived", pa.large_string()),
    ]
)
"""One row an object: key relative to the root, size in bytes, etag, archived.

`etag` changes when the content changes. On S3 it is the object's ETag without quotes; in a local
directory `mtime-<ns>-<size>`, which copies keep. `archived` is the storage class of an object that
has to be restored before it can be read, null for all others.
"""


def as_listing(entries: pl.DataFrame) -> pa.RecordBatch:
    """A table of key, etag, archived (text) and size (Int64) as a batch of `LISTING_SCHEMA`."""
    from polars import CompatLevel

    # `oldest` has the schema's own types, so nothing is cast: that would import pyarrow.compute.
    oldest = CompatLevel.oldest()
    columns = [entries[name].to_arrow(compat_level=oldest) for name in LISTING_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=LISTING_SCHEMA)


def strings(values: Sequence[str]) -> pa.LargeStringArray:
    """[n] texts, of the type that a listing has."""
    text = "".join(values)
    lengths = map(len, values if text.isascii() else [value.encode() for value in values])
    ends = array("q", accumulate(lengths, initial=0))
    buffers = pa.py_buffer(ends), pa.py_buffer(text.encode())
    return pa.LargeStringArray.from_buffers(len(values), *buffers)


def integers(values: Sequence[int]) -> pa.Int64Array:
    """[n] numbers of 64 bits."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(array("q", values))])
