"""MySQL's and MariaDB's rows as the server's own text, by each of their drivers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from handful.labels.columns import Column, text_of
from handful.labels.drivers.server_types import of_mysql
from handful.labels.drivers.text_values import Kind
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

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TEXT = 45
_STRINGS = {15, *range(247, 255)}
"""Codes of types that are text or bytes, by their character set."""
_JSON = 245
_UTF8 = "utf8mb4"
"""A URL may ask for another encoding, and raw text would come in that."""


_CAST = {Kind.DATE, Kind.TIMESTAMP, Kind.DURATION, Kind.YEAR}
"""What MariaDB's own driver cannot give whole."""
_ASKED_AS_TEXT = _CAST | {Kind.BITS}


def open_pymysql(connection: Connection, query: str) -> Rows:
    """Whole packets at once, where PyMySQL is one that is known."""
    from pymysql.cursors import SSCursor  # type: ignore[import-untyped]

    from handful.labels.drivers.pymysql_packets import can_read_packets, packet_columns

    raw = driver_connection(connection)
    raw.decoders = {}
    with as_sqlalchemy(connection, query):
        if raw.encoding != "utf8":
            raw.set_character_set(_UTF8)
        cursor = raw.cursor(SSCursor)
        cursor.execute(query)
    check_gives_rows(bool(cursor.description))
    names = [column[0] for column in cursor.description]
    fields = cursor._result.fields
    kinds = [of_mysql(field.type_code, field.charsetnr) for field in fields]
    batches = (
        packet_columns(raw, cursor, kinds)
        if can_read_packets(raw)
        else _by_rows(cursor, kinds, rows_at_once(connection))
    )
    return Rows(names, _translating(connection, query, batches))


def open_mysqldb(connection: Connection, query: str) -> Rows:
    """mysqlclient: rows of bytes from C."""
    from MySQLdb.constants import FLAG  # type: ignore[import-untyped]
    from MySQLdb.cursors import SSCursor  # type: ignore[import-untyped]

    raw = driver_connection(connection)
    # It alone knows which strings are bytes, and is told to mark these; its BINARY flag means that.
    as_bytes = ((FLAG.BINARY, bytearray), (None, bytes))
    raw.converter = dict.fromkeys(_STRINGS, as_bytes) | {_JSON: bytes}
    with as_sqlalchemy(connection, query):
        if raw.encoding != "utf8":
            raw.set_character_set(_UTF8)
        cursor = raw.cursor(SSCursor)
        cursor.execute(query)
    check_gives_rows(bool(cursor.description))
    names = [column[0] for column in cursor.description]
    kinds = [of_mysql(column[1], _TEXT) for column in cursor.description]
    return Rows(
        names, _translating(connection, query, _by_rows(cursor, kinds, rows_at_once(connection)))
    )


def open_mysqlconnector(connection: Connection, query: str) -> Rows:
    """mysql-connector-python: raw rows, streamed, which SQLAlchemy does not ask it for."""
    raw = driver_connection(connection)
    with as_sqlalchemy(connection, query):
        if raw.python_charset != "utf8":
            raw.set_charset_collation(_UTF8)
        cursor = raw.cursor(buffered=False, raw=True)
        cursor.execute(query)
    check_gives_rows(bool(cursor.description))
    names = [column[0] for column in cursor.description]
    kinds = [of_mysql(column[1], column[8]) for column in cursor.description]
    return Rows(
        names, _translating(connection, query, _by_rows(cursor, kinds, rows_at_once(connection)))
    )


def open_mariadb(connection: Connection, query: str) -> Rows:
    """MariaDB's own: it gives NULL for dates that Python has not, so their text is asked for."""
    from sqlalchemy.exc import DBAPIError

    described: list[Any] = []
    # It cannot be asked for two columns of one name, or no SELECT: what it gives is taken then.
    with suppress(DBAPIError):
        # The query is the user's own, to run as it is; the transaction is read-only.
        probe = connection.exec_driver_sql(f"SELECT * FROM ({query}\n) AS q LIMIT 0")  # nosec B608
        described = list(probe.cursor.description) if probe.cursor else []
        probe.close()
    kinds = [of_mysql(column[1], _TEXT) for column in described]
    kinds = [kind if kind in _ASKED_AS_TEXT else Kind.OBJECT for kind in kinds]
    names = [str(column[0]) for column in described]
    if set(kinds) & _CAST:
        query = f"SELECT {', '.join(map(_format_mysql_cast, names, kinds))} FROM ({query}\n) AS q"  # nosec B608
    result = execute(connection, query)
    names, kinds = list(result.keys()), kinds or [Kind.OBJECT] * len(result.keys())

    def batches() -> Generator[Batch]:
        for rows in result.partitions(rows_at_once(connection)):
            yield partial(_columns, rows, kinds)

    return Rows(names, batches())


def _format_mysql_cast(name: str, kind: Kind) -> str:
    column = f"`{name.replace('`', '``')}`"
    return f"CAST({column} AS CHAR) AS {column}" if kind in _CAST else column


ways: dict[str, Callable[[Connection, str], Rows]] = {
    "pymysql": open_pymysql,
    "mysqldb": open_mysqldb,
    "mysqlconnector": open_mysqlconnector,
    "mariadbconnector": open_mariadb,
}
"""SQLAlchemy's name of a driver → how it is read."""


def _translating(connection: Connection, query: str, batches: Generator[Batch]) -> Generator[Batch]:
    with as_sqlalchemy(connection, query):
        yield from batches


def _by_rows(cursor: Any, kinds: Sequence[Kind], most: int) -> Generator[Batch]:
    while rows := cursor.fetchmany(most):
        yield partial(_columns, rows, kinds)


def _columns(rows: Sequence[Sequence[Any]], kinds: Sequence[Kind]) -> list[Column]:
    columns = zip(by_column(rows), kinds, strict=True)
    return [_build_mysql_column(values, kind) for values, kind in columns]


def _build_mysql_column(values: Sequence[Any], kind: Kind) -> Column:
    """A column of bytes, text or objects. A `bytearray` is what mysqlclient says is no text."""
    if kind is Kind.OBJECT:
        return Column(kind, values)
    # A driver gives one type for all of a column.
    first = next((value for value in values if value is not None), None)
    is_binary = isinstance(first, bytes | bytearray)
    if kind is Kind.TEXT and isinstance(first, bytearray):
        kind = Kind.BYTES
        values = [None if value is None else bytes(value) for value in values]
    if kind in (Kind.BYTES, Kind.BITS):
        return Column(kind, pl.Series(values, dtype=pl.Binary))
    if is_binary:
        return text_of(pl.Series(values, dtype=pl.Binary), kind)
    return Column(kind, pl.Series(values, dtype=pl.String))
