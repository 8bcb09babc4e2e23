"""DATABASE_URL: options that a driver does not know, drivers that do not serve, raw passwords."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from handful.errors import HandfulError, Unreachable, UserError
from handful.labels.connection import parse_database_url
from handful.labels.database import DatabaseLabels
from tests.support.databases import FIREBIRD, MARIADB, POSTGRESQL, Driver, with_driver
from tests.support.servers import free_ports

ONE = "SELECT 1 AS artifact_id, 'x' AS label"


def refused(url: str, query: str = ONE) -> HandfulError:
    with pytest.raises(HandfulError) as caught:
        list(DatabaseLabels(url, query).rows())
    return caught.value


def all_of(error: HandfulError) -> str:
    return "".join(traceback.format_exception(error))


def with_options(url: str, **options: str) -> str:
    there = make_url(url).update_query_dict(options)
    return there.render_as_string(hide_password=False)


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql_names_options_that_are_unknown(postgres: str, driver: Driver) -> None:
    _names_unknown_options(with_driver(postgres, driver))


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_names_options_that_are_unknown(mariadb: str, driver: Driver) -> None:
    _names_unknown_options(with_driver(mariadb, driver))


def test_firebird_names_options_that_are_unknown(firebird: str) -> None:
    FIREBIRD.require()
    _names_unknown_options(firebird, "SELECT 1 AS artifact_id, 2 AS label FROM RDB$DATABASE")


def test_duckdb_names_options_that_are_unknown() -> None:
    _names_unknown_options("duckdb:///:memory:")


def _names_unknown_options(url: str, query: str = ONE) -> None:
    error = refused(with_options(url, pool_sise="hush-hush"), query)
    assert isinstance(error, UserError), error
    assert "'pool_sise'" in str(error)
    assert "hush-hush" not in all_of(error)
    assert list(DatabaseLabels(url, query).rows())


@pytest.mark.parametrize("driver", [*POSTGRESQL, *MARIADB], ids=str)
def test_an_option_that_cannot_be_used_is_the_users(driver: Driver) -> None:
    driver.require()
    name = "timeout" if driver.module == "pg8000" else "connect_timeout"
    error = refused(f"{driver.name}://me:pw-xyz@127.0.0.1:{free_ports(1)[0]}/db?{name}=soon")
    assert isinstance(error, UserError), error
    assert "pw-xyz" not in all_of(error)


@pytest.mark.parametrize(
    ("scheme", "instead"),
    [
        ("postgresql+asyncpg", "postgresql+psycopg://"),
        ("postgres+asyncpg", "postgresql+psycopg://"),
        ("postgresql+psycopg_async", "postgresql+psycopg://"),
        ("mysql+aiomysql", "mysql+pymysql://"),
        ("mysql+asyncmy", "mysql+pymysql://"),
        ("mariadb+aiomysql", "mariadb+pymysql://"),
        ("oracle+oracledb_async", "oracle+oracledb://"),
        ("mssql+aioodbc", "mssql+pyodbc://"),
    ],
)
def test_asynchronous_drivers_are_refused_by_name(scheme: str, instead: str) -> None:
    error = refused(f"{scheme}://me:pw-xyz@host/db")
    assert isinstance(error, UserError)
    assert f"'{scheme.partition('+')[2]}'" in str(error)
    assert instead in error.fault.remedy


def test_aiosqlite_is_read_by_sqlite_itself(tmp_path: Any) -> None:
    import sqlite3

    sqlite3.connect(tmp_path / "labels.db").close()
    (batch,) = DatabaseLabels(f"sqlite+aiosqlite:///{tmp_path}/labels.db", ONE).rows()
    assert batch.num_rows == 1


@pytest.mark.parametrize(
    ("scheme", "install"),
    [
        ("oracle", "pip install oracledb"),
        ("mssql", "pip install pyodbc"),
        ("mssql+pymssql", "pip install pymssql"),
        ("snowflake", "pip install 'snowflake-sqlalchemy'"),
        ("bigquery", "pip install 'sqlalchemy-bigquery'"),
        ("redshift", "pip install 'sqlalchemy-redshift'"),
        ("postgresql+psycopg3", "postgresql+psycopg"),
    ],
)
def test_what_is_missing_is_named_with_what_installs_it(scheme: str, install: str) -> None:
    error = refused(f"{scheme}://me:pw-xyz@host/db")
    assert isinstance(error, UserError)
    assert install in error.fault.remedy


PASSWORDS = [
    f"{before}{mark}{after}"
    for mark in ("@", "@/", "/@", "@#", "@?", "?@", "@:", ":@", "@[", "@%", "@?x=", "@/x?y", "#@/")
    for before, after in (("hunter", "secret"), ("hunter", "se@cret"))
]


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql", "mysql+mysqlconnector"])
@pytest.mark.parametrize("password", PASSWORDS)
def test_no_part_of_a_password_that_was_not_encoded_is_shown(scheme: str, password: str) -> None:
    """Without encoding, what stands behind an `@` is taken for a host, a database or an option."""
    error = refused(f"{scheme}://me:{password}@127.0.0.1:{free_ports(1)[0]}/db")
    assert isinstance(error, UserError | Unreachable)
    for part in ("hunter", "secret", "cret"):
        assert part not in str(error), error
    assert "encode" in str(error)


@pytest.mark.parametrize("mark", ["/", "#", "?", ":", "%", " ", "&", "=", "+", "[", "\\"])
def test_other_characters_may_stand_as_they_are(mark: str) -> None:
    assert (
        parse_database_url(f"postgresql://me:hunter{mark}secret@host/db").password
        == f"hunter{mark}secret"
    )


def test_a_short_password_is_not_told_by_what_is_blotted_out() -> None:
    error = refused(f"postgresql+psycopg://me:e@127.0.0.1:{free_ports(1)[0]}/db")
    assert "connection" in str(error)
