"""What `encode_data` may give for a feature, and words for what it gave.

Lists, tuples, arrays of NumPy, tensors and whatever else can be read as one of them: all are looked
through to Python's own lists and numbers, or to an array of NumPy.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handful.errors.exceptions import describe_exception

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_NO_NUMBERS = "MmVc"
"""NumPy's letters for times, structures and complex numbers."""


class Misfit(ValueError):
    """A value that its feature cannot hold, in words."""


def unwrap_value(value: Any) -> Any:
    """A list, a tuple, an array [N, …] of NumPy, or a single value of Python's own.

    `Misfit` if the value's own methods fail.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE or isinstance(value, _AS_THEY_ARE):
        return value
    try:
        return _unwrap_array_like(value)
    except Exception as error:
        what = describe_exception(error)[:200]
        raise Misfit(f"{kind.__name__}, which cannot be read: {what}") from error


_AS_THEY_ARE = (list, tuple, int, float, str, bytes, bytearray, Mapping, type(None), type)


def _unwrap_array_like(value: Any) -> Any:
    if isinstance(value, np.ma.MaskedArray):
        return value.tolist()  # None where it is masked
    if isinstance(value, np.generic):
        return _unwrap_numpy_scalar(value)
    if isinstance(value, np.ndarray):
        if value.dtype.isbuiltin == 2:  # bfloat16, say: its numbers are Python's in a list
            return value.tolist()
        return _unwrap_numpy_scalar(value[()]) if value.ndim == 0 else np.asarray(value)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "__array__"):
        try:
            return _unwrap_array_like(np.asarray(value))
        except (TypeError, ValueError, RuntimeError):  # bfloat16 of a tensor, say
            pass
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if isinstance(value, Sequence) else value


def _unwrap_numpy_scalar(value: Any) -> Any:
    """A scalar of NumPy as Python's own; a date of it, which `tolist` may make an int, as it is."""
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.generic) and value.dtype.kind not in _NO_NUMBERS:
        return value.tolist()
    return value.tolist() if getattr(value, "dtype", None) and value.dtype.isbuiltin == 2 else value


def has_no_numbers(array: Any) -> bool:
    """Whether NumPy's array is of times, structures or complex numbers."""
    return array.dtype.kind in _NO_NUMBERS


def plain(value: Any) -> Any:
    """Arrays, tensors and their scalars, at any depth, as Python's own lists and numbers."""
    value = unwrap_value(value)
    if isinstance(value, np.ndarray):
        value = list(value) if has_no_numbers(value) else value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return value


def found(value: Any) -> str:
    """A plain value's type as a person would say it."""
    if value is None:
        return "None"
    if isinstance(value, list):
        kinds = list(dict.fromkeys(found(one) for one in value))
        more = " and …" if len(kinds) > 3 else ""
        return f"list of {' and '.join(kinds[:3])}{more}" if kinds else "empty list"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {found(one)}' for name, one in value.items())}}}"
    return type(value).__name__


def told(value: Any) -> str:
    """A value in a few letters."""
    return _SHORT.repr(value)
