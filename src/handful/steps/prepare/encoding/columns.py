"""A feature's values in one plain form, and an Arrow array made of that form.

Arrow guesses the type of a batch by the values that it meets, so that one odd value spoils its
neighbours, and what is fine alone may fail beside others. Nothing is guessed here: each value is
brought to the feature's own numbers by itself, flat, with the lengths of its lists beside them; and
an Arrow array is these, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from handful.steps.prepare.encoding.feature_types import describe_feature_type
from handful.steps.prepare.encoding.leaves import (
    Array,
    BadItem,
    BoolLeaf,
    Buffer,
    ClassLeaf,
    FloatLeaf,
    IntLeaf,
    Leaf,
)
from handful.steps.prepare.encoding.values import (
    Misfit,
    found,
    has_no_numbers,
    plain,
    told,
    unwrap_value,
)

MOST = (1 << 31) - 1
"""How many values one Arrow list array of 32-bit offsets can hold."""


@dataclass(slots=True)
class Plain:
    """One value of a feature. It is made for every value of every row, so it has to be cheap."""

    lengths: tuple[Sequence[int], ...]
    """Of each level of lists the lengths, from the outermost (just one) to the innermost."""
    numbers: Buffer
    """All numbers in it, flat."""

    def __len__(self) -> int:
        """Of the outermost list."""
        return int(self.lengths[0][0])


@dataclass(frozen=True)
class Level:
    """One level of lists."""

    size: int | None = None
    """If it is fixed."""
    is_large: bool = False
    is_dimension: bool = False
    """Of an array of `datasets`, which keeps open lists even where the size is fixed."""
    begins: pa.ExtensionType | None = None
    """The array that begins at this level."""

    def wrapped(self, lengths: Array, inner: pa.Array) -> pa.Array:
        """Lists of these lengths, filled with `inner`. `OverflowError` if they are too many."""
        if self.size is not None and not self.is_dimension:
            return pa.FixedSizeListArray.from_arrays(inner, self.size)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if self.is_large:
            return pa.LargeListArray.from_arrays(pa.array(offsets), inner)
        if offsets[-1] > MOST:
            raise OverflowError(f"{offsets[-1]:,} values are more than a List holds: {MOST:,}")
        made = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), inner)
        return pa.ExtensionArray.from_storage(self.begins, made) if self.begins else made

    def misfit(self, length: int) -> str:
        """What is wrong with a list of this length; empty if nothing is."""
        if self.size is None or length == self.size:
            return ""
        whole = f"{length} where the shape has {self.size}"
        return whole if self.is_dimension else f"a list of {length}"


@dataclass(frozen=True)
class Column:
    """How the values of one feature are brought to the plain form, and saved."""

    feature: Any
    levels: tuple[Level, ...]
    leaf: Leaf

    def plain(self, value: Any) -> Plain:
        """`Misfit`, with the type and the value that were found, if the feature cannot hold it."""
        kind = type(value)
        if len(self.levels) == 1 and (kind is list or kind is tuple):
            return self._flat(value)
        value = unwrap_value(value)
        if not self.levels:
            return Plain((), self.leaf.from_list([value]))
        if isinstance(value, np.ndarray):
            return self._of_array(value)
        return self._of_lists(value)

    def array(self, values: Iterable[Plain]) -> pa.Array:
        """Values of this feature as Arrow saves them. `OverflowError` if they are too many."""
        rows = list(values)
        made = self._numbers([row.numbers for row in rows])
        for depth in reversed(range(len(self.levels))):
            lengths = np.fromiter(chain.from_iterable(r.lengths[depth] for r in rows), np.int64)
            made = self.levels[depth].wrapped(lengths, made)
        return made

    def _numbers(self, buffers: Sequence[Buffer]) -> pa.Array:
        if self.leaf.dtype == bool:
            return pa.array(np.concatenate([np.zeros(0, bool), *buffers]), self.leaf.arrow)
        joined = b"".join(buffers)
        count = len(joined) // self.leaf.dtype.itemsize
        return pa.Array.from_buffers(self.leaf.arrow, count, [None, pa.py_buffer(joined)])

    def _flat(self, value: Sequence[Any]) -> Plain:
        """A plain list of numbers, the usual case."""
        fault = self.levels[0].misfit(len(value))
        if fault:
            raise Misfit(fault)
        try:
            return Plain(((len(value),),), self.leaf.from_list(value))
        except BadItem as bad:
            raise self._build_column_misfit(bad, ((len(value),),)) from None

    def _of_array(self, value: Array) -> Plain:
        if value.size and has_no_numbers(value):
            raise Misfit(f"an array of {value.dtype} {told(plain(value)[:1])}")
        if value.ndim != len(self.levels) or value.dtype.kind == "O":
            return self._of_lists(value.tolist())
        counts = np.cumprod((1, *value.shape[:-1])).tolist()
        for depth, (level, size, count) in enumerate(
            zip(self.levels, value.shape, counts, strict=True)
        ):
            fault = level.misfit(size) if count else ""
            if fault:
                raise Misfit(f"{self._lists(depth)}{fault}")
        lengths = tuple([size] * count for count, size in zip(counts, value.shape, strict=True))
        flat = np.ascontiguousarray(value).ravel()
        try:
            numbers = self.leaf.from_array(flat) if flat.size else np.zeros(0, self.leaf.dtype)
        except BadItem as bad:
            raise self._build_column_misfit(bad, lengths) from None
        return Plain(lengths, numbers)

    def _of_lists(self, value: Any) -> Plain:
        """Level by level, from the outermost: all lists of one level at a time."""
        lists: list[Any] = [value]
        lengths: list[list[int]] = []
        for depth, level in enumerate(self.levels):
            if not set(map(type, lists)) <= {list, tuple}:
                lists = [self._list(one, depth, place, lengths) for place, one in enumerate(lists)]
            lengths.append(list(map(len, lists)))
            for length in set(lengths[-1]):
                if fault := level.misfit(length):
                    where = _place(lengths[:-1], lengths[-1].index(length))
                    raise Misfit(f"{self._lists(depth)}{fault}{where}")
            stacked = self._stack_arrays(lists[0]) if depth == 0 else None
            if stacked is not None:
                return self._of_array(stacked)
            lists = list(chain.from_iterable(lists))
        try:
            return Plain(tuple(lengths), self.leaf.from_list(lists))
        except BadItem as bad:
            raise self._build_column_misfit(bad, lengths) from None

    def _stack_arrays(self, items: Sequence[Any]) -> Array | None:
        """A list of arrays of one shape and type as one array; None if it is something else."""
        if not items or not hasattr(items[0], "__array__"):
            return None
        arrays = [unwrap_value(one) for one in items]
        kinds = {
            (one.shape, one.dtype) if isinstance(one, np.ndarray) else type(one) for one in arrays
        }
        if len(kinds) > 1 or not isinstance(arrays[0], np.ndarray):
            return None
        return np.stack(arrays)

    def _list(self, value: Any, depth: int, place: int, lengths: Sequence[Sequence[int]]) -> Any:
        value = unwrap_value(value)
        if isinstance(value, np.ndarray):
            return list(value) if has_no_numbers(value) else value.tolist()
        if isinstance(value, list | tuple):
            return value
        value = plain(value)
        words = "one level of nesting too few" if self.levels[depth].is_dimension else "not a list"
        shown = "" if value is None else f" {told(value)}"
        where = _place(lengths, place)
        raise Misfit(f"{self._lists(depth)}{found(value)}{shown}, {words}{where}")

    def _build_column_misfit(self, bad: BadItem, lengths: Sequence[Sequence[int]]) -> Misfit:
        where = _place(lengths, bad.place)
        comma = "," if "which" in str(bad) or "and every" in str(bad) else ""
        return Misfit(f"{self._lists(len(self.levels))}{bad}{comma}{where}")

    def _lists(self, depth: int) -> str:
        return "list of " * sum(not level.is_dimension for level in self.levels[:depth])


def _place(lengths: Sequence[Sequence[int]], place: int) -> str:
    """Where an item stands, by its place among all items of its level: " at [3][0]"."""
    found_at: list[int] = []
    for level in reversed(lengths):
        ends = np.cumsum(level)
        outer = int(np.searchsorted(ends, place, side="right"))
        found_at.append(place - int(ends[outer]) + int(level[outer]))
        place = outer
    return f" at {''.join(f'[{one}]' for one in reversed(found_at))}" if found_at else ""


class Columns:
    """The columns of some features, all of which can be trained on."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        self._of = {name: Column(feature, *_shape(feature)) for name, feature in features.items()}
        self._are_open_lists = bool(features) and all(
            len(one.levels) == 1 and one.levels[0].size is None for one in self._of.values()
        )

    def __getitem__(self, name: str) -> Column:
        return self._of[name]

    def plain(self, row: Mapping[str, Any]) -> dict[str, Plain]:
        """A row that has all these features. `Misfit` names field, expected and found.

        A row of nothing but empty lists is none: alone in a batch it would end the training.
        """
        values = {}
        for name, column in self._of.items():
            try:
                values[name] = column.plain(row[name])
            except Misfit as misfit:
                expected = describe_feature_type(column.feature)
                raise Misfit(f"field {name}: expected {expected}, found {misfit}") from None
        if self._are_open_lists and not any(map(len, values.values())):
            names = ", ".join(values)
            raise Misfit(f"nothing to read: {names} of length 0 (is the document empty?)")
        return values

    def arrays(self, rows: Sequence[Mapping[str, Plain]]) -> dict[str, pa.Array]:
        """Rows as Arrow saves them. `OverflowError` if they hold too many values."""
        return {name: column.array(row[name] for row in rows) for name, column in self._of.items()}


def _shape(feature: Any) -> tuple[tuple[Level, ...], Leaf]:
    import datasets

    if isinstance(feature, datasets.List | datasets.LargeList):
        inner, leaf = _shape(feature.feature)
        if isinstance(feature, datasets.LargeList):
            return (Level(is_large=True), *inner), leaf
        return (Level(feature.length if feature.length >= 0 else None), *inner), leaf
    if isinstance(feature, datasets.ClassLabel):
        return (), ClassLeaf(tuple(map(str, feature.names)), feature())
    kind = feature()
    if not isinstance(kind, pa.ExtensionType):
        return (), _leaf(kind)
    levels = [Level(size, is_dimension=True) for size in kind.shape]
    levels[0] = Level(kind.shape[0], is_dimension=True, begins=kind)
    kind = kind.storage_type
    while isinstance(kind, pa.ListType):
        kind = kind.value_type
    return tuple(levels), _leaf(kind)


def _leaf(kind: pa.DataType) -> Leaf:
    if pa.types.is_boolean(kind):
        return BoolLeaf(kind)
    return IntLeaf(kind) if pa.types.is_integer(kind) else FloatLeaf(kind)
