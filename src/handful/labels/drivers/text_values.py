"""Reads the text that a server sends for a value of one of its types, whatever the driver."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum, auto
from typing import Any

from handful.labels.values import Verbatim, decode_database_text


class Kind(StrEnum):
    """How the text of a column is read. `OBJECT` is a value that the driver has read already."""

    TEXT = auto()
    INTEGER = auto()
    YEAR = auto()
    FLOAT = auto()
    NUMERIC = auto()
    BOOLEAN = auto()
    DATE = auto()
    TIMESTAMP = auto()
    TIMESTAMPTZ = auto()
    TIME = auto()
    DURATION = auto()
    INTERVAL = auto()
    JSON = auto()
    BYTES = auto()
    BYTEA = auto()
    BITS = auto()
    LIST = auto()
    OBJECT = auto()


_TIME = re.compile(r"(\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-]\d\d(?::\d\d){0,2})?")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T]" + _TIME.pattern)
_DURATION_TEXT_PATTERN = re.compile(r"(-?)(\d+):(\d\d):(\d\d)(?:\.(\d{1,6}))?")
_INTERVAL = re.compile(
    r"(?:(?P<years>[+-]?\d+) years? ?)?(?:(?P<months>[+-]?\d+) mons? ?)?"
    r"(?:(?P<days>[+-]?\d+) days? ?)?"
    r"(?:(?P<sign>[+-]?)(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d(?:\.\d+)?))?"
)
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_JSON_TEXT_DEPTH_LIMIT = 100
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^{},"]+)')


def read(kind: Kind, raw: Any, item: Kind = Kind.TEXT) -> Any:
    """The Python value of what the server sent; `Verbatim` where Python's type cannot hold it.

    Args:
        raw: text, or bytes of `BYTES` and `BITS`; None is NULL.
        item: the kind of the items of a `LIST`.
    """
    if raw is None or kind is Kind.OBJECT:
        return raw
    if kind is Kind.LIST:
        return _list(raw, item)
    try:
        return _READERS[kind](raw)
    except (ValueError, OverflowError, InvalidOperation, KeyError):
        return Verbatim(raw if isinstance(raw, str) else decode_database_text(raw))


def _parse_server_json(raw: str) -> Any:
    """JSON may be nested deeper than Python, and whoever reads the row, can follow."""
    if (
        raw.count("[") + raw.count("{") > _JSON_TEXT_DEPTH_LIMIT
        and _depth(raw) > _JSON_TEXT_DEPTH_LIMIT
    ):
        raise ValueError(raw)
    return json.loads(raw, parse_constant=_no_json)


def _no_json(name: str) -> Any:
    """Python reads NaN and Infinity, too, which are no JSON."""
    raise ValueError(name)


def _depth(raw: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.finditer(raw):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(bracket[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _decode_server_text(raw: str | bytes) -> str:
    return raw if isinstance(raw, str) else decode_database_text(raw)


def _parse_boolean_text(raw: str) -> bool:
    return {"t": True, "f": False, "true": True, "false": False}[raw]


def _date(raw: str) -> date:
    if len(raw) != 10:  # Python reads other forms of ISO 8601, too
        raise ValueError(raw)
    return date.fromisoformat(raw)


def _iso_time(found: re.Match[str] | None, before: str) -> str:
    if found is None:
        raise ValueError
    hours, fraction, zone = found.groups()[-3:]
    return f"{before}{hours}.{(fraction or '').ljust(6, '0')}{zone or ''}"


def _timestamp(raw: str) -> datetime:
    found = _TIMESTAMP.fullmatch(raw)
    return datetime.fromisoformat(_iso_time(found, f"{found[1]}T" if found else ""))


def _time(raw: str) -> time:
    return time.fromisoformat(_iso_time(_TIME.fullmatch(raw), ""))


def _duration(raw: str) -> timedelta:
    """MySQL's TIME: a length of time, of up to 838 hours."""
    found = _DURATION_TEXT_PATTERN.fullmatch(raw)
    if not found:
        raise ValueError(raw)
    sign, hours, minutes, seconds, fraction = found.groups()
    length = timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or "").ljust(6, "0")),
    )
    return -length if sign else length


def _parse_interval_text(raw: str) -> timedelta:
    """PostgreSQL's, in its own style: a year is 365 days and a month 30, as its drivers say."""
    found = _INTERVAL.fullmatch(raw)
    if not raw or not found:
        raise ValueError(raw)
    part = found.groupdict()
    days = 365 * int(part["years"] or 0) + 30 * int(part["months"] or 0) + int(part["days"] or 0)
    clock = timedelta(hours=int(part["hours"] or 0), minutes=int(part["minutes"] or 0))
    whole, _, fraction = (part["seconds"] or "0").partition(".")
    clock += timedelta(seconds=int(whole), microseconds=int(fraction[:6].ljust(6, "0")))
    return timedelta(days=days) + (-clock if part["sign"] == "-" else clock)


def _parse_bytea_text(raw: str) -> bytes:
    if not raw.startswith("\\x"):
        raise ValueError(raw)
    return bytes.fromhex(raw[2:])


def _bits(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


_READERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _decode_server_text,
    Kind.INTEGER: int,
    Kind.YEAR: int,
    Kind.FLOAT: float,
    Kind.NUMERIC: Decimal,
    Kind.BOOLEAN: _parse_boolean_text,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMPTZ: _timestamp,
    Kind.TIME: _time,
    Kind.DURATION: _duration,
    Kind.INTERVAL: _parse_interval_text,
    Kind.JSON: _parse_server_json,
    Kind.BYTES: bytes,
    Kind.BYTEA: _parse_bytea_text,
    Kind.BITS: _bits,
}


def _list(raw: str, item: Kind) -> Any:
    """PostgreSQL's array: `{1,NULL,"a, b"}`, perhaps with bounds before it (`[0:1]={1,2}`)."""
    body = raw.partition("=")[2] if raw.startswith("[") else raw
    stack: list[list[Any]] = [[]]
    at = 0
    while at < len(body):
        letter = body[at]
        if letter == "{":
            stack.append([])
        elif letter == "}" and len(stack) > 1:
            done = stack.pop()
            stack[-1].append(done)
        elif letter != ",":
            found = _ITEM.match(body, at)
            if not found:
                return Verbatim(raw)
            stack[-1].append(_list_item(found, item))
            at = found.end() - 1
        at += 1
    return stack[0][0] if len(stack) == 1 and len(stack[0]) == 1 else Verbatim(raw)


def _list_item(found: re.Match[str], item: Kind) -> Any:
    quoted, bare = found.groups()
    if quoted is None:
        return None if bare == "NULL" else read(item, bare)
    return read(item, re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL))
