"""Features that `get_dataset_features` may return, crossed with what `encode_data` may give.

An oracle of its own says what has to come back, or which value is at fault: it looks at one Python
value after the other, and shares no line with what it judges.
"""

from __future__ import annotations

import datetime
import enum
import math
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import datasets
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import torch
from datasets import (
    Array2D,
    Array3D,
    Array4D,
    Array5D,
    ClassLabel,
    Features,
    LargeList,
    List,
    Value,
)

INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
CLASSES = ClassLabel(names=["a", "b", "1"])

TRAINABLE: dict[str, Any] = {
    **{name: Value(name) for name in (*INTS, *FLOATS, "bool")},
    **{f"list of {name}": List(Value(name)) for name in (*INTS, *FLOATS, "bool")},
    "class": CLASSES,
    "list of class": List(CLASSES),
    "large list of class": LargeList(CLASSES),
    "class by number": ClassLabel(num_classes=3),
    "two of int32": List(Value("int32"), length=2),
    "two of float32": List(Value("float32"), length=2),
    "two of class": List(CLASSES, length=2),
    "large list of int16": LargeList(Value("int16")),
    "large list of float32": LargeList(Value("float32")),
    "list of list of int16": List(List(Value("int16"))),
    "list of two of int64": List(List(Value("int64"), length=2)),
    "two of list of float32": List(List(Value("float32")), length=2),
    "list of large list of bool": List(LargeList(Value("bool"))),
    "large list of list of class": LargeList(List(CLASSES)),
    "lists of three levels": List(List(List(Value("uint8")))),
    "array 2x3 of float32": Array2D((2, 3), "float32"),
    "array 2x3 of int8": Array2D((2, 3), "int8"),
    "array 2x2 of bool": Array2D((2, 2), "bool"),
    "array ?x2 of int32": Array2D((None, 2), "int32"),
    "array 1x2x2 of float16": Array3D((1, 2, 2), "float16"),
    "array 2x1x1x2 of uint8": Array4D((2, 1, 1, 2), "uint8"),
    "array 1x1x1x1x2 of float64": Array5D((1, 1, 1, 1, 2), "float64"),
    "list of array ?x2 of int16": List(Array2D((None, 2), "int16")),
}
"""By a name of the table."""

UNTRAINABLE: dict[str, tuple[Any, str]] = {
    "string": (Value("string"), "is string, which forward"),
    "large_string": (Value("large_string"), "is large_string, which forward"),
    "string_view": (Value("string_view"), "is string_view, which forward"),
    "binary": (Value("binary"), "is binary, which forward"),
    "large_binary": (Value("large_binary"), "is large_binary, which forward"),
    "fixed binary": (Value("fixed_size_binary[4]"), r"is fixed_size_binary\[4\], which forward"),
    "date32": (Value("date32"), "is date32, which .* seconds"),
    "date64": (Value("date64"), "is date64, which .* seconds"),
    "time32": (Value("time32[s]"), r"is time32\[s\], which .* seconds"),
    "time64": (Value("time64[ns]"), r"is time64\[ns\], which .* seconds"),
    "timestamp": (Value("timestamp[us, tz=UTC]"), r"is timestamp\[us, tz=UTC\], which .* seconds"),
    "duration": (Value("duration[ms]"), r"is duration\[ms\], which .* seconds"),
    "decimal128": (Value("decimal128(10, 2)"), r"is decimal128\(10, 2\), which .*float64"),
    "decimal256": (Value("decimal256(40, 2)"), r"is decimal256\(40, 2\), which .*float64"),
    "null": (Value("null"), "is null, which .* give it the type"),
    "uuid": (Value("uuid"), "is uuid, which forward"),
    "list of string": (List(Value("string")), "is a list of string, which forward"),
    "list of list of null": (List(LargeList(Value("null"))), "is a list of a list of null, which"),
    "array of string": (Array2D((1, 2), "string"), r"is array \(1, 2\) of string, which forward"),
    "struct": ({"a": Value("int32")}, r"is a struct, \{a: int32\}, which .*a name of its own"),
    "sequence of struct": (
        datasets.Sequence({"a": Value("int32"), "b": CLASSES}),
        r"is a struct, \{a: list of int32, b: list of class label of 3\}, which",
    ),
    "list of struct": (List({"a": Value("int8")}), r"is a list of a struct, \{a: int8\}, which"),
    "Image": (datasets.Image(), "is Image, which .*Array3D"),
    "list of Image": (List(datasets.Image()), "is a list of Image, which .*Array3D"),
    "Audio": (datasets.Audio(sampling_rate=8000), "is Audio, which forward"),
    "Video": (datasets.Video(), "is Video, which forward"),
    "Pdf": (datasets.Pdf(), "is Pdf, which forward"),
    "Json": (datasets.Json(), "is Json, which .*each number"),
    "Translation": (datasets.Translation(["de", "en"]), "is Translation, which .*its texts"),
    "variable Translation": (
        datasets.TranslationVariableLanguages(languages=["de", "en"]),
        "is TranslationVariableLanguages, which .*its texts",
    ),
}
"""Name → a feature that no model can be trained on, and what is told of it."""

IMPOSSIBLE: dict[str, tuple[Any, str]] = {
    "an open second dimension": (Array2D((2, None), "int32"), "only dynamic size on first"),
    "a shape of three": (Array2D((1, 2, 3), "int32"), "ndims=2 don't match"),
    "a type of arrays alone": (Array2D((1, 2), "float"), "Neither float nor float_"),
    "a list of nothing": (
        List(Value("int8"), length=0),
        "is list of 0 int8, which .*a length of 1",
    ),
    "a tuple": ((Value("int8"),), "is tuple, which .*write datasets.List"),
    "a class": (Value, r"is the class Value, which .*write Value\("),
    "an Arrow type": (pa.int32(), "is DataType, which forward"),
    "a text": ("int32", "is str, which forward"),
}
"""Name → what is no feature at all, and what is told of it."""


class Colour(enum.IntEnum):
    RED = 1


def _numpy() -> Mapping[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for code in "?bBhHiIlLqQefdgFDSUO":
        pair = np.array([1, 0]).astype(code)
        name = f"np {pair.dtype}"
        found |= {
            f"{name} scalar": lambda p=pair: p[0],
            f"{name} 0-d": lambda p=pair: np.array(p[0], p.dtype),
            f"{name} array": lambda p=pair: p.copy(),
            f"{name} empty": lambda p=pair: p[:0],
            f"{name} 2x3": lambda p=pair: np.zeros((2, 3), p.dtype),
            f"{name} 2x2": lambda p=pair: np.array([p, p]),
            f"{name} 1x2x2": lambda p=pair: np.array([[p, p]]),
            f"{name} big-endian": lambda p=pair: p.astype(p.dtype.newbyteorder(">")),
            f"{name} big-endian 2x2": lambda p=pair: np.array([p, p], p.dtype.newbyteorder(">")),
            f"{name} list of scalars": lambda p=pair: list(p),
            f"{name} list of arrays": lambda p=pair: [p, p],
            f"{name} ragged list of arrays": lambda p=pair: [p, p[:1]],
        }
    return found


def _torch() -> Mapping[str, Callable[[], Any]]:
    kinds = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32")
    found: dict[str, Callable[[], Any]] = {}
    for kind in (*kinds, "float64", "complex64"):
        pair = torch.tensor([1, 0]).to(getattr(torch, kind))
        found |= {
            f"torch {kind} scalar": lambda p=pair: p[0],
            f"torch {kind}": lambda p=pair: p,
            f"torch {kind} empty": lambda p=pair: p[:0],
            f"torch {kind} 2x3": lambda p=pair: torch.zeros(2, 3).to(p.dtype),
            f"torch {kind} 2x2": lambda p=pair: torch.stack([p, p]),
            f"torch {kind} list of scalars": lambda p=pair: list(p),
            f"torch {kind} list of tensors": lambda p=pair: [p, p],
        }
    return found


def _of_numbers() -> Mapping[str, Callable[[], Any]]:
    """Single numbers, and lists of them: alone, between others, and as arrays."""
    numbers = (
        *(0, 1, -1, -2, 2, 3, 127, 128, 255, 256, 2**15, 2**24, 2**24 + 1, 2**31, 2**53 + 1),
        *(2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**40, -(10**400)),
        *(True, False, 0.0, -0.0, 1.0, 1.5, 0.1, math.nan, math.inf, -math.inf, 7e4, 1e39, -1e300),
        *(5e-324, 65519.0, 65520.0, 3.4028235e38, 3.4028236e38, Colour.RED, None),
        *("a", "b", "1", "c", "", b"a", Decimal("0.5"), Decimal("1e400"), Decimal("NaN")),
        *(Decimal("Infinity"), Fraction(1, 3), Fraction(10**400), 1j, datetime.date(2026, 1, 1)),
        *(np.datetime64(5, "ns"), np.timedelta64(5, "ns"), np.float32(0.1), np.str_("a"), pd.NA),
    )
    found: dict[str, Callable[[], Any]] = {}
    for one in numbers:
        name = f"{type(one).__name__} {str(one)[:12]}"
        found |= {
            name: lambda o=one: o,
            f"[{name}]": lambda o=one: [o],
            f"[1, {name}]": lambda o=one: [1, o],
            f"[[1, {name}], [0, 1]]": lambda o=one: [[1, o], [0, 1]],
        }
    return found


VALUES: dict[str, Callable[[], Any]] = {
    **_of_numbers(),
    "[]": list,
    "()": tuple,
    "[[]]": lambda: [[]],
    "[[], []]": lambda: [[], []],
    "a tuple": lambda: (1, 0),
    "text among ints": lambda: [1, "2", 3],
    "ints and floats": lambda: [1, 2.0],
    "a mask with bools": lambda: [1, True, 0, False],
    "bools": lambda: [True, False],
    "classes": lambda: ["a", "b"],
    "classes and ids": lambda: ["a", 1, -1],
    "2x2": lambda: [[1, 0], [0, 1]],
    "2x3": lambda: [[1, 2, 3], [4, 5, 6]],
    "2x3 of floats": lambda: [[0.5, 2, 3], [4, 5, 6]],
    "3x2": lambda: [[1, 2], [3, 4], [5, 6]],
    "ragged": lambda: [[1], [2, 3]],
    "ragged with None": lambda: [[1, 2, 3], None],
    "None inside": lambda: [[1, 2, 3], [4, None, 6]],
    "a row of text": lambda: [[1, 2, 3], ["4", "5", "6"]],
    "1x2x2": lambda: [[[1, 0], [0, 1]]],
    "2x1x1x2": lambda: [[[[1, 0]]], [[[0, 1]]]],
    "1x1x1x1x2": lambda: [[[[[1, 0]]]]],
    "an array in lists": lambda: [[np.array([1, 0]), np.array([0, 1])]],
    "an array among lists": lambda: [np.array([1, 0]), [0, 1]],
    "a list among arrays": lambda: [[0, 1, 2], np.array([1, 0, 2])],
    "arrays of several types": lambda: [np.array([1, 0]), np.array([0.5, 1])],
    "ragged object array": lambda: np.array([np.array([1]), np.array([1, 0])], object),
    "object array with None": lambda: np.array([1, None], object),
    "strided": lambda: np.arange(4)[::2],
    "in Fortran's order": lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
    "transposed": lambda: np.arange(6).reshape(3, 2).T,
    "read-only": lambda: np.broadcast_to(np.int32(1), (2,)),
    "0x3": lambda: np.zeros((0, 3)),
    "2x0": lambda: np.zeros((2, 0)),
    "0x2": lambda: np.zeros((0, 2)),
    "masked": lambda: np.ma.masked_array([1, 2], [True, False]),
    "masked nowhere": lambda: np.ma.masked_array([1, 2], [False, False]),
    "structured": lambda: np.zeros(2, [("a", int), ("b", float)]),
    "dates": lambda: np.array([1, 2], "datetime64[ns]"),
    "durations": lambda: np.array([1, 2], "timedelta64[ns]"),
    "nan in an array": lambda: np.array([1, np.nan]),
    "too large in an array": lambda: np.array([1, 1e39]),
    "too large ints": lambda: np.array([1, 2**40]),
    "a byte too large": lambda: np.array([[1, 2, 300], [0, 0, 0]]),
    "uint64 beyond int64": lambda: np.array([1, 2**64 - 1], np.uint64),
    **_numpy(),
    **_torch(),
    "a tensor with a gradient": lambda: torch.ones(2, requires_grad=True),
    "a tensor of one": lambda: [torch.tensor([1]), torch.tensor([0])],
    "a sparse tensor": lambda: torch.tensor([1, 0]).to_sparse(),
    "a negated view": lambda: torch.tensor([1j]).conj().imag,
    "array.array": lambda: array("i", [1, 0]),
    "memoryview": lambda: memoryview(b"\x01\x00"),
    "bytes": lambda: b"\x01\x00",
    "bytearray": lambda: bytearray(b"\x01\x00"),
    "range": lambda: range(2),
    "deque": lambda: deque([1, 0]),
    "a set": lambda: {1, 0},
    "a dict": lambda: {"a": 1},
    "a generator": lambda: (one for one in (1, 0)),
    "a function": lambda: len,
    "a class itself": lambda: int,
    "Series": lambda: pd.Series([1, 0]),
    "Series with NA": lambda: pd.Series([1, None], dtype="Int64"),
    "DataFrame": lambda: pd.DataFrame({"a": [1, 0], "b": [0, 1]}),
    "pyarrow": lambda: pa.array([1, 0]),
    "pyarrow with null": lambda: pa.array([1, None]),
    "PIL, grey": lambda: PIL.Image.new("L", (3, 2)),
    "PIL, colours": lambda: PIL.Image.new("RGB", (2, 2)),
}
"""By a name of the table: what makes a value, anew each time."""


class Refused(Exception):
    """The oracle's verdict: with the value that is at fault, or None where it is the shape."""


def expected(feature: Any, value: Any) -> Any:
    """What has to come back for `value`, in Python's own lists and numbers; else `Refused`."""
    return _expected(feature, _python(value))


def _python(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return [
            None if masked else _python(one) for one, masked in zip(value, value.mask, strict=True)
        ]
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            raise Refused(None)
        value = value.detach()
        return [_python(one) for one in value] if value.ndim else value.item()
    if isinstance(value, pd.Series | pd.DataFrame):
        value = value.to_numpy()
    if isinstance(value, np.ndarray) and value.ndim:
        return [_python(one) for one in value]
    if isinstance(value, np.generic | np.ndarray):
        kind = value.dtype.kind
        if kind in "fbiu":
            return {"f": float, "b": bool, "i": int, "u": int}[kind](value)
        return value.item() if kind in "OUS" else value
    if isinstance(value, pa.Array | memoryview | array):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_python(one) for one in value]
    return value


def _expected(feature: Any, value: Any) -> Any:
    if hasattr(feature, "shape"):
        return _array(tuple(feature.shape), feature.dtype, value)
    if isinstance(feature, List | LargeList):
        if not isinstance(value, list):
            raise Refused(None)
        if getattr(feature, "length", -1) not in (-1, len(value)):
            raise Refused(None)
        return [_expected(feature.feature, one) for one in value]
    if isinstance(feature, ClassLabel):
        if isinstance(value, str) and value in feature.names:
            return feature.names.index(value)
        if isinstance(value, int) and -1 <= value < len(feature.names):
            return int(value)
        raise Refused(value)
    return _number(feature.dtype, value)


def _array(shape: tuple[int | None, ...], dtype: str, value: Any) -> Any:
    if not shape:
        return _number(dtype, value)
    if not isinstance(value, list) or shape[0] not in (None, len(value)):
        raise Refused(None)
    return [_array(shape[1:], dtype, one) for one in value]


def _number(dtype: str, value: Any) -> Any:
    if dtype == "bool":
        if not isinstance(value, bool):
            raise Refused(value)
        return value
    if dtype in INTS:
        limits = np.iinfo(dtype)
        if not isinstance(value, int) or not limits.min <= value <= min(limits.max, 2**63 - 1):
            raise Refused(value)
        return int(value)
    if not isinstance(value, int | float | Decimal | Fraction):
        raise Refused(value)
    try:
        with np.errstate(over="ignore"):
            made = np.dtype(dtype).type(float(value))
            finite = np.isfinite(made) and np.isfinite(np.float32(made))
    except (OverflowError, ValueError):
        finite = False
    if not finite or (isinstance(value, int) and int(made) != value):
        raise Refused(value)
    return float(made)


def good(feature: Any) -> Any:
    """A value that fits, for the neighbours."""
    if hasattr(feature, "shape"):
        return np.ones([size or 2 for size in feature.shape], feature.dtype).tolist()
    if isinstance(feature, List | LargeList):
        return [good(feature.feature)] * max(2, getattr(feature, "length", 2))
    return True if getattr(feature, "dtype", "") == "bool" else 1


def features_of(feature: Any) -> Features:
    return Features({"x": feature})
