"""Turns one value into the text and JSON of `LABELS_SCHEMA`: the one spelling of each kind.

`docs/production.md` has the table. `handful.labels.columns` does the same for whole columns, and
comes here for what it does not know.
"""

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
_PLAIN_JSON_TYPES = {type(None), str, bool}
"""Most values; asked first, since there may be millions."""
LONGEST_NUMBER = 4_000
"""Digits of a whole number that is written out: Python itself writes and reads 4,300."""
_TOO_LONG = 10**LONGEST_NUMBER
_LABEL_JSON_DEPTH_LIMIT = 100
"""Lists within lists that are followed; who reads the row has to follow them, too."""
_TOO_DEEP = "(nested too deeply)"


class Verbatim(str):
    """The database's own text of a value that Python's type for it cannot hold.

    An infinite date, a year before 1 or after 9999, `24:00`, `0000-00-00`, bytes that are no text.
    """

    __slots__ = ()


def as_text(value: Any) -> str | None:
    """An artifact id, label or hash as text; NULL stays None.

    A whole number loses its `.0`, a truth value is `true` or `false`, 16 bytes that are a UUID
    become its usual writing, other bytes are read as UTF-8, or else as hexadecimal digits.
    """
    if value is None:
        return value
    if isinstance(value, str):
        return str(value) if _is_unicode(value) else _escape_surrogates(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, float | Decimal):
        return str(int(value)) if _is_whole(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes_as_text(bytes(value))
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return as_json(value)
    return str(value)


def as_json(value: Any) -> str:
    """Any value as JSON: dates in ISO 8601, Decimal and UUID as text, bytes as base64."""
    return _ENCODER.encode(_plain(value))


def is_verbatim(value: Any) -> bool:
    """Is it no ordinary value of its type, so that nobody should be named or taught by it?

    The database's own text, an infinite number, or text that is not Unicode.
    """
    if isinstance(value, Verbatim):
        return True
    if isinstance(value, float | Decimal):
        return not _is_finite(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _TOO_DEEP in as_json(value)
    return isinstance(value, str) and not _is_unicode(value)


def is_nan(value: Any) -> bool:
    """Is it the number that is none?"""
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float) and math.isnan(value)


def decode_database_text(value: bytes) -> str:
    """Text as the database sent it; a byte that is no UTF-8 is written as `\\xe9`."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return Verbatim(value.decode(errors="backslashreplace"))


def _plain(value: Any, depth: int = 0) -> Any:
    if type(value) in _PLAIN_JSON_TYPES or isinstance(value, str):
        if isinstance(value, str) and not _is_unicode(value):
            return _escape_surrogates(value)
        return value
    if isinstance(value, int):
        return value if abs(value) < _TOO_LONG else _digits(value)
    if depth >= _LABEL_JSON_DEPTH_LIMIT and isinstance(
        value, Mapping | list | tuple | set | frozenset
    ):
        return _TOO_DEEP
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # JSON has no NaN
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(as_text(key)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item, depth + 1) for item in value), key=_ENCODER.encode)
    if isinstance(value, Iterable) and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return str(value)


def _is_unicode(value: str) -> bool:
    """Has it no half of a surrogate pair, which neither UTF-8 nor Arrow can hold?"""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escape_surrogates(value: str) -> str:
    """Bytes that came as surrogates (`surrogateescape`) become `\\xe9`, other halves `\\ud800`."""
    try:
        return value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return value.encode(errors="backslashreplace").decode()


def _digits(value: int) -> str:
    """All of them, however many: Python's own way stops at 4,300, and is slow before."""
    return str(value) if abs(value) < _TOO_LONG else str(Decimal(value))


def _is_whole(value: float | Decimal) -> bool:
    """Is it a whole number that is written out? A longer one stays as it is: `1E+5000`."""
    if isinstance(value, Decimal):
        is_short = value.is_finite() and value.adjusted() < LONGEST_NUMBER
        return is_short and value == value.to_integral_value()
    return math.isfinite(value) and value == int(value)


def _is_finite(value: float | Decimal) -> bool:
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


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
