"""Arrow columns by way of polars: pyarrow imports pandas to look at a Python value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from handful.storage.base import LISTING_SCHEMA

if TYPE_CHECKING:
    import polars as pl


def as_listing(entries: pl.DataFrame) -> pa.RecordBatch:
    """A table of key, etag, archived (text) and size (Int64) as a batch of `LISTING_SCHEMA`."""
    from polars import CompatLevel

    # `oldest` has the schema's own types, so nothing is cast: that would import pyarrow.compute.
    oldest = CompatLevel.oldest()
    columns = [entries[name].to_arrow(compat_level=oldest) for name in LISTING_SCHEMA.names]
    return pa.RecordBatch.from_arrays(columns, schema=LISTING_SCHEMA)
