"""Opens production's database so that nothing can be written to it, by each kind's own means."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from handful.errors import Denied, Unreachable, UserError
from handful.labels.connection_options import build_url_option_error, demands_tls, is_about_options
from handful.labels.drivers.duckdb_file import duckdb_url
from handful.labels.drivers.known import (
    refuse_async,
    select_installed_driver,
    unknown_dialect,
    unknown_module,
)
from handful.labels.drivers.sqlite_file import sqlite_engine
from handful.labels.failure_kinds import ENCODE, LOST, NO_TLS
from handful.labels.failures import build_mysql_query_error, shown
from handful.progress import Progress, Silent

_CONNECTION_FAULT_PLACE = "[production] DATABASE_URL"
_CONNECT_SECONDS = 10
_ON_CONNECT = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
"""The session is ours alone, and ends with us."""
_ON_BEGIN = {
    "postgresql": "SET TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
}
"""For this transaction only: behind a pooler the session may be somebody else's next."""


def parse_database_url(url: str) -> URL:
    """The URL with an installed driver; `UserError`, which does not show it, if it is none."""
    try:
        found = make_url(re.sub(r"^postgres(?=\+|://)", "postgresql", url))
    except (ArgumentError, ValueError):
        raise UserError(
            "is no database URL",
            where=_CONNECTION_FAULT_PLACE,
            remedy="write kind://user:password@host:port/database, with special characters of "
            "the password percent-encoded, or sqlite:///file.db",
        ) from None
    _check_password_is_encoded(url, found)
    return select_installed_driver(found)


def _check_password_is_encoded(raw: str, url: URL) -> None:
    """An `@` of the password makes the rest of it a host, which every message would show."""
    behind_login = re.sub(r"^[^:]+://[^:/]*(:[^@]*)?@", "", raw)
    pieces = behind_login.partition("?")[2].split("&")
    if "@" in (url.host or "") or any("@" in piece and "=" not in piece for piece in pieces):
        raise UserError(
            "cannot be read: there is an '@' too many in it; is it the password's?",
            where=_CONNECTION_FAULT_PLACE,
            remedy=ENCODE,
        )


@contextmanager
def open_read_only_engine(
    url: URL, progress: Progress | None = None, scratch: Path | None = None
) -> Iterator[Engine]:
    """An engine whose connections may not write, as far as the kind of database allows.

    SQLite: see `sqlite_file`. DuckDB: the file is opened read-only, with its temporary files in
    `scratch`. PostgreSQL, Oracle: read-only transactions. MySQL, MariaDB: read-only sessions.
    Firebird: read-only transactions. Any other kind: only `statements.check_statement` and the
    rollback at the end protect it.
    """
    if url.get_backend_name() == "sqlite":
        with sqlite_engine(url, progress or Silent(), scratch) as engine:
            yield engine
        return
    engine = _server_engine(url, scratch)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_read_only_connection(
    url: URL, progress: Progress | None = None, scratch: Path | None = None
) -> Iterator[Connection]:
    """A connection of `open_read_only_engine`; its transaction is rolled back at the end."""
    with open_read_only_engine(url, progress, scratch) as engine:
        connection = engine.connect()
        try:
            yield connection
            _check_nothing_is_missing(connection, url)
        except OSError as error:  # drivers in Python let those of their sockets through
            _close_in_the_middle(connection)
            what = f"the connection was lost: {error.strerror or type(error).__name__}"
            raise Unreachable(what, where=shown(url), remedy=LOST.remedy) from None
        except BaseException:
            _close_in_the_middle(connection)
            raise
        connection.close()


def _check_nothing_is_missing(connection: Connection, url: URL) -> None:
    """MariaDB's own driver ends its rows in silence where the server ended them with an error."""
    if url.get_driver_name() != "mariadbconnector":
        return
    for _, code, words in connection.exec_driver_sql("SHOW ERRORS").all():
        raise build_mysql_query_error(int(code), str(words), url)


def _close_in_the_middle(connection: Connection) -> None:
    """Rows may be under way, and not every driver can roll back then: the session's end does.

    What went wrong before is what should be told.
    """
    logger = logging.getLogger("sqlalchemy.pool")  # it would log that it cannot be closed in order
    logger.disabled = True
    try:
        with suppress(DBAPIError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyMySQL's, that rows are left
            connection.close()
    finally:
        logger.disabled = False


def _server_engine(url: URL, scratch: Path | None) -> Engine:
    kind = url.get_backend_name()
    if kind == "duckdb":
        url = duckdb_url(url, scratch)
    try:
        refuse_async(url)
        engine = create_engine(
            url, poolclass=NullPool, connect_args=_connect_timeout_arguments(url)
        )
    except NoSuchModuleError:
        raise unknown_dialect(url) from None
    except ModuleNotFoundError as error:
        raise unknown_module(url, error) from None
    except (ArgumentError, TypeError, ValueError) as error:
        raise build_url_option_error(error, url) from None
    event.listen(engine, "do_connect", _connecting(url))
    event.listen(engine, "connect", _driver_read_only)
    if kind in {"mysql", "mariadb"} and demands_tls(url):
        event.listen(engine, "connect", _check_tls(url))
    if kind in _ON_CONNECT:
        event.listen(engine, "connect", _executing(_ON_CONNECT[kind]))
    if kind in _ON_BEGIN:
        statement = _ON_BEGIN[kind]
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement))
    return engine


def _connect_timeout_arguments(url: URL) -> dict[str, Any]:
    """Nobody should wait for minutes for a host that does not answer."""
    if url.get_backend_name() not in {"postgresql", "mysql", "mariadb"}:
        return {}
    if url.get_driver_name() == "pg8000":
        return {} if "timeout" in url.query else {"timeout": _CONNECT_SECONDS}
    named = {"connect_timeout", "connection_timeout"} & set(url.query)
    return {} if named else {"connect_timeout": _CONNECT_SECONDS}


def _connecting(url: URL) -> Callable[..., Any]:
    """Connects, and says which option of the URL a driver does not know."""

    def connect(dialect: Any, _record: Any, arguments: Any, named: Any) -> Any:
        try:
            return dialect.connect(*arguments, **named)
        except Exception as error:
            if _is_database_driver_error(dialect, error) and not is_about_options(error, url):
                raise
            raise build_url_option_error(error, url) from None

    return connect


def _is_database_driver_error(dialect: Any, error: Exception) -> bool:
    return isinstance(error, dialect.loaded_dbapi.Error)


def _driver_read_only(connection: Any, _record: Any) -> None:
    """Where a driver begins every transaction read-only when told so; nothing is sent for it."""
    module = type(connection).__module__
    if module.startswith("psycopg."):
        connection.read_only = True
    elif module.startswith("psycopg2"):
        connection.set_session(readonly=True)
    elif module.startswith("firebird."):
        from firebird.driver import Isolation, TraAccessMode, tpb  # type: ignore[import-untyped]

        connection.default_tpb = tpb(Isolation.SNAPSHOT, access_mode=TraAccessMode.READ)
        connection.main_transaction.default_tpb = connection.default_tpb


def _check_tls(url: URL) -> Callable[[Any, Any], None]:
    """Some of MySQL's drivers go on in the clear where TLS is asked for and the server has none."""

    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        (row,) = cursor.fetchall()
        cursor.close()
        if not row[1]:
            raise Denied("the connection is not encrypted", where=shown(url), remedy=NO_TLS.remedy)

    return on_connect


def _executing(statement: str) -> Callable[[Any, Any], None]:
    def on_connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()

    return on_connect
