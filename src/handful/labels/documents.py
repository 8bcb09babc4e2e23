"""Spells a column as the contents of files: what FILES_FROM_PROD names with FILES_URL = none.

    bytes                as they are, whatever the file is called
    text                 UTF-8
    JSON, lists, maps    JSON
    all else             its text, as a label would be spelled

In a `.json` all else is JSON, too, and so is text: what is an object or a list in JSON already is
written as it stands, any other text as a string.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from handful.labels.columns import Column, jsons, texts
from handful.labels.drivers.text_values import Kind
from handful.labels.values import as_json, as_text

_JSON_BEGINS = ("{", "[")


def column_of(file: str) -> str:
    """The column that the file is made of: `text` of `text.txt`."""
    return file.rpartition(".")[0]


def contents(column: Column, file: str) -> pl.Series:
    """Of each value the content of `file`, as bytes; NULL stays NULL."""
    is_json = file.lower().endswith(".json")
    values = column.values
    if not isinstance(values, pl.Series):
        made = [_content(value, is_json=is_json) for value in values]
        return pl.Series(made, dtype=pl.Binary)
    if column.kind is Kind.BYTES:
        return values
    if column.kind is Kind.BYTEA:
        made = [_content(value, is_json=is_json) for value in column.objects()]
        return pl.Series(made, dtype=pl.Binary)
    if column.kind is Kind.JSON:
        return values.cast(pl.Binary)  # the server's own text loses nothing
    if not is_json:
        return texts(column)[0].cast(pl.Binary)
    if column.kind is Kind.TEXT:
        spelled = [None if value is None else _json_text(value) for value in values]
        return pl.Series(spelled, dtype=pl.String).cast(pl.Binary)
    there = values.is_not_null()
    return jsons(column).cast(pl.Binary).to_frame("v").select(pl.when(there).then("v"))["v"]


def _content(value: Any, *, is_json: bool) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not is_json:
        return (as_text(value) or "").encode()
    return (_json_text(value) if isinstance(value, str) else as_json(value)).encode()


def _json_text(text: str) -> str:
    if text.lstrip().startswith(_JSON_BEGINS):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return text
    return as_json(text)
