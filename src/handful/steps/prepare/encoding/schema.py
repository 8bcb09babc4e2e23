"""Holds what `encode_data` returns against what `get_dataset_features` promised.

Features that nothing can be trained on, missing and extra fields, wrong nesting, a wrong type, and
a label that does not fit are told apart, each with the field, what was expected, what was found,
and the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.errors import DataError, Fault, FunctionsError
from handful.steps.prepare.encoding.columns import Column, Columns
from handful.steps.prepare.encoding.feature_types import describe_feature_type, untrainable
from handful.steps.prepare.encoding.values import Misfit, found, plain

if TYPE_CHECKING:
    import datasets

ARTIFACT_ID, LENGTH, LABELS = "artifact_id", "length", "labels"
OURS = frozenset({ARTIFACT_ID, LENGTH, LABELS})
_MAX_SCHEMA_ITEMS_SHOWN = 8
_FEATURES_FAULT_PLACE = "functions.py get_dataset_features"


@dataclass(frozen=True)
class FieldCheck:
    """One field of one instance; or an instance for which `encode_data` raised."""

    field: str
    expected: str
    found: str
    ok: bool
    artifact: str
    raised: bool = False
    place: str = ""
    """File and line of the user's own code, if it raised."""

    def __str__(self) -> str:
        return (
            f"field {self.field}: expected {self.expected}, found {self.found}, "
            f"in artifact {self.artifact}"
        )


def row_features(promised: Any, label2id: Mapping[str, int] | None = None) -> datasets.Features:
    """The user's features with `labels`, `artifact_id` and `length`, as rows are saved.

    Raises `FunctionsError`, which names every field that is at fault, if they cannot be saved so,
    or if no model can be trained on them.
    """
    import datasets

    if not isinstance(promised, datasets.Features):
        raise _wrong(f"returned {type(promised).__name__}; datasets.Features are wanted")
    taken = {ARTIFACT_ID, LENGTH} & set(promised)
    if taken:
        raise _wrong(f"has a field {taken.pop()!r}, a name that handful's own column has")
    faults = [fault for name, feature in promised.items() for fault in _faults(name, feature)]
    if faults:
        raise FunctionsError(faults)
    rows = _as_saved(promised)
    labels = rows.setdefault(LABELS, datasets.Value("int64"))
    if label2id is not None and isinstance(labels, datasets.ClassLabel):
        _check_class_label_names(labels.names, label2id)
    rows[ARTIFACT_ID] = datasets.Value("string")
    rows[LENGTH] = datasets.Value("int32")
    return rows


def _faults(name: Any, feature: Any) -> Iterator[Fault]:
    import datasets

    if not isinstance(name, str):
        yield Fault(
            _FEATURES_FAULT_PLACE, f"has a field {name!r}, which is no text", "names are texts"
        )
        return
    if name == LABELS:
        whole = isinstance(feature, datasets.Value) and feature.dtype == "int64"
        if not whole and not isinstance(feature, datasets.ClassLabel):
            remedy = "leave it out (it is added), or make it datasets.Value('int64')"
            yield Fault(
                _FEATURES_FAULT_PLACE,
                f"field 'labels' is {describe_feature_type(feature)}, not int64",
                remedy,
            )
        return
    try:
        if is_dataclass(feature) and not isinstance(feature, type):
            feature = _as_saved(datasets.Features({name: feature}))[name]
        told = untrainable(feature)
        if told is None:
            datasets.Features({name: feature}).arrow_schema  # noqa: B018 - it may be impossible
    except (TypeError, ValueError) as error:  # Arrow's own errors, too
        what = " ".join(str(error).split())
        yield Fault(_FEATURES_FAULT_PLACE, f"field {name!r} is no type that can be: {what}")
        return
    if told:
        what, remedy = told
        yield Fault(
            _FEATURES_FAULT_PLACE, f"field {name!r} is {what}, which forward() cannot take", remedy
        )


def _as_saved(promised: datasets.Features) -> datasets.Features:
    """The same in Python's own numbers and lists, as they come back out of JSON."""
    import datasets

    def bare(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        return list(value) if isinstance(value, Sequence) else str(value)

    told = json.dumps(promised.to_dict(), default=bare)
    return datasets.Features.from_dict(json.loads(told))


def _check_class_label_names(names: Sequence[str], label2id: Mapping[str, int]) -> None:
    """Class names that are numbers from 0 on name nothing; others have to be the labels."""
    in_order = sorted(label2id, key=label2id.__getitem__)
    numbered = [str(number) for number in range(len(names))]
    if list(map(str, names)) in (in_order, numbered) and len(names) >= len(in_order):
        return
    raise _wrong(
        f"field 'labels' is a ClassLabel of other names, or in another order, than label2id: "
        f"{', '.join(map(str, names[:_MAX_SCHEMA_ITEMS_SHOWN]))}"
        f"{' …' if len(names) > _MAX_SCHEMA_ITEMS_SHOWN else ''}",
        "write ClassLabel(names=sorted(label2id, key=label2id.get)), or leave it out",
    )


def _wrong(what: str, remedy: str = "") -> FunctionsError:
    return FunctionsError([Fault(_FEATURES_FAULT_PLACE, what, remedy)])


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
    mine = Columns({n: one for n, one in features.items() if n not in OURS})
    for name, feature in features.items():
        if name in (ARTIFACT_ID, LENGTH) or (name == LABELS and name not in encoded):
            continue
        expected = describe_feature_type(feature)
        if name not in encoded:
            yield FieldCheck(name, expected, "missing", False, artifact)
        elif name == LABELS:
            yield _label_check(feature, encoded[name], label, artifact, label2id)
        else:
            yield FieldCheck(
                name, expected, *_check_column_value(mine[name], encoded[name]), artifact
            )
    for name in encoded:
        if name not in features:
            what = f"an extra field ({shown(encoded[name])})"
            yield FieldCheck(str(name), "no such field", what, False, artifact)


def _check_column_value(column: Column, value: Any) -> tuple[str, bool]:
    """What was found, and whether it fits."""
    try:
        column.plain(value)
    except Misfit as fault:
        return str(fault), False
    return shown(value), True


def shown(value: Any) -> str:
    """The type of any value, as a person would say it."""
    try:
        return found(plain(value))
    except Misfit as fault:
        return str(fault)


def _label_check(
    feature: Any, value: Any, label: str, artifact: str, label2id: Mapping[str, int]
) -> FieldCheck:
    wanted = label2id[label]
    fault = label_fault(value, wanted, len(label2id), class_name(feature, label))
    told = f"int64, {wanted} for {label!r}"
    return FieldCheck(LABELS, told, fault or str(plain(value)), not fault, artifact)


def class_name(feature: Any, label: str) -> str | None:
    """By which text the label may be given, too: its name, where `labels` is a ClassLabel."""
    return label if label in getattr(feature, "names", ()) else None


def label_fault(value: Any, wanted: int, labels: int, name: str | None = None) -> str:
    """What is wrong with an encoded label; empty if it is the ledger's, or its `name`."""
    try:
        value = plain(value)
    except Misfit as fault:
        return str(fault)
    if name is not None and value == name:
        return ""
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
    rest = (
        f"\n    and {len(lines) - _MAX_SCHEMA_ITEMS_SHOWN} more"
        if len(lines) > _MAX_SCHEMA_ITEMS_SHOWN
        else ""
    )
    raise DataError(
        "what it returns does not fit get_dataset_features:\n    "
        + "\n    ".join(lines[:_MAX_SCHEMA_ITEMS_SHOWN])
        + rest,
        where="functions.py encode_data",
        remedy="change one of the two functions",
    )


def functions_at_fault(checks: Sequence[FieldCheck]) -> list[FieldCheck]:
    """The checks of a sample that tell of a fault of the functions, not of odd documents.

    Most of the sample does not fit, or a label is not the ledger's.
    """
    encoded = {check.artifact for check in checks if not check.raised}
    wrong = [check for check in checks if not check.ok and not check.raised]
    if 2 * len({check.artifact for check in wrong}) > len(encoded):
        return wrong
    return [check for check in wrong if check.field == LABELS]


def table_rows(checks: Sequence[FieldCheck]) -> list[tuple[str, str, str, str]]:
    """One row a field for people: field, expected type, found type, "yes" or "no"."""
    worst: dict[str, FieldCheck] = {}
    for check in checks:
        if check.field not in worst or worst[check.field].ok:
            worst[check.field] = check
    return [(c.field, c.expected, c.found, "yes" if c.ok else "no") for c in worst.values()]
