"""From rows of an Arrow table to the tensors that `forward` takes, padded only as far as needed.

Padding goes to the right, at every ragged level of nesting, with a value that depends on the
feature: the model's padding token for `input_ids`, 0 for masks, segment ids, boxes and whatever
else. Works on Arrow's flat buffers, so it costs well under a millisecond a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from handful.errors import DataError

Array = npt.NDArray[Any]


class Collator:
    """Makes batches; `pad_values` holds the features that are not padded with 0."""

    def __init__(self, pad_values: Mapping[str, int | float]) -> None:
        self.pad_values = dict(pad_values)

    def __call__(self, rows: pa.Table) -> dict[str, torch.Tensor]:
        """Column → tensor [batch, …]: integers as int64, floats as float32, booleans as bool.

        Raises `DataError` for a column that holds text, nulls or anything else that is no number.
        """
        return {name: self._tensor(name, rows.column(name)) for name in rows.column_names}

    def _tensor(self, name: str, column: pa.ChunkedArray) -> torch.Tensor:
        array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # what combine_chunks gives for an empty column
            array = pa.array([], column.type)
        dense = _dense(array, self.pad_values.get(name, 0), name)
        return torch.from_numpy(_for_torch(dense))


def _dense(array: pa.Array, pad: float, name: str) -> Array:
    """An Arrow array, lists within lists or not, as one rectangular array [rows, …]."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count:
        raise DataError(
            f"the feature {name!r} holds nulls",
            where="the encoded data",
            remedy="let encode_data return a value for it, or None for the whole instance",
        )
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        inner = _dense(array.flatten(), pad, name)
        return inner.reshape(len(array), kind.list_size, *inner.shape[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _padded(array, pad, name)
    if pa.types.is_boolean(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    raise DataError(
        f"the feature {name!r} holds {kind}, which cannot become a tensor",
        where="get_dataset_features in functions.py",
        remedy="encode it to numbers, or to lists of numbers, in encode_data",
    )


def _padded(array: pa.Array, pad: float, name: str) -> Array:
    offsets = np.asarray(array.offsets)
    lengths = np.diff(offsets)
    inner = _dense(array.flatten(), pad, name)
    longest = int(lengths.max(initial=0))
    if len(lengths) and (lengths == longest).all():
        return inner.reshape(len(lengths), longest, *inner.shape[1:])
    # The shape of what is inside counts too: a ragged inner level is padded already.
    out = np.full((len(lengths), longest, *inner.shape[1:]), pad, dtype=inner.dtype)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(rows)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    out[rows, positions] = inner
    return out


def _for_torch(array: Array) -> Array:
    """In the type that the model wants; never a view of Arrow's own memory, which is read-only."""
    wanted = bool if array.dtype == bool else np.float32 if array.dtype.kind == "f" else np.int64
    return array.astype(wanted, copy=not array.flags.writeable, order="C")
