"""Firebird's rows: its driver gives Python's values, and raises at text of another encoding."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from handful.labels.reading import Rows, driver_connection, open_objects

if TYPE_CHECKING:
    from sqlalchemy import Connection

_ANY_TEXT = "handful_any_text"
_FIREBIRD_UTF8_NAMES = ("utf_8", "utf-8", "utf8", "ascii")
"""Names that the driver has for it; `ascii`, or this, where the URL names no charset."""


def open_firebird(connection: Connection, query: str) -> Rows:
    """By rows; text of a column without a character set may hold any bytes."""
    raw = driver_connection(connection)
    if str(getattr(raw, "_encoding", "")).lower() in _FIREBIRD_UTF8_NAMES:
        codecs.register(_codec)
        raw._encoding = _ANY_TEXT
    return open_objects(connection, query)


def _codec(name: str) -> codecs.CodecInfo | None:
    """UTF-8 whose wrong bytes become surrogates, which are spelled as escapes later."""
    if name != _ANY_TEXT:
        return None
    return codecs.CodecInfo(
        name=_ANY_TEXT,
        encode=lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        decode=lambda raw, _errors="strict": codecs.utf_8_decode(raw, "surrogateescape", True),
    )
