"""Turns what a database driver returns into the text and JSON of `LABELS_SCHEMA`."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import RFC_4122, UUID

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_SAME = {type(None), str, bool, int}
"""Most values; asked first, since there may be millions."""


def as_text(value: Any) -> str | None:
    """An artifact id, label or hash as text; NULL stays None.

    A whole number loses its `.0`, a truth value is `true` or `false`, 16 bytes that are a UUID
    become its usual writing, other bytes are read as UTF-8, or else as hexadecimal digits.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        return str(int(value)) if _is_whole(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_as_text(bytes(value))
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        return as_json(value)
    return str(value)


def as_json(value: Any) -> str:
    """Any value as JSON: dates in ISO 8601, Decimal and UUID as text, bytes as base64."""
    return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if type(value) in _SAME or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def _is_whole(value: float | Decimal) -> bool:
    return math.isfinite(value) and value == int(value)


def _bytes_as_text(value: bytes) -> str:
    if len(value) == 16:
        found = UUID(bytes=value)
        # No ASCII text has this variant's high bit, so texts of 16 letters stay texts.
        if found.variant == RFC_4122 and found.version in range(1, 9):
            return str(found)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
