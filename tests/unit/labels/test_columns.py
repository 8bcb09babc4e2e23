"""A column that is spelled at once is spelled as its values are, one by one."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.labels.columns import Column, as_known, json_objects, nans, texts
from handful.labels.drivers.text_values import Kind, read
from handful.labels.values import as_json, as_text, is_nan, is_verbatim

DIGITS = st.text("0123456789", min_size=1, max_size=25)
LONG = st.integers(3_990, 4_010).map(lambda digits: "9" * digits)
MOMENTS = st.datetimes(dt.datetime.min, dt.datetime.max)
ZONES = st.sampled_from(
    ["", "+00", "-00", "+02", "-03:30", "+05:30:15", "-14", "+15", "+23:59", " BC"]
)
STRANGE = st.sampled_from(
    (
        "|infinity|-infinity|NaN|nan|24:00:00|0000-00-00|0000-00-00 00:00:00|2023-02-29|2024-02-29|"
        "2026-02-31 01:02:03|2026-04-31 00:00:00|12026-01-02|١|2026-01-02 03:04:05.1234567|"
        "03:04:60|2026-01-02T03:04:05|-0|00|-|.|1e5|0044-03-15 01:02:03 BC|"
        "9999-12-31 23:59:59.999999|t|f|x|0000-01-01 00:00:00|2026-01-02 03:04:05.120+02|"
        "03:04:05.5-03:30"
    ).split("|")
)


def moment(parts: tuple[dt.datetime, int, str], head: int) -> str:
    """As a server writes it, with `digits` behind the seconds."""
    when, digits, zone = parts
    whole = f"{when.year:04}-{when:%m-%d %H:%M:%S}"[head:]
    return whole + (f".{when.microsecond:06}"[: digits + 1] if digits else "") + zone


PARTS = st.tuples(MOMENTS, st.integers(0, 6), ZONES)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.text(),
    Kind.INTEGER: st.integers().map(str) | DIGITS | LONG,
    Kind.YEAR: st.sampled_from(["2024", "0000", "1901"]),
    Kind.FLOAT: st.floats().map(repr) | st.floats(width=32).map(repr) | DIGITS,
    Kind.NUMERIC: st.decimals(allow_nan=False, allow_infinity=False).map("{:f}".format) | DIGITS,
    Kind.BOOLEAN: st.sampled_from(["t", "f", "true", "false"]),
    Kind.DATE: st.dates().map(str),
    Kind.TIMESTAMP: PARTS.map(lambda parts: moment(parts, 0)),
    Kind.TIMESTAMPTZ: PARTS.map(lambda parts: moment(parts, 0)),
    Kind.TIME: PARTS.map(lambda parts: moment(parts, 11)),
    Kind.DURATION: st.sampled_from(["838:59:59", "-01:00:00.5", "00:00:00"]),
    Kind.INTERVAL: st.sampled_from(["1 day", "1 mon -2 days 03:04:05.5", "-00:00:01", "1 year"]),
    Kind.JSON: st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x)
    ).map(json.dumps),
    Kind.BYTEA: st.binary().map(lambda raw: f"\\x{raw.hex()}"),
    Kind.BYTES: st.binary(),
    Kind.BITS: st.binary(min_size=1, max_size=8),
}
BINARY = (Kind.BYTES, Kind.BITS)


@st.composite
def columns(draw: st.DrawFn) -> Column:
    kind = draw(st.sampled_from(list(VALUES)))
    one = VALUES[kind] if kind in BINARY else VALUES[kind] | STRANGE
    values = draw(st.lists(st.none() | one, min_size=3, max_size=3))
    return Column(kind, pl.Series(values, dtype=pl.Binary if kind in BINARY else pl.String))


OBJECTS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters())
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.lists(st.integers())
)


@st.composite
def object_columns(draw: st.DrawFn) -> Column:
    one = draw(st.sampled_from([OBJECTS, st.none() | st.text(), st.none() | st.integers()]))
    return Column(Kind.OBJECT, draw(st.lists(one, min_size=3, max_size=3)))


@settings(max_examples=400, deadline=None)
@given(st.lists(columns() | object_columns(), max_size=6))
@pytest.mark.slow
def test_columns_are_spelled_as_their_values(found: list[Column]) -> None:
    named = {f'c"{number}\n': column for number, column in enumerate(found)}
    rows = [
        dict(zip(named, row, strict=True))
        for row in zip(*(c.objects() for c in found), strict=True)
    ]
    expected = [as_json(row) for row in rows] or ["{}"] * 3
    known = {name: as_known(column) for name, column in named.items()}
    assert json_objects(named, 3).to_list() == expected
    assert json_objects(known, 3).to_list() == expected
    for column in [*found, *known.values()]:
        values = column.objects()
        spelled, strange = texts(column)
        assert spelled.to_list() == [as_text(value) for value in values]
        told = [False] * 3 if strange is None else strange.fill_null(False).to_list()
        assert told == [is_verbatim(value) for value in values]
        assert nans(column) == [is_nan(value) for value in values]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (*BINARY, Kind.OBJECT)])
def test_no_text_of_a_server_is_an_error(kind: Kind) -> None:
    for raw in (
        "",
        "infinity",
        "\\x0",
        "{",
        "{{}",
        '{"a',
        "[",
        "nan",
        "[1:2]=",
        "x" * 5000,
        "9" * 5000,
    ):
        json.loads(as_json(read(kind, raw, Kind.NUMERIC)))


def test_what_the_json_of_a_row_was_it_still_is() -> None:
    """The spelling of the stores that are there."""
    row = {
        "n": 1,
        "price": Decimal("1.50"),
        "day": dt.date(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2),
    }
    assert as_json({**row, "b": b"\x00\xff", "f": 2.0, "ü": "\u2028/\x7f"}) == (
        '{"n": 1, "price": "1.50", "day": "2026-01-02", "at": "2026-01-02T00:00:00", '
        '"b": "AP8=", "f": 2.0, "ü": "\u2028/\x7f"}'
    )
