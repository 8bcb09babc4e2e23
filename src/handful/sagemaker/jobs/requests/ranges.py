"""`[tune]`'s ranges as SageMaker writes them, and a trial's hyperparameters as overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handful.errors import UserError
from handful.settings import Range, TrainSection
from handful.settings.declare import keys_of

_MOST = 30
"""Of each kind of range, and of the choices of one."""


def parameter_ranges(ranges: Sequence[Range]) -> dict[str, Any]:
    """`ParameterRanges` of a tuning job. `UserError` if there are none, or too many."""
    if not ranges:
        raise UserError("there is nothing to search", where="[tune]", remedy="write a range")
    found: dict[str, list[dict[str, Any]]] = {
        "IntegerParameterRanges": [],
        "ContinuousParameterRanges": [],
        "CategoricalParameterRanges": [],
    }
    for one in ranges:
        kind, described = _range_to_parameter(one)
        found[kind].append(described)
    if max(len(group) for group in found.values()) > _MOST:
        raise UserError(f"SageMaker searches at most {_MOST} keys of a kind", where="[tune]")
    return {kind: group for kind, group in found.items() if group}


def _range_to_parameter(one: Range) -> tuple[str, dict[str, Any]]:
    name = parameter_name(one.key)
    if one.kind == "choice":
        if len(one.choices) > _MOST:
            raise UserError(f"SageMaker takes at most {_MOST} choices", where=f"[tune] {one.key}")
        values = [_format_range_choice(one.key, choice) for choice in one.choices]
        return "CategoricalParameterRanges", {"Name": name, "Values": values}
    kind = "IntegerParameterRanges" if one.kind == "int" else "ContinuousParameterRanges"
    low, high = one.low or 0.0, one.high or 0.0
    return kind, {
        "Name": name,
        "MinValue": _format_range_bound(low, one.kind),
        "MaxValue": _format_range_bound(high, one.kind),
        "ScalingType": "Logarithmic" if one.kind == "log" else "Linear",
    }


def parameter_name(key: str) -> str:
    """`LEARNING_RATE` → `train.LEARNING_RATE`; a key of `[user]` names its section already."""
    return key if key.startswith("user.") else f"train.{key}"


def overrides_of(parameters: Mapping[str, str], model: str) -> tuple[str, ...]:
    """The `--set` of a trial, out of its hyperparameters.

    A key of `[train]` is set for the model itself, since `[train:<model>]` may set it, too.
    """
    return tuple(
        f"{key}={value}" if key.startswith("user.") else f"train:{model}.{key}={value}"
        for key, value in values_of(parameters).items()
    )


def values_of(parameters: Mapping[str, str]) -> dict[str, str]:
    """The values of a trial among hyperparameters: key of `[train]`, or `user.KEY` → text."""
    found = {}
    for name, value in sorted(parameters.items()):
        section, _, key = name.partition(".")
        if section in {"train", "user"} and key:
            found[name if section == "user" else key] = value
    return found


def _format_range_bound(value: float, kind: str) -> str:
    return str(int(value)) if kind == "int" else repr(value)


def _format_range_choice(name: str, value: object) -> str:
    """A choice as settings.ini would have it."""
    if value is None and (key := keys_of(TrainSection).get(name)):
        return key.parser.nothing
    return str(value).lower() if isinstance(value, bool) else str(value)
