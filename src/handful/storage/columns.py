"""Arrow columns by way of polars: pyarrow imports pandas to look at a Python value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from handful.storage.base import LISTING_SCHEMA

if TYPE_CHECKING:
    import polars as pl


def as_listing(entries: pl.DataFrame) -> pa.RecordBatch:
    """A table of key, size and etag as a batch of `LISTING_SCHEMA`."""
    from polars import CompatLevel

    columns = [
        entries[field.name].to_arrow(compat_level=CompatLevel.oldest()).cast(field.type)
        for field in LISTING_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LISTING_SCHEMA)
