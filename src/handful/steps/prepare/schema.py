"""Holds what `encode_data` returns against what `get_dataset_features` promised.

Missing and extra fields, wrong nesting, a wrong type, and a label that does not fit are told apart,
each with the field, what was expected, what was found, and the artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handful.errors import DataError, Fault, FunctionsError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

ARTIFACT_ID, LENGTH, LABELS = "artifact_id", "length", "labels"
_SHOWN = 8
_WHERE = "functions.py get_dataset_features"


@dataclass(frozen=True)
class FieldCheck:
    """One field of one instance; or an instance for which `encode_data` raised."""

    field: str
    expected: str
    found: str
    ok: bool
    artifact: str
    raised: bool = False

    def __str__(self) -> str:
        return (
            f"field {self.field}: expected {self.expected}, found {self.found}, "
            f"in artifact {self.artifact}"
        )


def row_features(promised: Any) -> datasets.Features:
    """The user's features with `labels`, `artifact_id` and `length`, as rows are saved.

    Raises `FunctionsError` if they cannot be saved so.
    """
    import datasets
    from datasets.features.features import require_storage_embed

    if not isinstance(promised, datasets.Features):
        raise _wrong(f"returned {type(promised).__name__}; datasets.Features are wanted")
    taken = {ARTIFACT_ID, LENGTH} & set(promised)
    if taken:
        raise _wrong(f"has a field {taken.pop()!r}, a name that handful's own column has")
    for name, feature in promised.items():
        if require_storage_embed(feature):
            raise _wrong(
                f"field {name!r} is {type(feature).__name__}, which forward() cannot take",
                "encode it to numbers, for instance datasets.Array3D",
            )
    rows = datasets.Features(promised)
    _check_labels(rows.setdefault(LABELS, datasets.Value("int64")))
    rows[ARTIFACT_ID] = datasets.Value("string")
    rows[LENGTH] = datasets.Value("int32")
    return rows


def _check_labels(feature: Any) -> None:
    import datasets

    whole = isinstance(feature, datasets.Value) and feature.dtype == "int64"
    if not whole and not isinstance(feature, datasets.ClassLabel):
        remedy = "leave it out (it is added), or make it datasets.Value('int64')"
        raise _wrong(f"field 'labels' is {described(feature)}, not int64", remedy)


def _wrong(what: str, remedy: str = "") -> FunctionsError:
    return FunctionsError([Fault(_WHERE, what, remedy)])


def flat_fields(features: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that are plain lists of numbers: the longest of them is a row's length."""
    import datasets

    return tuple(
        name
        for name, feature in features.items()
        if isinstance(feature, datasets.List | datasets.LargeList)
        and isinstance(feature.feature, datasets.Value | datasets.ClassLabel)
    )


def check_fields(
    features: Mapping[str, Any],
    encoded: Mapping[str, Any],
    label: str,
    artifact: str,
    label2id: Mapping[str, int],
) -> Iterator[FieldCheck]:
    """Every field of `features` and of `encoded`, checked."""
    for name, feature in features.items():
        if name in (ARTIFACT_ID, LENGTH) or (name == LABELS and name not in encoded):
            continue
        expected = described(feature)
        if name not in encoded:
            yield FieldCheck(name, expected, "missing", False, artifact)
        elif name == LABELS:
            yield _label_check(encoded[name], label, artifact, label2id)
        else:
            value = plain(encoded[name])
            fault = misfit(feature, value)
            yield FieldCheck(name, expected, fault or found(value), not fault, artifact)
    for name in encoded:
        if name not in features:
            what = f"an extra field ({found(plain(encoded[name]))})"
            yield FieldCheck(str(name), "no such field", what, False, artifact)


def _label_check(value: Any, label: str, artifact: str, label2id: Mapping[str, int]) -> FieldCheck:
    wanted = label2id[label]
    fault = label_fault(value, wanted, len(label2id))
    told = f"int64, {wanted} for {label!r}"
    return FieldCheck(LABELS, told, fault or str(plain(value)), not fault, artifact)


def label_fault(value: Any, wanted: int, labels: int) -> str:
    """What is wrong with an encoded label; empty if it is the ledger's."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return f"{found(value)} {value!r}" if isinstance(value, str | float) else found(value)
    if not 0 <= value < labels:
        return f"{value}, which is outside label2id (0 to {labels - 1})"
    return "" if value == wanted else f"{value}, which is another label than the ledger's"


def refuse(checks: Iterable[FieldCheck]) -> None:
    """`DataError` that names every field that does not fit (each once)."""
    wrong = {check.field: check for check in checks if not check.ok and not check.raised}
    if not wrong:
        return
    lines = [str(check) for check in wrong.values()]
    rest = f"\n    and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    raise DataError(
        "what it returns does not fit get_dataset_features:\n    "
        + "\n    ".join(lines[:_SHOWN])
        + rest,
        where="functions.py encode_data",
        remedy="change one of the two functions",
    )


# --- words for types and values ------------------------------------------------------------------


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
    names = getattr(feature, "names", None)
    if names is not None:
        return f"class label of {len(names)}"
    return str(getattr(feature, "dtype", type(feature).__name__))


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


def plain(value: Any) -> Any:
    """Arrays, tensors and their scalars as Python's own lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return value


def misfit(feature: Any, value: Any) -> str:
    """What was found that `feature` cannot hold; empty if `value` fits."""
    if isinstance(feature, Mapping):
        return _mapping_misfit(feature, value)
    shape = getattr(feature, "shape", None)
    if shape is not None:
        return _array_misfit(tuple(shape), feature.dtype, value)
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _list_misfit(inner, getattr(feature, "length", -1), value)
    names = getattr(feature, "names", None)
    if names is not None and isinstance(value, str):
        return "" if value in names else f"the unknown class {value!r}"
    return _scalar_misfit(str(getattr(feature, "dtype", "")), value)


def has_nulls(column: pa.ChunkedArray) -> bool:
    """Whether a value is missing, at any depth."""
    return any(_array_has_nulls(chunk) for chunk in column.chunks)


def _array_has_nulls(array: Any) -> bool:
    import pyarrow as pa

    if array.null_count:
        return True
    if isinstance(array, pa.ExtensionArray):
        return _array_has_nulls(array.storage)
    if isinstance(array, pa.StructArray):
        return any(_array_has_nulls(one) for one in array.flatten())
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return _array_has_nulls(array.flatten())
    return False


def _mapping_misfit(feature: Mapping[str, Any], value: Any) -> str:
    if not isinstance(value, Mapping):
        return found(value)
    if set(value) != set(feature):
        return found(value)
    faults = {name: misfit(one, value[name]) for name, one in feature.items()}
    return "; ".join(f"{fault} in {name}" for name, fault in faults.items() if fault)


def _list_misfit(inner: Any, length: int, value: Any) -> str:
    if not isinstance(value, list):
        return f"{found(value)}, not a list"
    if length >= 0 and len(value) != length:
        return f"a list of {len(value)}"
    for one in value:
        fault = misfit(inner, one)
        if fault:
            deeper = isinstance(one, list) and not hasattr(inner, "feature")
            nested = " (nested one level too deep)" if deeper else ""
            return f"list of {fault.removesuffix(nested)}{nested}"
    return ""


def _array_misfit(shape: tuple[int | None, ...], dtype: str, value: Any) -> str:
    if not shape:
        return _scalar_misfit(dtype, value)
    if not isinstance(value, list):
        return f"{found(value)}, one level of nesting too few"
    if shape[0] is not None and len(value) != shape[0]:
        return f"{len(value)} where the shape has {shape[0]}"
    faults = (_array_misfit(shape[1:], dtype, one) for one in value)
    return next((fault for fault in faults if fault), "")


def _scalar_misfit(dtype: str, value: Any) -> str:
    if isinstance(value, list | Mapping) or value is None:
        return found(value)
    if dtype.startswith(("int", "uint")):
        return _whole_misfit(dtype, value)
    if dtype.startswith(("float", "double")):
        return "" if isinstance(value, int | float) else found(value)
    if dtype in ("string", "large_string"):
        return "" if isinstance(value, str) else found(value)
    if dtype.startswith("bool"):
        return "" if isinstance(value, bool) else found(value)
    return ""  # times, decimals, bytes: Arrow itself says whether they fit


def _whole_misfit(dtype: str, value: Any) -> str:
    if not isinstance(value, int):
        return found(value)
    signed = dtype.startswith("int")
    bits = int(dtype.lstrip("uint") or 64)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return "" if low <= value <= high else f"the int {value}, which {dtype} cannot hold"


def table_rows(checks: Sequence[FieldCheck]) -> list[tuple[str, str, str, str]]:
    """One row a field for people: field, expected type, found type, "yes" or "no"."""
    worst: dict[str, FieldCheck] = {}
    for check in checks:
        if check.field not in worst or worst[check.field].ok:
            worst[check.field] = check
    return [(c.field, c.expected, c.found, "yes" if c.ok else "no") for c in worst.values()]
