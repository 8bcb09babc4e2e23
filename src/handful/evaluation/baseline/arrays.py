"""The values of an Arrow column as flat numpy arrays, whatever it is nested in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

BATCH = 1_000
"""Rows that are read at once."""


def arrow_storage_type(kind: pa.DataType) -> pa.DataType:
    """The type that is really stored: `datasets.Array2D` and its like are lists underneath."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def unwrap_list_type(kind: pa.DataType) -> tuple[int, pa.DataType]:
    """How many lists deep the values lie, and their own type."""
    kind, depth = arrow_storage_type(kind), 0
    while is_list(kind):
        kind, depth = arrow_storage_type(kind.value_type), depth + 1
    return depth, kind


def is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def flat(column: pa.ChunkedArray | pa.Array) -> tuple[Any, Ids]:
    """All values of a column, and the row of each. What is null counts as 0, a null list as empty.

    Returns (values [V], rows [V] counted from 0).
    """
    if isinstance(column, pa.ChunkedArray):
        parts = [_bare(chunk) for chunk in column.chunks]
        column = pa.concat_arrays(parts) if parts else pa.array([], pa.float64())
    column = _bare(column)
    rows: Ids = np.arange(len(column), dtype=np.int64)
    while is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        rows = np.repeat(rows, lengths)
        column = _bare(pc.list_flatten(column))
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(0, column.type))
    return column.to_numpy(zero_copy_only=False), rows


def _bare(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column
