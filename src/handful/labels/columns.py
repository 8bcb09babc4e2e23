"""Spells whole columns: what `values` says of each value, said of a column at once.

Only what is known to be spelled alike is done by column; every other value of it, be it one in a
million, is spelled by `values`. A test holds the two against each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from handful.labels.drivers.text_values import Kind, read
from handful.labels.values import (
    LONGEST_NUMBER,
    as_json,
    as_text,
    decode_database_text,
    is_nan,
    is_verbatim,
)

_ESCAPES = {letter: json.dumps(letter)[1:-1] for letter in (*map(chr, range(32)), '"', "\\")}
_ESCAPED = r'["\\\x00-\x1f]'
_INTEGER = r"^(?:0|-?[1-9][0-9]*)$"
_NUMERIC = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]{1,6})?$"
"""Python writes numbers with more zeros behind the point as `1E-7`."""
_DAY = (
    r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9][0-9]|[1-9][0-9]{3})-"
    r"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
    r"|(?:0[13578]|1[02])-31)"
)
"""Every day but the 29th of February."""
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE = r"(?:\+(?:0[0-9]|1[0-4])|-(?:0[1-9]|1[0-4]))(?::[0-5][0-9])?"
_SHORTEST, _LONGEST = 1e-4, 1e16
"""Between them Python and polars write a float alike."""


@dataclass(frozen=True)
class Column:
    """The values of one column, as the server or the driver gave them.

    `values` are text; binary where `kind` is `BYTES` or `BITS`; a list of anything for `OBJECT`.
    """

    kind: Kind
    values: pl.Series | Sequence[Any]
    item: Kind = Kind.TEXT
    """The kind of the items of a `LIST`."""
    strange: pl.Series | None = None
    """Where text was none, and its bytes are escaped."""

    def __len__(self) -> int:
        return len(self.values)

    def objects(self) -> list[Any]:
        """Python's values, one by one."""
        raw = self.values.to_list() if isinstance(self.values, pl.Series) else self.values
        return [read(self.kind, value, self.item) for value in raw]


def text_of(values: pl.Series, kind: Kind = Kind.TEXT) -> Column:
    """Binary as a column of text; a byte that is no UTF-8 is escaped."""
    found = values.cast(pl.String, strict=False)
    lost = found.is_null() & values.is_not_null()
    if not lost.any():
        return Column(kind, found)
    escaped = pl.Series(
        [decode_database_text(value) for value in values.filter(lost)], dtype=pl.String
    )
    return Column(kind, found.scatter(lost.arg_true(), escaped), strange=lost)


def texts(column: Column) -> tuple[pl.Series, pl.Series | None]:
    """`as_text` of every value, and where it `is_verbatim`; None if it is nowhere."""
    if isinstance(column.values, pl.Series):
        if column.kind is Kind.TEXT or (
            column.kind is Kind.INTEGER and column.values.str.contains(_INTEGER).all()
        ):
            return column.values, column.strange
        return _texts_of_each(column, column.values)
    return _texts_of_objects(column.values)


def nans(column: Column) -> list[bool]:
    """Where the value is a number that is none."""
    if column.kind not in (Kind.FLOAT, Kind.NUMERIC, Kind.OBJECT):
        return [False] * len(column)
    if isinstance(column.values, pl.Series):
        return (column.values.str.to_lowercase() == "nan").fill_null(False).to_list()
    return [is_nan(value) for value in column.values]


def jsons(column: Column) -> pl.Series:
    """`as_json` of every value; NULL is `null`."""
    return _jsons([column])["0"].fill_null("null")


def json_objects(columns: Mapping[str, Column], size: int) -> pl.Series:
    """`as_json` of `size` mappings of a name to the value of its column."""
    if not columns:
        return pl.repeat("{}", size, dtype=pl.String, eager=True)
    parts: list[pl.Expr] = []
    for number, name in enumerate(columns):
        before = f"{', ' if number else '{'}{as_json(name)}: "
        parts += [pl.lit(before), pl.col(str(number)).fill_null("null")]
    return _jsons(list(columns.values())).select(v=pl.concat_str(*parts, pl.lit("}")))["v"]


def _jsons(columns: Sequence[Column]) -> pl.DataFrame:
    """Each column as JSON, named by its number; NULL stays NULL. In few steps: each costs."""
    by_column = {}
    spelled: dict[str, pl.Series] = {}
    for number, column in enumerate(columns):
        if isinstance(column.values, pl.Series) and column.kind in _BY_COLUMN:
            by_column[str(number)] = column
        else:
            spelled[str(number)] = _jsons_of_each(column)
    raw = pl.DataFrame({name: column.values for name, column in by_column.items()})
    escaped = _to_escape(raw, by_column)
    done = raw.select(
        (_escape(pl.col(name)) if name in escaped else _BY_COLUMN[column.kind](pl.col(name))).alias(
            name
        )
        for name, column in by_column.items()
    )
    for name, column in by_column.items():
        if done[name].null_count() != raw[name].null_count():
            done = done.with_columns(_rest(done[name], raw[name], column).alias(name))
    return done.with_columns(**spelled) if raw.width else pl.DataFrame(spelled)


def _to_escape(raw: pl.DataFrame, columns: Mapping[str, Column]) -> set[str]:
    """Which columns of text have a letter that JSON escapes."""
    texts = [name for name, column in columns.items() if column.kind in _JSON_STRING_KINDS]
    found = raw.select(pl.col(name).str.contains(_ESCAPED).any() for name in texts)
    return {name for name in texts if found[name][0]}


def _rest(done: pl.Series, raw: pl.Series, column: Column) -> pl.Series:
    """What was not spelled by column, spelled one by one."""
    where = done.is_null() & raw.is_not_null()
    some = Column(column.kind, raw.filter(where), column.item)
    return done.scatter(where.arg_true(), _jsons_of_each(some))


def _jsons_of_each(column: Column) -> pl.Series:
    if not isinstance(column.values, pl.Series):
        spelled = [None if value is None else as_json(value) for value in column.values]
        return pl.Series(spelled, dtype=pl.String)
    return _each(column.values, lambda raw: as_json(read(column.kind, raw, column.item)))


def _texts_of_each(column: Column, values: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    distinct = values.unique()
    objects = [read(column.kind, raw, column.item) for raw in distinct.to_list()]
    spelled = pl.Series([as_text(value) for value in objects], dtype=pl.String)
    strange = [is_verbatim(value) for value in objects]
    found = _map_column_values(values, distinct, spelled)
    return found, _map_column_values(values, distinct, pl.Series(strange)) if any(strange) else None


def _texts_of_objects(values: Sequence[Any]) -> tuple[pl.Series, pl.Series | None]:
    strange = [is_verbatim(value) for value in values]
    spelled = pl.Series([as_text(value) for value in values], dtype=pl.String)
    return spelled, pl.Series(strange) if any(strange) else None


def _each(values: pl.Series, spell: Callable[[Any], str | None]) -> pl.Series:
    """Spell every distinct value once."""
    distinct = values.unique()
    spelled = pl.Series([spell(value) for value in distinct.to_list()], dtype=pl.String)
    return _map_column_values(values, distinct, spelled)


def _map_column_values(values: pl.Series, old: pl.Series, new: pl.Series) -> pl.Series:
    table = pl.DataFrame({"v": old, "new": new})
    joined = values.to_frame("v").join(
        table, on="v", how="left", nulls_equal=True, maintain_order="left"
    )
    return joined["new"]


def as_known(column: Column) -> Column:
    """Objects of one simple type as a column of text; any other column as it is."""
    if isinstance(column.values, pl.Series):
        return column
    return _build_uniform_column(column.values) or column


def _build_uniform_column(values: Sequence[Any]) -> Column | None:
    types = set(map(type, values)) - {type(None)}
    if not types:
        return Column(Kind.TEXT, pl.Series([None] * len(values), dtype=pl.String))
    if types == {str}:
        try:
            return Column(Kind.TEXT, pl.Series(values, dtype=pl.String))
        except (UnicodeEncodeError, pl.exceptions.PolarsError):  # half of a surrogate pair
            return None
    if types == {int}:
        if any(value.bit_length() > 63 for value in values if value is not None):
            return None
        try:
            numbers = pl.Series(values, dtype=pl.Int64)
        except (OverflowError, TypeError, pl.exceptions.PolarsError):
            return None
        return Column(Kind.INTEGER, numbers.cast(pl.String))
    if types == {float}:
        return Column(Kind.FLOAT, pl.Series(values, dtype=pl.Float64).cast(pl.String))
    return None


def _quote(value: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), value, pl.lit('"'))


def _escape(value: pl.Expr) -> pl.Expr:
    return _quote(value.str.replace_many(list(_ESCAPES), list(_ESCAPES.values())))


def _integer(value: pl.Expr) -> pl.Expr:
    is_short = value.str.strip_prefix("-").str.len_bytes() <= LONGEST_NUMBER
    return pl.when(value.str.contains(_INTEGER) & is_short).then(value)


def _float(value: pl.Expr) -> pl.Expr:
    number = value.cast(pl.Float64, strict=False)
    alike = (number.abs() >= _SHORTEST) & (number.abs() < _LONGEST)
    return pl.when(alike).then(number.cast(pl.String))


def _numeric(value: pl.Expr) -> pl.Expr:
    return pl.when(value.str.contains(_NUMERIC)).then(_quote(value))


def _boolean(value: pl.Expr) -> pl.Expr:
    is_true, is_false = value.is_in(["t", "true"]), value.is_in(["f", "false"])
    return pl.when(is_true).then(pl.lit("true")).when(is_false).then(pl.lit("false"))


def _moment(day: str) -> Callable[[pl.Expr], pl.Expr]:
    """Times of day, or of a `day`, in ISO 8601 as Python writes it."""
    whole = len("2026-01-02 03:04:05") if day else len("03:04:05")

    def spell(value: pl.Expr) -> pl.Expr:
        fits = value.str.contains(rf"^{day}{_CLOCK}(?:\.[0-9]{{1,6}})?(?:{_ZONE})?$")
        zone = pl.lit(0)
        for width in (3, 6):  # `+02`, `+05:30`
            is_one = value.str.slice(-width, 1).is_in(["+", "-"])
            zone = pl.when(is_one).then(pl.lit(width)).otherwise(zone)
        length = value.str.len_bytes().cast(pl.Int64)
        fraction = value.str.slice(whole, length - whole - zone)
        is_some = fraction.str.strip_chars(".0") != ""
        micro = pl.when(is_some).then(fraction.str.pad_end(7, "0")).otherwise(pl.lit(""))
        offset = value.str.slice(length - zone)
        minutes = pl.when(zone == 3).then(pl.lit(":00")).otherwise(pl.lit(""))
        clock = value.str.head(whole).str.replace(" ", "T", literal=True)
        return pl.when(fits).then(_quote(pl.concat_str(clock, micro, offset, minutes)))

    return spell


def _bytes(value: pl.Expr) -> pl.Expr:
    return _quote(value.bin.encode("base64"))


def _bytea(value: pl.Expr) -> pl.Expr:
    digits = pl.when(value.str.contains(r"^\\x(?:[0-9a-f]{2})*$")).then(value.str.slice(2))
    return _bytes(digits.str.decode("hex"))


_BY_COLUMN: dict[Kind, Callable[[pl.Expr], pl.Expr]] = {
    Kind.TEXT: _quote,
    Kind.INTEGER: _integer,
    Kind.YEAR: _integer,
    Kind.FLOAT: _float,
    Kind.NUMERIC: _numeric,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _quote,  # one that cannot be read is spelled as it is, too
    Kind.TIMESTAMP: _moment(f"{_DAY}[ T]"),
    Kind.TIMESTAMPTZ: _moment(f"{_DAY}[ T]"),
    Kind.TIME: _moment(""),
    Kind.BYTES: _bytes,
    Kind.BYTEA: _bytea,
}
"""Kind → its JSON, or null where that is not known to be right."""
_JSON_STRING_KINDS = (Kind.TEXT, Kind.DATE)
