"""A glance at a value: does it look as its feature wants it, judged by nesting and first value?

Arrow bends much until it fits (the text "3" to a number, an array of another shape), and looking at
every value of every row would take longer than encoding it. Where a glance says no, `schema.misfit`
looks closer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Glance = Callable[[Any], bool]

_FAMILIES: tuple[tuple[tuple[str, ...], tuple[type, ...], str], ...] = (
    (("int", "uint"), (int,), "iu"),
    (("float", "double"), (float, int), "iuf"),
    (("string", "large_string"), (str,), ""),
    (("bool",), (bool,), "b"),
)
"""Beginnings of Arrow types; the Python types and NumPy's letters that they surely hold."""


def glance(feature: Any) -> Glance:
    """What looks at the values of this feature; it says False where it cannot tell."""
    shape = getattr(feature, "shape", None)
    if shape is not None:
        return _array_glance(tuple(shape), _letters(str(feature.dtype)))
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _list_glance(inner, getattr(feature, "length", -1))
    types = _types(feature)
    return lambda value: type(value) in types


def _list_glance(inner: Any, length: int) -> Glance:
    first, types, letters = glance(inner), _types(inner), _letters(_dtype(inner))

    def look(value: Any) -> bool:
        if length >= 0 and (not hasattr(value, "__len__") or len(value) != length):
            return False
        if type(value) is list or type(value) is tuple:
            return not value or type(value[0]) in types or first(value[0])
        dtype = getattr(value, "dtype", None)
        return getattr(dtype, "kind", "-") in letters and len(value.shape) == 1

    return look


def _array_glance(shape: tuple[int | None, ...], letters: str) -> Glance:
    def look(value: Any) -> bool:
        found = getattr(value, "shape", None)
        if found is None or getattr(getattr(value, "dtype", None), "kind", "-") not in letters:
            return False
        return len(found) == len(shape) and all(
            want is None or want == have for want, have in zip(shape, found, strict=True)
        )

    return look


def _dtype(feature: Any) -> str:
    """Of a plain value; empty for anything else."""
    import datasets

    return str(feature.dtype) if isinstance(feature, datasets.Value) else ""


def _types(feature: Any) -> tuple[type, ...]:
    dtype = _dtype(feature)
    return next((types for names, types, _ in _FAMILIES if dtype.startswith(names)), ())


def _letters(dtype: str) -> str:
    return next((letters for names, _, letters in _FAMILIES if dtype.startswith(names)), "")
