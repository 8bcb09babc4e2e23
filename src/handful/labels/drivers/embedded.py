"""SQLite's and DuckDB's rows: databases in a file, whose drivers give Python's values."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from functools import partial
from itertools import islice
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from handful.labels.columns import Column
from handful.labels.drivers.text_values import Kind
from handful.labels.reading import (
    Batch,
    Rows,
    as_sqlalchemy,
    by_column,
    check_gives_rows,
    driver_connection,
    execute,
    of_objects,
    open_objects,
    rows_at_once,
)
from handful.labels.values import Verbatim

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SQLITE_TEXT_DECODER = methodcaller("decode", "utf-8", "surrogateescape")
_INFINITE = ("DATE", "TIMESTAMP")
"""DuckDB's types that hold infinity begin with these."""


def open_sqlite(connection: Connection, query: str) -> Rows:
    """By its own cursor."""
    raw = driver_connection(connection)
    with as_sqlalchemy(connection, query):
        cursor = raw.execute(query)
    check_gives_rows(cursor.description is not None)
    most = rows_at_once(connection)

    def batches() -> Generator[Batch]:
        with as_sqlalchemy(connection, query):
            while rows := _fetch(cursor, most):
                yield partial(_build_object_columns, rows)

    return Rows([column[0] for column in cursor.description], batches())


def _build_object_columns(rows: Sequence[Sequence[Any]]) -> list[Column]:
    return [Column(Kind.OBJECT, values) for values in by_column(rows)]


def _fetch(cursor: sqlite3.Cursor, most: int) -> list[Any]:
    """Up to `most` rows. From the first text on that is no UTF-8, its bytes come as surrogates,
    which takes longer; the cursor still stands at the row that it could not read."""
    rows: list[Any] = []
    try:
        rows.extend(islice(cursor, most))  # those before an error stay
    except sqlite3.OperationalError as error:
        if "decode" not in str(error) or cursor.connection.text_factory is not str:
            raise
        cursor.connection.text_factory = _SQLITE_TEXT_DECODER
        rows.extend(islice(cursor, most - len(rows)))
    return rows


def open_duckdb(connection: Connection, query: str) -> Rows:
    """Its driver gives 9999-12-31 for an infinite date: where one may be, its text is asked for."""
    temporal = _temporal(connection, query)
    if temporal is None:
        return open_objects(connection, query)
    names, places = temporal
    aliases = ", ".join(f"c{number}" for number in range(len(names)))
    told = ", ".join(f"CASE WHEN isinf(c{at}) THEN c{at}::VARCHAR END" for at in places)
    # The query is the user's own, to run as it is; the transaction is read-only.
    result = execute(connection, f"SELECT *, {told} FROM ({query}\n) AS q({aliases})")  # nosec B608

    def batches() -> Generator[Batch]:
        for rows in result.partitions(rows_at_once(connection)):
            columns = by_column(rows)
            for at, text in zip(places, columns[len(names) :], strict=True):
                columns[at] = [
                    value if verbatim is None else Verbatim(verbatim)
                    for value, verbatim in zip(columns[at], text, strict=True)
                ]
            yield of_objects(columns[: len(names)])

    return Rows(names, batches())


def _temporal(connection: Connection, query: str) -> tuple[list[str], list[int]] | None:
    """Names of all columns, and where those stand that may hold infinity; None if nowhere."""
    from sqlalchemy.exc import DBAPIError

    try:
        described = connection.exec_driver_sql(f"DESCRIBE {query}").all()
    except DBAPIError:  # no query that can be described, or a wrong one: it says so itself
        connection.rollback()
        return None
    types = [(str(row[0]), str(row[1])) for row in described]
    places = [
        at
        for at, (_, kind) in enumerate(types)
        if kind.startswith(_INFINITE) and not kind.endswith("]")
    ]
    return ([name for name, _ in types], places) if places else None
