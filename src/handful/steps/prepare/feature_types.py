"""Which types of `datasets` a model can be trained on, and what the others are called.

`forward` takes tensors of numbers: whole ones, floats and booleans, class labels, and lists and
arrays of them. A text, a date, a struct or a picture cannot become one, so a feature of such a type
is refused before anything is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

_NUMBERS = (
    "encode it to numbers: Value of an int, a float or bool, ClassLabel, or a List, LargeList or "
    "Array2D to Array5D of them"
)
_REMEDIES: Mapping[str, str] = {
    "Image": "encode it to numbers, for instance datasets.Array3D of its pixels",
    "Audio": "encode it to numbers, for instance a List of Value('float32')",
    "Video": "encode it to numbers, for instance datasets.Array4D of its pixels",
    "Json": "give each number in it a field of its own",
    "Translation": "encode its texts to numbers, a field for each",
    "TranslationVariableLanguages": "encode its texts to numbers, a field for each",
    "struct": "give each of its fields a name of its own at the top of the Features",
    "null": "give it a type, or leave the field out",
    "tuple": "write datasets.List",
}
_WORDS: tuple[tuple[Any, str], ...] = (
    (pa.types.is_null, "null"),
    (pa.types.is_temporal, "encode it to numbers, for instance seconds as Value('float32')"),
    (pa.types.is_decimal, "encode it as Value('float32') or Value('float64')"),
)


def described(feature: Any) -> str:
    """A feature as a person would say it."""
    if isinstance(feature, Mapping):
        inside = ", ".join(f"{name}: {described(one)}" for name, one in feature.items())
        return f"{{{inside}}}"
    shape = getattr(feature, "shape", None)
    if shape is not None:
        return f"array {tuple(shape)} of {feature.dtype}"
    inner = getattr(feature, "feature", None)
    if inner is not None:
        length = getattr(feature, "length", -1)
        return f"list of {f'{length} ' if length >= 0 else ''}{described(inner)}"
    if isinstance(getattr(feature, "names", None), list | tuple):
        return f"class label of {len(feature.names)}"
    if _is(feature, "Value"):
        return str(feature.dtype)
    return f"the class {feature.__name__}" if isinstance(feature, type) else type(feature).__name__


def untrainable(feature: Any) -> tuple[str, str] | None:
    """What in `feature` no tensor can be made of, and what to do; None if one can."""
    if isinstance(feature, Mapping):
        return f"a struct, {described(feature)}", _REMEDIES["struct"]
    if _is(feature, "List", "LargeList"):
        inner = untrainable(feature.feature)
        return inner and (f"a list of {inner[0].removeprefix('a struct, ')}", inner[1])
    if _is(feature, "Array2D", "Array3D", "Array4D", "Array5D"):
        told = untrainable_type(feature().storage_type)
        return told and (described(feature), told)
    if _is(feature, "ClassLabel"):
        return None
    if _is(feature, "Value"):
        told = untrainable_type(feature.pa_type)
        return told and (described(feature), told)
    if isinstance(feature, type):
        return described(feature), f"write {feature.__name__}(…), an instance of it"
    return described(feature), _REMEDIES.get(type(feature).__name__, _NUMBERS)


def untrainable_type(kind: Any) -> str | None:
    """What to do about an Arrow type that holds no numbers (in any lists); None if it does."""
    while isinstance(kind, pa.ListType):
        kind = kind.value_type
    if not isinstance(kind, pa.DataType):
        return _NUMBERS
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return None
    found = next((words for is_kind, words in _WORDS if is_kind(kind)), _NUMBERS)
    return _REMEDIES.get(found, found)


def _is(feature: Any, *names: str) -> bool:
    """Whether it is of one of these classes of datasets, or of one derived from them."""
    import datasets

    return isinstance(feature, tuple(getattr(datasets, name) for name in names))
