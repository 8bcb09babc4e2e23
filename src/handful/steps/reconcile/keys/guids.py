"""One form for a GUID, however it is written.

A GUID is 32 hexadecimal digits, with or without the four dashes of its usual form, in either case;
around it may stand blanks, braces, parentheses, `urn:uuid:`, `uuid:`, `0x` or `\\x`. Its form is
lower case with dashes. What is no GUID stays as it is, to the letter.

The order of the bytes is never guessed: that 16 bytes were written in .NET's or MySQL's order
cannot be read off them, and a wrong guess would give one artifact the label of another. Where the
ids as a whole say so, `id_hints` names the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import polars as pl

Value = TypeVar("Value")
_GUID_BLANKS = " \t\r\n\f\v\u00a0\u2007\u202f\u3000\ufeff"
_CORE = "-?".join(f"([0-9a-f]{{{digits}}})" for digits in (8, 4, 4, 4, 12))
_GUID = rf"^(?:urn:uuid:|uuid:|0x|\\x)?[{{(]?{_CORE}[)}}]?$"
FORM = "^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_PARSED = re.compile(_GUID.removesuffix("$") + r"\Z")


def guid_of(text: str) -> str | None:
    """The form of a GUID; None if `text` is none."""
    low = text.strip(_GUID_BLANKS).lower()
    found = _PARSED.match(low)
    return "-".join(found.groups()) if found and _closes(low) else None


def normalize_guid(text: str) -> str:
    """The form of a GUID; any other text as it is."""
    return guid_of(text) or text


def normalize_guid_keys(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """`values` by the form of their ids; of ids that become one the first counts."""
    found: dict[str, Value] = {}
    for artifact_id, value in values.items():
        found.setdefault(normalize_guid(artifact_id), value)
    return found


def guids(ids: pl.Expr) -> pl.Expr:
    """As `guid_of`, for a column."""
    return ids.map_batches(_guids, return_dtype=pl.String, is_elementwise=True)


def normalize_guid_ids(ids: pl.Expr) -> pl.Expr:
    """As `normalize_guid`, for a column."""
    return pl.coalesce(guids(ids), ids)


def _guids(ids: pl.Series) -> pl.Series:
    """Most are in their form already: only the others are looked at closely."""
    odd = ids.str.contains(FORM).not_().fill_null(False)
    if not odd.any():
        return ids
    low = pl.col("low")
    braced, bracketed = (
        low.str.contains(opening, literal=True) == low.str.ends_with(closing)
        for opening, closing in ("{}", "()")
    )
    parsed = (
        ids.filter(odd)
        .to_frame("low")
        .select(low.str.strip_chars(_GUID_BLANKS).str.to_lowercase())
        .select(
            pl.when(low.str.contains(_GUID) & braced & bracketed).then(
                low.str.replace(_GUID, "$1-$2-$3-$4-$5")
            )
        )
        .to_series()
    )
    return ids.clone().scatter(odd.arg_true(), parsed)


def _closes(low: str) -> bool:
    """Has each brace and parenthesis its other half?"""
    return ("{" in low) == ("}" in low) and ("(" in low) == (")" in low)
