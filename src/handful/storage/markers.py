"""Markers of folders: objects that stand for a folder, and are no file.

S3 has no folders. Its console, and others, put an empty object `a03/pages/` where somebody makes
one; Hadoop put `a03/pages_$folder$`. Listings leave both out and say how many they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from handful.storage.base import MARKERS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


def is_marker(key: str = "key", size: str = "size") -> pl.Expr:
    """Does the object stand for a folder?"""
    import polars as pl

    name = pl.col(key)
    return (pl.col(size) == 0) & (name.str.ends_with("/") | name.str.ends_with("_$folder$"))


def add_marker_count(batch: pa.RecordBatch, markers: int) -> pa.RecordBatch:
    """The batch, saying how many markers were left out of it."""
    return batch.replace_schema_metadata({MARKERS: str(markers).encode()}) if markers else batch
