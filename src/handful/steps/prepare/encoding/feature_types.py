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
    "encode it to numbers: a Value of an int or float type or bool, a ClassLabel, or a List, "
    "LargeList or Array2D to Array5D of them"
)
_REMEDIES: Mapping[str, str] = {
    "Image": "encode it to numbers, for instance datasets.Array3D of its pixels",
    "Audio": "encode it to numbers, for instance a List of Value('float32')",
    "Video": "encode it to numbers, for instance datasets.Array4D of its pixels",
    "Json": "give each number in it a field of its own",
    "Translation": "encode its texts to numbers, a field for each",
    "TranslationVariableLanguages": "encode its texts to numbers, a field for each",
    "tuple": "write datasets.List",
}
_STRUCT = "give each of its fields a name of its own at the top of the Features"
_NULL = "give it the type of its numbers, or leave the field out"
_TEMPORAL_TYPE_REMEDY = "encode it to numbers, for instance seconds as Value('float32')"
_DECIMAL = "encode it as Value('float32') or Value('float64')"


def describe_feature_type(feature: Any) -> str:
    """A feature as a person would say it."""
    if isinstance(feature, Mapping):
        inside = ", ".join(f"{name}: {describe_feature_type(one)}" for name, one in feature.items())
        return f"{{{inside}}}"
    if _is(feature, "Array2D", "Array3D", "Array4D", "Array5D"):
        return f"array {tuple(feature.shape)} of {feature.dtype}"
    if _is(feature, "List", "LargeList"):
        length = getattr(feature, "length", -1)
        return (
            f"list of {f'{length} ' if length >= 0 else ''}{describe_feature_type(feature.feature)}"
        )
    if _is(feature, "ClassLabel"):
        return f"class label of {len(feature.names)}"
    if _is(feature, "Value"):
        return str(feature.dtype)
    return f"the class {feature.__name__}" if isinstance(feature, type) else type(feature).__name__


def untrainable(feature: Any) -> tuple[str, str] | None:
    """What in `feature` no tensor can be made of, and what to do; None if one can.

    Raises what `datasets` and Arrow raise for a type that cannot be.
    """
    if isinstance(feature, Mapping):
        return f"a struct, {describe_feature_type(feature)}", _STRUCT
    if getattr(feature, "length", None) == 0:
        return describe_feature_type(feature), "give the list a length of 1 or more, or none"
    if _is(feature, "List", "LargeList"):
        inner = untrainable(feature.feature)
        return (f"a list of {inner[0]}", inner[1]) if inner else None
    if _is(feature, "ClassLabel"):
        return None
    if _is(feature, "Array2D", "Array3D", "Array4D", "Array5D"):
        remedy = _feature_type_remedy(feature().storage_type)
    elif _is(feature, "Value"):
        remedy = _feature_type_remedy(feature.pa_type)
    elif isinstance(feature, type):
        remedy = f"write {feature.__name__}(…), an instance of it"
    else:
        remedy = _REMEDIES.get(type(feature).__name__, _NUMBERS)
    return (describe_feature_type(feature), remedy) if remedy else None


def _feature_type_remedy(kind: Any) -> str:
    """What to do about an Arrow type that holds no numbers, in whatever lists; empty if it does."""
    while isinstance(kind, pa.ListType):
        kind = kind.value_type
    if not isinstance(kind, pa.DataType):
        return _NUMBERS
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return ""
    if pa.types.is_null(kind):
        return _NULL
    if pa.types.is_decimal(kind):
        return _DECIMAL
    return _TEMPORAL_TYPE_REMEDY if pa.types.is_temporal(kind) else _NUMBERS


def _is(feature: Any, *names: str) -> bool:
    """Whether it is of one of these classes of datasets, or of one derived from them."""
    import datasets

    return isinstance(feature, tuple(getattr(datasets, name) for name in names))
