"""A CSV as spreadsheets write it.

They part fields by commas, semicolons or tabs, as their language has it, and may say so in a first
line `sep=;`. They write UTF-16 where they say "Unicode text", lines of nothing but separators, and
separators behind the last column.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Sequence

from handful.errors import DataError

_SEPARATORS = (",", ";", "\t")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
Lines = list[tuple[int, list[str]]]
"""The lines with their numbers, without empty ones."""


def read_sheet(
    data: bytes, where: str, is_header: Callable[[Sequence[str]], bool], width: int
) -> Lines:
    """The lines by the separator that fits; by commas if none does.

    One fits if it makes a header of the first line (`is_header`), or else `width` fields of every
    line. `DataError` if it is no CSV, or in another encoding.

    `data`: the whole file.
    """
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"is no text in UTF-8: its line {line} holds {data[error.start : error.end]!r}",
            where=where,
            remedy="save it from the spreadsheet as “CSV UTF-8” (LibreOffice asks for the "
            "character set)",
        ) from error
    try:
        return _split_spreadsheet_fields(text, is_header, width)
    except csv.Error as error:
        raise DataError(f"is no CSV: {error}", where=where) from error


def _split_spreadsheet_fields(
    text: str, is_header: Callable[[Sequence[str]], bool], width: int
) -> Lines:
    said = text[:5].lower()
    if said.startswith("sep=") and text[5:6] in "\r\n":
        return [(line + 1, fields) for line, fields in _by(text.partition("\n")[2], said[4], width)]
    ways = [lines for one in _SEPARATORS if (lines := _try(text, one, width)) is not None]
    fitting = [lines for lines in ways if lines and is_header(lines[0][1])]
    fitting += [lines for lines in ways if all(len(fields) == width for _, fields in lines)]
    return fitting[0] if fitting else _by(text, _SEPARATORS[0], width)


def _try(text: str, separator: str, width: int) -> Lines | None:
    try:
        return _by(text, separator, width)
    except csv.Error:
        return None


def _by(text: str, separator: str, width: int) -> Lines:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    lines = [(reader.line_num, fields) for fields in reader if any(map(str.strip, fields))]
    # A sheet's empty columns, which have no name either: all lines are as long as the longest.
    longest = max((len(_without_end(fields)) for _, fields in lines), default=0)
    return [(line, fields[: max(width, longest)]) for line, fields in lines]


def _without_end(fields: list[str]) -> list[str]:
    """Without the empty ones behind the last that is filled."""
    filled = [place for place, field in enumerate(fields) if field]
    return fields[: filled[-1] + 1]
