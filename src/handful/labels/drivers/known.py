"""The drivers of SQLAlchemy's databases: which is preferred, refused, or to be installed."""

from __future__ import annotations

from importlib.util import find_spec

from sqlalchemy.engine import URL

from handful.errors import UserError

_DRIVER_FAULT_PLACE = "[production] DATABASE_URL"
_MYSQL = (("pymysql", "pymysql"), ("MySQLdb", "mysqldb"), ("mysql.connector", "mysqlconnector"))
_DRIVERS = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2"), ("pg8000", "pg8000")),
    "mysql": _MYSQL,
    "mariadb": (*_MYSQL, ("mariadb", "mariadbconnector")),
}
"""Kind of database → (module, SQLAlchemy's name of it), the preferred one first."""
_SYNC = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "oracle": "oracle+oracledb",
    "mssql": "mssql+pyodbc",
}
_INSTALL = {
    "psycopg": "pip install 'handful[postgresql]'",
    "psycopg2": "pip install psycopg2-binary",
    "pymysql": "pip install 'handful[mysql]'",
    "MySQLdb": "pip install mysqlclient",
    "mysql": "pip install mysql-connector-python",
    "duckdb": "pip install 'handful[duckdb]'",
    "duckdb_engine": "pip install 'handful[duckdb]'",
    "firebird": "pip install 'handful[firebird]'",
}
"""By module; any other is installed by its own name."""
_DIALECTS = {
    "awsathena": "PyAthena[SQLAlchemy]",
    "bigquery": "sqlalchemy-bigquery",
    "clickhouse": "clickhouse-sqlalchemy",
    "clickhousedb": "clickhouse-connect",
    "cockroachdb": "sqlalchemy-cockroachdb",
    "databricks": "databricks-sqlalchemy",
    "db2": "ibm_db_sa",
    "duckdb": "handful[duckdb]",
    "firebird": "handful[firebird]",
    "hana": "sqlalchemy-hana",
    "ibm_db_sa": "ibm_db_sa",
    "redshift": "sqlalchemy-redshift",
    "snowflake": "snowflake-sqlalchemy",
    "teradatasql": "teradatasqlalchemy",
    "trino": "trino[sqlalchemy]",
}
"""Kinds of databases that SQLAlchemy does not bring → what brings them."""


def select_installed_driver(url: URL) -> URL:
    """The URL, with the first driver that is installed if it names none."""
    if "+" in url.drivername:
        return url
    known = _DRIVERS.get(url.drivername, ())
    for module, driver in known:
        if _is_installed(module):
            return url.set(drivername=f"{url.drivername}+{driver}")
    return url.set(drivername=f"{url.drivername}+{known[0][1]}") if known else url


def refuse_async(url: URL) -> None:
    """`UserError` for a driver that only an event loop can use."""
    if not url.get_dialect().is_async:
        return
    kind = url.get_backend_name()
    driver = url.drivername.partition("+")[2]
    instead = _SYNC.get(kind)
    raise UserError(
        f"the driver {driver!r} is an asynchronous one, which handful does not read with",
        where=_DRIVER_FAULT_PLACE,
        remedy=f"write {instead}://… with the same user, host and database"
        if instead
        else f"write {kind}://… with a driver that is not",
    )


def unknown_dialect(url: URL) -> UserError:
    """The error for a kind of database, or a driver, that SQLAlchemy does not know."""
    kind, _, driver = url.drivername.partition("+")
    if driver and kind in _DRIVERS:
        known = ", ".join(f"{kind}+{name}" for _, name in _DRIVERS[kind])
        what, remedy = f"{driver!r} is no driver that is known for {kind}", f"use one of {known}"
        return UserError(f"{what}: no kind of database", where=_DRIVER_FAULT_PLACE, remedy=remedy)
    package = _DIALECTS.get(kind)
    return UserError(
        f"{url.drivername!r} is no kind of database that is known here",
        where=_DRIVER_FAULT_PLACE,
        remedy=f"pip install '{package}'"
        if package
        else "postgresql, mysql and sqlite are; for others install their SQLAlchemy dialect",
    )


def unknown_module(url: URL, error: ModuleNotFoundError) -> UserError:
    """The error for a driver whose module is not installed."""
    module = (error.name or url.get_driver_name()).split(".")[0]
    return UserError(
        f"the driver {module!r} for {url.get_backend_name()} is not installed",
        where=_DRIVER_FAULT_PLACE,
        remedy=_INSTALL.get(module, f"pip install {module}"),
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False
