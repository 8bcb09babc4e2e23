"""Reads the rows of a query as columns, by the quickest way that a driver has.

Every way gives the same values: the server's own text of each, where a driver gives that, so that
no driver's idea of a type is in between. What only gives Python's values is read row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from handful.errors import DataError
from handful.labels.base import BATCH
from handful.labels.columns import Column
from handful.labels.drivers.text_values import Kind

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

_QUERY_READING_PLACE = "[production] LABEL_QUERY"
ROWS_AT_ONCE = "handful_rows_at_once"
"""An option of a connection: see `rows_at_once`."""


Batch = Callable[[], Sequence[Column]]
"""Makes the columns of some rows, in any thread: it asks the database nothing any more."""


@dataclass(frozen=True)
class Rows:
    """An open result."""

    names: list[str]
    batches: Generator[Batch]
    """At most `BATCH` rows each; columns in the order of `names`."""


def open_rows(connection: Connection, query: str) -> Rows:
    """The open result of `query`, exactly as written: no `:name` or `%` in it is interpreted.

    Raises `DataError` if it gives no rows, and SQLAlchemy's `DBAPIError`.
    """
    # A trailing semicolon has no place in the cursor that a server declares for the query.
    query = query.strip().rstrip(";")
    return _way(connection)(connection, query)


def _way(connection: Connection) -> Callable[[Connection, str], Rows]:
    match connection.dialect.name, connection.dialect.driver:
        case "postgresql", "psycopg":
            from handful.labels.drivers.postgresql import open_psycopg

            return open_psycopg
        case "postgresql", "psycopg2" | "pg8000":
            from handful.labels.drivers.postgresql import open_by_rows

            return open_by_rows
        case "mysql" | "mariadb", driver:
            from handful.labels.drivers.mysql import ways

            return ways.get(driver, open_objects)
        case "sqlite", _:
            from handful.labels.drivers.embedded import open_sqlite

            return open_sqlite
        case "duckdb", _:
            from handful.labels.drivers.embedded import open_duckdb

            return open_duckdb
        case name, _ if name.startswith("firebird"):
            from handful.labels.drivers.firebird import open_firebird

            return open_firebird
        case _:
            return open_objects


def rows_at_once(connection: Connection) -> int:
    """How many rows may be held as Python's values: `BATCH`, or fewer where they are long."""
    found: int = connection.get_execution_options().get(ROWS_AT_ONCE, BATCH)
    return found


def open_objects(connection: Connection, query: str) -> Rows:
    """Rows as the driver reads them: Python's values."""
    result = execute(connection, query)

    def batches() -> Generator[Batch]:
        for rows in result.partitions(rows_at_once(connection)):
            yield of_objects(by_column(rows))

    return Rows(list(result.keys()), batches())


def by_column(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The values of each column. `zip(*rows)` would make an iterator of every row."""
    width = len(rows[0])
    flat = list(chain.from_iterable(rows))
    return [flat[column::width] for column in range(width)]


def of_objects(columns: Iterable[Sequence[Any]]) -> Batch:
    """Columns of Python's values. A LOB is read here, while it is there."""
    known = [Column(Kind.OBJECT, _with_lobs_read(values)) for values in columns]
    return lambda: known


def _with_lobs_read(values: Sequence[Any]) -> Sequence[Any]:
    if not any(hasattr(kind, "read") for kind in set(map(type, values))):
        return values
    return [value.read() if hasattr(value, "read") else value for value in values]


def execute(connection: Connection, query: str) -> CursorResult[Any]:
    """The result of `query`, streamed."""
    options: dict[str, Any] = {"no_parameters": True, "yield_per": rows_at_once(connection)}
    result = connection.exec_driver_sql(query, execution_options=options)
    check_gives_rows(result.returns_rows)
    return result


def check_gives_rows(gives_rows: bool) -> None:
    """`DataError` where a statement gives none."""
    if not gives_rows:
        raise DataError(
            "the query returns no rows", where=_QUERY_READING_PLACE, remedy="write a SELECT"
        )


def driver_connection(connection: Connection) -> Any:
    """The driver's own connection, in the transaction that SQLAlchemy began."""
    return connection.connection.driver_connection


@contextmanager
def as_sqlalchemy(connection: Connection, query: str) -> Iterator[None]:
    """Turn the driver's own errors into SQLAlchemy's, as its own cursors do."""
    from sqlalchemy.exc import DBAPIError

    dialect: Any = connection.dialect
    error_of_driver: type[Exception] = dialect.loaded_dbapi.Error
    try:
        yield
    except error_of_driver as error:
        raw = connection.connection.dbapi_connection if not connection.closed else None
        raise DBAPIError.instance(
            query,
            None,
            error,
            error_of_driver,
            connection_invalidated=bool(dialect.is_disconnect(error, raw, None)),
            dialect=dialect,
        ) from error
