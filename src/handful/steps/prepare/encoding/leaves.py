"""The numbers at the bottom of a feature, brought to exactly the type that is saved.

One rule for all: a number is saved as it is, or not at all. Whole numbers fit into whole types that
are wide enough (True counts as 1), and into floats that hold them exactly; floats are rounded to
their type and stay finite; booleans are nothing but True and False. A tensor has int64 and float32,
so that what these cannot hold fits nowhere.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from handful.steps.prepare.encoding.values import Misfit, found, plain, told, unwrap_value

Array = npt.NDArray[Any]
Buffer = Any
"""[N] numbers of the leaf's dtype, one after the other: an `array.array` or a NumPy array."""
_BOOL, _INT64 = np.dtype(bool), np.dtype(np.int64)
_PYTHONS = (np.dtype(np.float64), _INT64, _BOOL)
"""What NumPy makes of Python's own numbers."""
_TENSOR_INT = int(np.iinfo(_INT64).max)


class BadItem(Misfit):
    """The first of some values that does not fit, by its place among them."""

    def __init__(self, place: int, words: str) -> None:
        super().__init__(words)
        self.place = place


class Leaf(Protocol):
    """How values of one type become numbers that Arrow can take as they are."""

    @property
    def arrow(self) -> pa.DataType:
        """The type that is saved."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The same for NumPy."""

    def from_list(self, items: Sequence[Any]) -> Buffer:
        """[N] values of any kind as numbers; `BadItem` names the first that does not fit."""

    def from_array(self, values: Array) -> Buffer:
        """The same, of a one-dimensional NumPy array that is not empty."""


def _dtype(kind: pa.DataType) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return dtype


@dataclass(frozen=True)
class IntLeaf:
    """Whole numbers."""

    arrow: pa.DataType

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return _dtype(self.arrow)

    @cached_property
    def _range(self) -> tuple[int, int]:
        mine = np.iinfo(self.dtype)
        return int(mine.min), min(int(mine.max), _TENSOR_INT)

    @cached_property
    def _code(self) -> str:
        """Of `array`; NumPy has the same letters. An unsigned one of 64 bits is not quick."""
        return self.dtype.char if self.dtype != np.uint64 else ""

    def from_list(self, items: Sequence[Any]) -> Buffer:
        if items and self._code and type(items[0]) in (int, bool):
            try:  # it takes no text, no float and no None, and nothing that is too large
                return array(self._code, items)
            except Exception:  # noqa: BLE001, S110 # nosec B110
                pass
        return np.array([self._one(place, item) for place, item in enumerate(items)], self.dtype)

    def from_array(self, values: Array) -> Buffer:
        if values.dtype == self.dtype and self.dtype.kind == "i":
            return values
        low, high = self._range
        if values.dtype.kind in "iub" and low <= int(values.min()) and int(values.max()) <= high:
            return values.astype(self.dtype)
        return self.from_list(values.tolist())

    def _one(self, place: int, item: Any) -> int:
        value = unwrap_value(item)
        if not isinstance(value, int):
            raise _wrong_kind(place, value)
        low, high = self._range
        if not low <= value <= high:
            holder = "a tensor (int64)" if _TENSOR_INT < value < 1 << 64 else self.dtype.name
            name = holder if self.dtype == np.uint64 else self.dtype.name
            raise BadItem(place, f"the int {told(value)}, which {name} cannot hold")
        return int(value)


@dataclass(frozen=True)
class FloatLeaf:
    """Floats, all of them finite."""

    arrow: pa.DataType

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        return _dtype(self.arrow)

    @cached_property
    def _exact(self) -> int:
        """All whole numbers below this one are floats of this type."""
        return 1 << int(np.finfo(self.dtype).nmant) + 1

    def from_list(self, items: Sequence[Any]) -> Buffer:
        values = self._small(items)
        if values is not None:
            return values.astype(self.dtype)
        made = None
        if set(map(type, items)) == {float}:
            made = self._round_to_dtype(np.frombuffer(array("d", items), np.float64))
        if made is not None:
            return made
        return np.array([self._one(place, item) for place, item in enumerate(items)], self.dtype)

    def from_array(self, values: Array) -> Buffer:
        kind = values.dtype.kind
        exact = kind in "iu" and -int(values.min()) < self._exact > int(values.max())
        made = self._round_to_dtype(values) if kind in "fb" or exact else None
        return self.from_list(values.tolist()) if made is None else made

    def _small(self, items: Sequence[Any]) -> Array | None:
        """The usual numbers, so small that even a whole one among them stays what it is."""
        try:
            values = np.array(items)
        except Exception:  # noqa: BLE001 - an item's own method may raise anything
            return None
        if values.ndim != 1 or values.dtype not in _PYTHONS or not values.size:
            return None
        # A NaN is neither above nor below.
        small = values.min() > -self._exact and values.max() < self._exact
        return values if small else None

    def _round_to_dtype(self, values: Array) -> Array | None:
        """None if one of them is not finite, be it only in a tensor."""
        with np.errstate(over="ignore"):
            made = values.astype(self.dtype, copy=False)
            tensor = made if self.dtype.itemsize <= 4 else made.astype(np.float32)
        return made if np.isfinite(tensor).all() else None

    def _one(self, place: int, item: Any) -> float:
        value = unwrap_value(item)
        if not isinstance(value, float | int | Fraction | Decimal):
            raise _wrong_kind(place, value)
        number = _convert_leaf_float(value)
        shown = f"the {type(value).__name__} {told(value)}"
        if number is None:
            raise BadItem(place, f"{shown}, and every number has to be finite")
        made = self._round_to_dtype(np.array([number]))
        if made is None:
            holder = self.dtype.name if self.dtype.itemsize <= 4 else "a tensor (float32)"
            raise BadItem(place, f"{shown}, which {holder} cannot hold")
        if isinstance(value, int) and int(made[0]) != value:
            raise BadItem(place, f"{shown}, which {self.dtype.name} cannot hold exactly")
        return number


def _convert_leaf_float(value: Any) -> float | None:
    """As a float of Python's, infinite where that ends; None if the value itself has no end."""
    if isinstance(value, float | Decimal):
        is_finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
        return float(value) if is_finite else None
    try:
        return float(value)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class BoolLeaf:
    """True and False."""

    arrow: pa.DataType

    @property
    def dtype(self) -> np.dtype[Any]:
        return _BOOL

    def from_list(self, items: Sequence[Any]) -> Buffer:
        if not set(map(type, items)) <= {bool}:
            items = [self._one(place, item) for place, item in enumerate(items)]
        return np.array(items, bool)

    def from_array(self, values: Array) -> Buffer:
        return values if values.dtype == bool else self.from_list(values.tolist())

    def _one(self, place: int, item: Any) -> bool:
        value = unwrap_value(item)
        if not isinstance(value, bool):
            raise _wrong_kind(place, value)
        return value


@dataclass(frozen=True)
class ClassLeaf:
    """Ids of classes, given as such or by name; -1 stands for none, as `datasets` has it."""

    names: tuple[str, ...]
    arrow: pa.DataType

    @property
    def dtype(self) -> np.dtype[Any]:
        return _INT64

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def from_list(self, items: Sequence[Any]) -> Buffer:
        return np.array([self._one(place, item) for place, item in enumerate(items)], self.dtype)

    def from_array(self, values: Array) -> Buffer:
        if values.dtype.kind in "iu" and values.min() >= -1 and values.max() < len(self.names):
            return values.astype(self.dtype)
        return self.from_list(values.tolist())

    def _one(self, place: int, item: Any) -> int:
        value = item if type(item) in (int, str) else unwrap_value(item)
        if isinstance(value, str):
            if value not in self._ids:
                raise BadItem(place, f"the unknown class {told(str(value))}")
            return self._ids[value]
        if not isinstance(value, int):
            raise _wrong_kind(place, value)
        if not -1 <= value < len(self.names):
            words = f"the int {told(value)}, which is no id of its {len(self.names)} classes"
            raise BadItem(place, words)
        return int(value)


def _wrong_kind(place: int, value: Any) -> BadItem:
    value = plain(value)
    if isinstance(value, list):
        return BadItem(place, f"{found(value)} (nested one level too deep)")
    return BadItem(place, "None" if value is None else f"{found(value)} {told(value)}")
