"""PostgreSQL's rows as the server's own text: by COPY with psycopg, else by a server's cursor.

The session's settings decide how the server writes dates, intervals and bytes: they are set for
this transaction alone.
"""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from select import select
from typing import TYPE_CHECKING, Any

import polars as pl

from handful.labels.base import BATCH_OF_BYTES, MOST_BYTES
from handful.labels.columns import Column
from handful.labels.drivers.server_types import of_postgresql
from handful.labels.reading import (
    Batch,
    Rows,
    as_sqlalchemy,
    by_column,
    check_gives_rows,
    driver_connection,
    execute,
    rows_at_once,
)
from handful.labels.values import decode_database_text

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

_STYLES = (
    "SET LOCAL datestyle = 'ISO'",
    "SET LOCAL intervalstyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
)
_COPIED = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|VALUES|TABLE)\b", re.I | re.S)
"""Statements that COPY takes; SHOW, EXPLAIN and EXECUTE are not among them."""
_NO_COPY = ("0A", "42601")
"""SQLSTATEs of a server that has no COPY, or not of this."""
_EMPTY_IS_NO_NULL: dict[str, Any] = (
    {"empty_string_is_null": False}
    if "empty_string_is_null" in inspect.signature(pl.read_csv).parameters
    else {"missing_utf8_is_empty_string": True}
)
"""polars 2 has another name for it."""
_UNESCAPED = {
    r"\\": "\\",
    r"\b": "\b",
    r"\f": "\f",
    r"\n": "\n",
    r"\r": "\r",
    r"\t": "\t",
    r"\v": "\v",
}


def open_psycopg(connection: Connection, query: str) -> Rows:
    """By COPY where that can be, else row by row."""
    import psycopg

    if not _COPIED.match(query) or not _is_utf8(connection):
        return open_by_rows(connection, query)
    _set_styles(connection)
    with as_sqlalchemy(connection, query):
        names, oids = _describe_copy_columns(driver_connection(connection), query)
    check_gives_rows(bool(names))
    batches = _read_copy_batches(connection, query, oids)
    try:
        with as_sqlalchemy(connection, query):
            first = next(batches, None)
    except Exception as error:
        state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
        if not isinstance(getattr(error, "orig", None), psycopg.Error) or not state.startswith(
            _NO_COPY
        ):
            raise
        connection.rollback()
        return open_by_rows(connection, query)
    return Rows(names, _again(connection, query, first, batches))


def _again(
    connection: Connection,
    query: str,
    first: Batch | None,
    batches: Generator[Batch],
) -> Generator[Batch]:
    if first is not None:
        yield first
    with as_sqlalchemy(connection, query):
        yield from batches


def _is_utf8(connection: Connection) -> bool:
    """A server of another encoding turns its text into UTF-8; SQL_ASCII has any bytes."""
    pgconn = driver_connection(connection).pgconn
    client = pgconn.parameter_status(b"client_encoding")
    server = pgconn.parameter_status(b"server_encoding")
    return bool(client == b"UTF8" and server != b"SQL_ASCII")


def _set_styles(connection: Connection) -> None:
    for statement in _STYLES:
        connection.exec_driver_sql(statement)


def _describe_copy_columns(raw: Any, query: str) -> tuple[list[str], list[int]]:
    """Names and types of the columns. The server parses the query by itself: it is one statement,
    and whole, so that it can stand in the brackets of COPY."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    for result in (
        raw.pgconn.prepare(b"", query.encode()),
        raw.pgconn.describe_prepared(b""),
    ):
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, encoding="utf-8")
    columns = range(result.nfields)
    names = [(result.fname(column) or b"").decode(errors="replace") for column in columns]
    return names, [result.ftype(column) for column in columns]


def _read_copy_batches(connection: Connection, query: str, oids: list[int]) -> Generator[Batch]:
    with closing(_copy_rows(connection, f"COPY ({query}\n) TO STDOUT")) as rows:
        while chunk := _read_copy_chunk(rows):
            yield partial(_parse_copy_text, chunk, oids)


def _copy_rows(connection: Connection, statement: str) -> Generator[bytes]:
    """The server sends each row as a message of its own. psycopg's own `copy()` takes several times
    as long for each."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    pgconn = driver_connection(connection).pgconn
    begun = pgconn.exec_(statement.encode())
    if begun.status != ExecStatus.COPY_OUT:
        raise error_from_result(begun, encoding="utf-8")
    try:
        while True:
            size, row = pgconn.get_copy_data(1)
            if size > 0:
                yield row
            elif size == 0:
                select([pgconn.socket], [], [])
                pgconn.consume_input()
            else:
                break
    except GeneratorExit:
        connection.invalidate()  # what is under way is not waited for
        raise
    while result := pgconn.get_result():
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, encoding="utf-8")


def _read_copy_chunk(rows: Iterator[bytes]) -> bytes:
    chunk = bytearray()
    for row in islice(rows, BATCH_OF_BYTES):
        chunk += row
        if len(chunk) > MOST_BYTES:
            break
    return bytes(chunk)


def _parse_copy_text(chunk: bytes, oids: list[int]) -> list[Column]:
    """COPY's text format: a tab between values, `\\N` is NULL, and backslashes escape."""
    names = [str(number) for number in range(len(oids))]
    table = pl.read_csv(
        io.BytesIO(chunk),
        has_header=False,
        separator="\t",
        quote_char=None,
        null_values="\\N",
        schema=dict.fromkeys(names, pl.String),
        **_EMPTY_IS_NO_NULL,
    )
    if b"\\" in chunk:
        table = table.with_columns(_unescape_copy_text(pl.col(name)) for name in names)
    return [_column(table[name], oid) for name, oid in zip(names, oids, strict=True)]


def _unescape_copy_text(column: pl.Expr) -> pl.Expr:
    # One pass: what stands behind a `\\` must not be taken for an escape of its own.
    return column.str.replace_many(list(_UNESCAPED), list(_UNESCAPED.values()))


def _column(values: pl.Series, oid: int) -> Column:
    kind, item = of_postgresql(oid)
    return Column(kind, values, item)


def open_by_rows(connection: Connection, query: str) -> Rows:
    """By any driver, told to read no type: every value comes as the server's text."""
    _set_styles(connection)
    _read_nothing(connection)
    result = execute(connection, query)
    # Some drivers have it only after the first row, which SQLAlchemy has read.
    names = list(result.keys())
    oids = [int(column[1]) for column in _description(result)]

    def batches() -> Generator[Batch]:
        for rows in result.partitions(rows_at_once(connection)):
            yield partial(_of_rows, rows, oids)

    return Rows(names, batches())


def _of_rows(rows: Sequence[Sequence[Any]], oids: list[int]) -> list[Column]:
    columns = zip(by_column(rows), oids, strict=True)
    return [_column(_series(values), oid) for values, oid in columns]


def _description(result: CursorResult[Any]) -> Sequence[Any]:
    return (result.cursor.description or ()) if result.cursor else ()


def _series(values: Sequence[str | bytes | None]) -> pl.Series:
    if any(isinstance(value, bytes) for value in values):
        values = [
            decode_database_text(value) if isinstance(value, bytes) else value for value in values
        ]
    return pl.Series(values, dtype=pl.String)


def _read_nothing(connection: Connection) -> None:
    raw = driver_connection(connection)
    match connection.dialect.driver:
        case "psycopg":
            from psycopg.types.string import TextLoader

            for info in raw.adapters.types:
                for oid in (info.oid, info.array_oid):
                    if oid:
                        raw.adapters.register_loader(oid, TextLoader)
        case "psycopg2":
            from psycopg2 import extensions  # type: ignore[import-untyped]

            oids = tuple({*extensions.string_types, *raw.string_types} - {0})
            as_text = extensions.new_type(oids, "AS_TEXT", lambda value, _cursor: value)
            extensions.register_type(as_text, raw)
        case "pg8000":
            for oid in list(raw.pg_types):
                raw.register_in_adapter(oid, str)
