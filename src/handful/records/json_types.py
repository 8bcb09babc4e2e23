"""JSON → a frozen dataclass, each value of the type that its field says.

A file of the store may have been edited, or be another program's: what is wrong with it is told
where it is read, and not by whoever stumbles over it later.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Moment = Annotated[str, "ISO 8601, with its distance from UTC"]
"""A time, as JSON has it."""


def loads(data: bytes | str) -> Any:
    """What the JSON says; ValueError if it is none, or nested deeper than Python can follow."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def from_json(cls: type[T], raw: Any, where: str = "") -> T:
    """The `cls` that `raw` describes; what it has beside that is passed over.

    Lists become tuples, all the way down. Raises ValueError, or TypeError where entries are
    missing, with the place in `raw` that is at fault.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{where or 'it'} is no JSON object")
    hints = _hints(cls)
    known = {
        one.name: _check_json_type(
            hints[one.name], raw[one.name], f"{where}.{one.name}".lstrip(".")
        )
        for one in fields(cls)  # type: ignore[arg-type]
        if one.name in raw
    }
    missing = [
        one.name
        for one in fields(cls)  # type: ignore[arg-type]
        if one.name not in known and one.default is MISSING and one.default_factory is MISSING
    ]
    if missing:
        raise TypeError(f"{where or 'it'} has no {' and no '.join(map(repr, missing))}")
    return cls(**known)


def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _check_json_type(kind: Any, value: Any, where: str) -> Any:
    """`value`, frozen, if it is of the type `kind`; ValueError if it is not."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return _freeze_json_lists(value)
    if kind is Moment:
        return _check_json_moment(value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _check_json_type(next(one for one in inner if one is not type(None)), value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no JSON object")
        return {
            _scalar(inner[0], key, f"a key of {where}"): _check_json_type(
                inner[1], one, f"{where}[{key!r}]"
            )
            for key, one in value.items()
        }
    if origin is tuple:
        return _tuple(inner, value, where)
    if hasattr(kind, "__dataclass_fields__"):
        return from_json(kind, value, where)
    return _scalar(kind, value, where)


def _tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is no list")
    kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} entries instead of {len(kinds)}")
    return tuple(
        _check_json_type(kind, one, f"{where}[{number}]")
        for number, (kind, one) in enumerate(zip(kinds, value, strict=True))
    )


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        if value not in [one.value for one in kind]:
            raise ValueError(f"{where} is none of {', '.join(str(one.value) for one in kind)}")
        return kind(value)
    # A whole number may have been written as 3.0, and a fraction as 3; true is no number.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and is_number and value == value // 1:
        return int(value)
    if kind is float and is_number:
        return value
    if kind in (str, bool) and type(value) is kind and not _is_torn(value):
        return value
    names = {int: "whole number", float: "number", str: "text", bool: "truth value"}
    raise ValueError(f"{where} is no {names[kind]}")


def _is_torn(value: str | bool) -> bool:
    """Is it text with half of a surrogate pair, which cannot be written anywhere?"""
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _check_json_moment(value: Any, where: str) -> str:
    try:
        if datetime.fromisoformat(value).tzinfo is not None:
            return str(value)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"{where} is no time of ISO 8601 with its distance from UTC")


def _freeze_json_lists(value: Any) -> Any:
    """JSON's lists as tuples, all the way down."""
    if isinstance(value, list):
        return tuple(_freeze_json_lists(item) for item in value)
    if isinstance(value, dict):
        return {key: _freeze_json_lists(item) for key, item in value.items()}
    return value
