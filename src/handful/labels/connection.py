"""Opens a read-only engine for a database's URL, with the driver that is installed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from handful.errors import DataError, UserError
from handful.labels.failures import shown

_WHERE = "[production] DATABASE_URL"
_CONNECT_SECONDS = 10
_DRIVERS = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2")),
    "mysql": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")),
    "mariadb": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")),
}
"""Kind of database → (module, SQLAlchemy's name of it), the preferred one first."""
_INSTALL = {
    "psycopg": "pip install 'handful[postgresql]'",
    "psycopg2": "pip install psycopg2-binary",
    "MySQLdb": "pip install mysqlclient",
}
_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}


def parsed(url: str) -> URL:
    """The URL with an installed driver; `UserError`, which does not show it, if it is none."""
    try:
        found = make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise UserError(
            "is no database URL",
            where=_WHERE,
            remedy="write kind://user:password@host:port/database, with special characters of "
            "the password percent-encoded, or sqlite:///file.db",
        ) from None
    if "+" in found.drivername:
        return found
    for module, driver in _DRIVERS.get(found.drivername, ()):
        if find_spec(module):
            return found.set(drivername=f"{found.drivername}+{driver}")
    known = _DRIVERS.get(found.drivername)
    return found.set(drivername=f"{found.drivername}+{known[0][1]}") if known else found


def read_only_engine(url: URL) -> Engine:
    """An engine whose connections may not write, as far as the kind of database allows.

    SQLite: the file is opened read-only. PostgreSQL: a read-only transaction. MySQL, MariaDB:
    read-only sessions. Oracle: a read-only transaction. Any other kind: the transaction is rolled
    back at its end, always; give DATABASE_URL a user who may only read.
    """
    try:
        if url.get_backend_name() == "sqlite":
            return create_engine("sqlite://", creator=_sqlite(url), poolclass=NullPool)
        engine = create_engine(url, poolclass=NullPool, connect_args=_arguments(url))
    except NoSuchModuleError:
        raise UserError(
            f"{url.drivername!r} is no kind of database that is known here",
            where=_WHERE,
            remedy="postgresql, mysql and sqlite are; for others install their SQLAlchemy dialect",
        ) from None
    except ModuleNotFoundError as error:
        module = (error.name or url.get_driver_name()).split(".")[0]
        raise UserError(
            f"the driver {module!r} for {url.get_backend_name()} is not installed",
            where=_WHERE,
            remedy=_INSTALL.get(module, f"pip install {module}"),
        ) from None
    statement = _READ_ONLY.get(url.get_backend_name())
    if statement:
        event.listen(engine, "connect", _executing(statement))
    return engine


def _arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() in {"postgresql", "mysql", "mariadb"}:
        return {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
    return {}


def _executing(statement: str) -> Callable[[Any, Any], None]:
    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()

    return on_connect


def _sqlite(url: URL) -> Callable[[], sqlite3.Connection]:
    """Connects to the file as it is: never makes one, never writes to it."""
    name = (url.database or "").removeprefix("file:").split("?")[0]
    path = Path(name)
    if not name or name == ":memory:" or not path.is_file():
        what = "is not a file" if name and path.exists() else "is not there"
        raise DataError(
            f"the database file {what}" if name else "names no database file",
            where=shown(url),
            remedy="write sqlite:///file.db, relative to the experiment, or sqlite:////full/path",
        )
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"

    def connect() -> sqlite3.Connection:
        # A generator may be read by another thread than the one that began it.
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return connect
