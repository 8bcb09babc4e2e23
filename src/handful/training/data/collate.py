"""From rows of an Arrow table to the tensors that `forward` takes, padded only as far as needed.

Padding goes to the right, or where the model wants it (`side`) to the left of the positions, with a
value that depends on the feature: the model's padding token for `input_ids`, 0 for masks, segment
ids, boxes and whatever else. Works on Arrow's flat buffers, so it costs well under a millisecond a
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from handful.errors import DataError

Array = npt.NDArray[Any]


IDS, MASK = "input_ids", "attention_mask"
RIGHT, LEFT = "right", "left"


@dataclass(frozen=True)
class Collator:
    """Makes batches; how, is written into handful.json beside the weights that it was good for."""

    pad_values: Mapping[str, int | float]
    """The features that are not padded with 0."""
    side: str = RIGHT
    """ "right" or "left": where padding stands beside the positions of a row."""
    adds_mask: bool = False
    """An `attention_mask` is made from the lengths of `input_ids`, since there is none."""
    least: int = 0
    """Positions that every batch has at least."""
    multiple: int = 1
    """The positions of a batch are a multiple of it."""
    equal_lengths: bool = False
    """Rows of different lengths may not stand in one batch: this model's logits see padding."""

    def __call__(self, rows: pa.Table) -> dict[str, torch.Tensor]:
        """Column → tensor [batch, …]: integers as int64, floats as float32, booleans as bool.

        Raises `DataError` for a column that holds text, nulls or anything else that is no number.
        """
        batch = {name: self._tensor(name, rows.column(name)) for name in rows.column_names}
        if self.adds_mask and IDS in batch:
            batch[MASK] = self._mask(rows.column(IDS), batch[IDS].shape)
        return batch

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Collator:
        return cls(**found)

    def _tensor(self, name: str, column: pa.ChunkedArray) -> torch.Tensor:
        pad, left = self.pad_values.get(name, 0), self.side == LEFT
        ragged = _Ragged(pad, name, left, self.least, self.multiple)
        return torch.from_numpy(_for_torch(_dense(_combine_column_chunks(column), ragged)))

    def _mask(self, column: pa.ChunkedArray, shape: torch.Size) -> torch.Tensor:
        """1 where `input_ids` [batch, positions] holds a row's own, 0 where it holds padding."""
        array = _combine_column_chunks(column)
        if pa.types.is_fixed_size_list(array.type):
            return torch.ones(shape, dtype=torch.int64)
        lengths = torch.from_numpy(np.diff(np.asarray(array.offsets)).astype(np.int64))
        counted = torch.arange(shape[1]).expand(shape[:2])
        if self.side == LEFT:
            counted = counted.flip(1)
        return (counted < lengths[:, None]).to(torch.int64)


@dataclass(frozen=True)
class _Ragged:
    """How a ragged column becomes rectangular."""

    pad: float
    name: str
    left: bool = False
    """Of the outermost level; those within are padded to the right."""
    least: int = 0
    multiple: int = 1

    @property
    def within(self) -> _Ragged:
        return replace(self, left=False, least=0, multiple=1)

    def size(self, longest: int) -> int:
        wanted = max(longest, self.least)
        return wanted + -wanted % self.multiple


def _combine_column_chunks(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks gives for an empty column
        array = pa.array([], column.type)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _dense(array: pa.Array, ragged: _Ragged) -> Array:
    """An Arrow array, lists within lists or not, as one rectangular array [rows, …]."""
    name = ragged.name
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
        inner = _dense(array.flatten(), ragged.within)
        return inner.reshape(len(array), kind.list_size, *inner.shape[1:])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _pad_ragged_rows(array, ragged)
    if pa.types.is_boolean(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    raise DataError(
        f"the feature {name!r} holds {kind}, which cannot become a tensor",
        where="get_dataset_features in functions.py",
        remedy="encode it to numbers, or to lists of numbers, in encode_data",
    )


def _pad_ragged_rows(array: pa.Array, ragged: _Ragged) -> Array:
    offsets = np.asarray(array.offsets)
    lengths = np.diff(offsets)
    inner = _dense(array.flatten(), ragged.within)
    longest = ragged.size(int(lengths.max(initial=0)))
    if len(lengths) and (lengths == longest).all():
        return inner.reshape(len(lengths), longest, *inner.shape[1:])
    # The shape of what is inside counts too: a ragged inner level is padded already.
    out = np.full((len(lengths), longest, *inner.shape[1:]), ragged.pad, dtype=inner.dtype)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(rows)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    if ragged.left:
        positions += np.repeat(longest - lengths, lengths)
    out[rows, positions] = inner
    return out


def _for_torch(array: Array) -> Array:
    """In the type that the model wants; never a view of Arrow's own memory, which is read-only."""
    wanted = bool if array.dtype == bool else np.float32 if array.dtype.kind == "f" else np.int64
    return array.astype(wanted, copy=not array.flags.writeable, order="C")
