"""One value has one spelling, whatever the driver: every type of every server that is here."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from handful.labels.base import BATCH, LABELS_SCHEMA
from handful.labels.database import DatabaseLabels
from tests.support import databases
from tests.support.databases import Driver, Firebird, MariaDB, with_driver

UUID = "8b9cad0e-1f20-4132-8435-465768798a9b"
BYTES_UUID = f"\\x{UUID.replace('-', '')}"

POSTGRESQL: Mapping[str, Any] = {
    "1::int2": 1,
    "-5::int4": -5,
    "9007199254740993::int8": 9007199254740993,
    "1::oid": 1,
    "1.5::float8": 1.5,
    "0.1::float4": 0.1,
    "2::float8": 2.0,
    "'-0'::float8": -0.0,
    "1e300::float8": 1e300,
    "1e-7::float8": 1e-7,
    "1e16::float8": 1e16,
    "123456789012345680::float8": 123456789012345680.0,
    "'NaN'::float8": "nan",
    "'infinity'::float8": "inf",
    "'-infinity'::float4": "-inf",
    "1.50::numeric": "1.50",
    "-0.00::numeric": "0.00",
    "1e20::numeric": "100000000000000000000",
    "0.0000001::numeric": "1E-7",
    "'NaN'::numeric": "NaN",
    "'infinity'::numeric": "Infinity",
    "true": True,
    "false": False,
    "'a'::\"char\"": "a",
    "'ab'::char(4)": "ab  ",
    "'ü\"\\'::varchar": 'ü"\\',
    "E'a\\tb\\nc\\rd\\b\\f\\v\\x01\\x7f'": "a\tb\nc\rd\b\f\v\x01\x7f",
    "E'\\\\N'": "\\N",
    "E'\\\\.'": "\\.",
    "E'\\\\\\\\t'": "\\\\t",
    "''": "",
    "E'\\u2028😀'": "\u2028😀",
    "'x'::name": "x",
    f"'{UUID}'::uuid": UUID,
    "'\\x00ff'::bytea": "AP8=",
    "''::bytea": "",
    "'2026-01-02'::date": "2026-01-02",
    "'2024-02-29'::date": "2024-02-29",
    "'0001-01-01'::date": "0001-01-01",
    "'infinity'::date": "infinity",
    "'-infinity'::date": "-infinity",
    "'0044-03-15 BC'::date": "0044-03-15 BC",
    "'12026-01-02'::date": "12026-01-02",
    "'2026-01-02 03:04:05'::timestamp": "2026-01-02T03:04:05",
    "'2024-02-29 03:04:05.5'::timestamp": "2024-02-29T03:04:05.500000",
    "'2026-12-31 23:59:59.123456'::timestamp": "2026-12-31T23:59:59.123456",
    "'infinity'::timestamp": "infinity",
    "'0044-03-15 01:02:03 BC'::timestamp": "0044-03-15 01:02:03 BC",
    "'12026-01-02 01:01:01'::timestamp": "12026-01-02 01:01:01",
    "'2026-01-02 03:04:05+00'::timestamptz": "2026-01-02T03:04:05+00:00",
    "'2026-01-02 03:04:05.25+02'::timestamptz": "2026-01-02T01:04:05.250000+00:00",
    "'-infinity'::timestamptz": "-infinity",
    "'0044-03-15 01:02:03+00 BC'::timestamptz": "0044-03-15 01:02:03+00 BC",
    "'03:04:05'::time": "03:04:05",
    "'03:04:05.5'::time": "03:04:05.500000",
    "'24:00'::time": "24:00:00",
    "'03:04:05.5+02'::timetz": "03:04:05.500000+02:00",
    "'03:04:05+05:30'::timetz": "03:04:05+05:30",
    "'03:04:05+05:30:15'::timetz": "03:04:05+05:30:15",
    "'24:00+00'::timetz": "24:00:00+00",
    "'1 day'::interval": "1 day, 0:00:00",
    "'1 mon 2 days 03:04:05.5'::interval": "32 days, 3:04:05.500000",
    "'-1 years'::interval": "-365 days, 0:00:00",
    "'-1 days +02:03:04'::interval": "-1 day, 2:03:04",
    "'-00:00:01'::interval": "-1 day, 23:59:59",
    "'9999999 years'::interval": "9999999 years",
    "'infinity'::interval": "infinity",
    "12.34::money": "$12.34",
    "B'101'::bit(3)": "101",
    "B'0101'::varbit": "0101",
    "'10.0.0.1'::inet": "10.0.0.1",
    "'10.0.0.1/8'::inet": "10.0.0.1/8",
    "'10.0.0.0/8'::cidr": "10.0.0.0/8",
    "'fe80::1'::inet": "fe80::1",
    "'08:00:2b:01:02:03'::macaddr": "08:00:2b:01:02:03",
    '\'{"a": [1, null, 1.50], "ü": "\\u00fc"}\'::json': {"a": [1, None, 1.5], "ü": "ü"},
    '\'{"b":1,"a":{}}\'::jsonb': {"a": {}, "b": 1},
    "'\"x\"'::jsonb": "x",
    "'null'::jsonb": None,
    "'1e400'::json": "inf",
    f"'{'[' * 900}{']' * 900}'::json": "[" * 900 + "]" * 900,
    f"'[{'[1],' * 300}\"{'[' * 300}\"]'::json": [*[[1]] * 300, "[" * 300],
    "'[1,5)'::int4range": "[1,5)",
    "'empty'::int4range": "empty",
    "'(,5)'::int8range": "(,5)",
    "'[1.5,2)'::numrange": "[1.5,2)",
    "'[2026-01-01,infinity)'::daterange": "[2026-01-01,infinity)",
    "'[2026-01-01 00:00,)'::tsrange": '["2026-01-01 00:00:00",)',
    "'{[1,3),[5,6)}'::int4multirange": "{[1,3),[5,6)}",
    "ARRAY[1,NULL]": [1, None],
    "ARRAY[[1,2],[3,4]]": [[1, 2], [3, 4]],
    "'{}'::int[]": [],
    "'[0:1]={1,2}'::int[]": [1, 2],
    "ARRAY['a','b\"c\\',NULL,'NULL','','{,}']": ["a", 'b"c\\', None, "NULL", "", "{,}"],
    "ARRAY[true]": [True],
    "ARRAY[1.50,'NaN']::numeric[]": ["1.50", "NaN"],
    "ARRAY['2026-01-02'::date,'infinity']": ["2026-01-02", "infinity"],
    "ARRAY['2026-01-02 03:04:05'::timestamp]": ["2026-01-02T03:04:05"],
    f"ARRAY['{UUID}'::uuid]": [UUID],
    "ARRAY['1 day'::interval]": ["1 day, 0:00:00"],
    "ARRAY[12.34::money]": ["$12.34"],
    "ARRAY['\\x00ff'::bytea]": ["AP8="],
    "ARRAY['{\"a\":1}'::json]": [{"a": 1}],
    "ROW(1,'a',NULL)": "(1,a,)",
    "'sad'::mood": "sad",
    "ARRAY['sad']::mood[]": "{sad}",
    "1::posint": 1,
    "(1,'b')::pair": "(1,b)",
    "'(1,2)'::point": "(1,2)",
    "'a & b'::tsquery": "'a' & 'b'",
    "'pg_class'::regclass": "pg_class",
    "'0/16'::pg_lsn": "0/16",
    "NULL": None,
}
"""An expression → what it is in `row`."""
POSTGRESQL_TYPES = (
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE DOMAIN posint AS int CHECK (value > 0)",
    "CREATE TYPE pair AS (a int, b text)",
)

MARIADB: Mapping[str, tuple[str, Any]] = {
    "tinyint": ("TINYINT", {"1": 1}),
    "bool": ("BOOL", {"true": 1}),
    "unsigned": ("BIGINT UNSIGNED", {"18446744073709551615": 18446744073709551615}),
    "zerofill": ("INT(6) ZEROFILL", {"42": 42}),
    "float": ("FLOAT", {"1.5": 1.5, "0.1": 0.1}),
    "double": ("DOUBLE", {"1.5": 1.5, "1e300": 1e300, "2": 2.0}),
    "decimal": ("DECIMAL(10,2)", {"1.5": "1.50", "0": "0.00"}),
    "small": ("DECIMAL(20,10)", {"1e-10": "1E-10", "0": "0E-10", "1": "1.0000000000"}),
    "bit1": ("BIT(1)", {"b'1'": 1, "b'0'": 0}),
    "bit3": ("BIT(3)", {"b'101'": 5}),
    "bit64": ("BIT(64)", {f"b'{'1' * 64}'": 18446744073709551615}),
    "year": ("YEAR", {"2024": 2024, "0": 0}),
    "date": (
        "DATE",
        {
            "'2026-01-02'": "2026-01-02",
            "'0000-00-00'": "0000-00-00",
            "'2026-00-15'": "2026-00-15",
            "'2026-02-31'": "2026-02-31",
        },
    ),
    "datetime": (
        "DATETIME",
        {
            "'2026-01-02 03:04:05'": "2026-01-02T03:04:05",
            "'0000-00-00'": "0000-00-00 00:00:00",
            "'2026-02-31 01:02:03'": "2026-02-31 01:02:03",
        },
    ),
    "datetime6": (
        "DATETIME(6)",
        {
            "'2026-01-02 03:04:05.5'": "2026-01-02T03:04:05.500000",
            "'2026-01-02 03:04:05'": "2026-01-02T03:04:05",
            "'2026-00-00'": "2026-00-00 00:00:00.000000",
        },
    ),
    "timestamp": ("TIMESTAMP NULL", {"'2026-01-02 03:04:05'": "2026-01-02T03:04:05"}),
    "time": (
        "TIME",
        {
            "'03:04:05'": "3:04:05",
            "'24:00:00'": "1 day, 0:00:00",
            "'838:59:59'": "34 days, 22:59:59",
            "'-01:00:00'": "-1 day, 23:00:00",
        },
    ),
    "time3": ("TIME(3)", {"'-03:04:05.5'": "-1 day, 20:55:54.500000"}),
    "char": ("CHAR(4)", {"'ab'": "ab", "''": ""}),
    "varchar": ("VARCHAR(20)", {"'ü\"\\\\😀'": 'ü"\\😀', "'a\\tb\\nc'": "a\tb\nc"}),
    "latin": ("VARCHAR(20) CHARACTER SET latin1", {"'é'": "é"}),
    "text": ("LONGTEXT", {"REPEAT('x', 300)": "x" * 300, "REPEAT('y', 70000)": "y" * 70000}),
    "binary": ("BINARY(3)", {"x'00ff01'": "AP8B"}),
    "varbinary": ("VARBINARY(20)", {"'abc'": "YWJj", "''": ""}),
    "blob": ("BLOB", {"x'ff00'": "/wA="}),
    "enum": ("ENUM('a', 'b')", {"'a'": "a"}),
    "set": ("SET('x', 'y', 'z')", {"'z,x'": "x,z", "''": ""}),
    "json": ("JSON", {"'{\"a\": [1, 1.50]}'": '{"a": [1, 1.50]}'}),
    "geometry": (
        "GEOMETRY",
        {"ST_GeomFromText('POINT(1 2)')": "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="},
    ),
    "uuid": ("UUID", {f"'{UUID}'": UUID}),
    "inet6": ("INET6", {"'fe80::1'": "fe80::1"}),
}
"""A column → its type, and what is put in → what it is in `row`. NULL is tried with each, too."""

DUCKDB: Mapping[str, Any] = {
    "1::UTINYINT": 1,
    "170141183460469231731687303715884105727::HUGEINT": 170141183460469231731687303715884105727,
    "1.5::DOUBLE": 1.5,
    "'NaN'::FLOAT": "nan",
    "'inf'::DOUBLE": "inf",
    "1.50::DECIMAL(10,2)": "1.50",
    "true": True,
    "'ü\"'": 'ü"',
    "'\\xFF'::BLOB": "/w==",
    "'2026-01-02'::DATE": "2026-01-02",
    "'9999-12-31'::DATE": "9999-12-31",
    "'infinity'::DATE": "infinity",
    "'-infinity'::DATE": "-infinity",
    "'0044-03-15 (BC)'::DATE": "0044-03-15 (BC)",
    "'12026-01-02'::DATE": "12026-01-02",
    "'2026-01-02 03:04:05.5'::TIMESTAMP": "2026-01-02T03:04:05.500000",
    "'infinity'::TIMESTAMP": "infinity",
    "'infinity'::TIMESTAMPTZ": "infinity",
    "'12026-01-02 00:00'::TIMESTAMP": "12026-01-02 00:00:00",
    "'03:04:05'::TIME": "03:04:05",
    "'24:00:00'::TIME": "24:00:00",
    "INTERVAL '1 day 2 hours'": "1 day, 2:00:00",
    "'101'::BIT": "101",
    f"'{UUID}'::UUID": UUID,
    "'{\"a\":[1,1.50]}'::JSON": {"a": [1, 1.5]},
    "[1, 2, NULL]": [1, 2, None],
    "{'a': 1, 'b': 'x'}": {"a": 1, "b": "x"},
    "MAP {'a': 1}": {"a": 1},
    "'a'::ENUM('a', 'b')": "a",
    "NULL": None,
}

FIREBIRD: Mapping[str, Any] = {
    "1": 1,
    "CAST(9007199254740993 AS BIGINT)": 9007199254740993,
    "CAST(1.5 AS DOUBLE PRECISION)": 1.5,
    "CAST(1.25 AS NUMERIC(10,2))": "1.25",
    "TRUE": True,
    "CAST('ab' AS CHAR(4))": "ab  ",
    "'ü\"'": 'ü"',
    "CAST('x' AS BLOB SUB_TYPE TEXT)": "x",
    "CAST(x'00ff' AS BLOB SUB_TYPE BINARY)": "AP8=",
    "DATE '2026-01-02'": "2026-01-02",
    "TIMESTAMP '2026-01-02 03:04:05.5'": "2026-01-02T03:04:05.500000",
    "TIME '03:04:05.1234'": "03:04:05.123400",
    "CAST(x'e9' AS VARCHAR(4) CHARACTER SET NONE)": "\\xe9",
    "CAST(x'ff00' AS VARCHAR(4) CHARACTER SET OCTETS)": "/wA=",
    "CAST(NULL AS INTEGER)": None,
}


def label_rows(url: str, query: str) -> list[dict[str, Any]]:
    batches = list(DatabaseLabels(url, query).rows())
    assert all(batch.schema == LABELS_SCHEMA for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def others(url: str, query: str) -> list[list[Any]]:
    """The other columns of each row, in their order."""
    return [list(json.loads(row["row"]).values()) for row in label_rows(url, query)]


def one_row(url: str, expressions: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    columns = ", ".join(f"{what} AS c{number}" for number, what in enumerate(expressions))
    (found,) = others(url, f"SELECT 'i' AS artifact_id, 'x' AS label, {columns} {table}")
    return dict(zip(expressions, found, strict=True))


def same(found: Any, expected: Any) -> bool:
    """Alike in type, too: 2.0 is not 2."""
    return json.dumps(found) == json.dumps(expected)


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in expected if not same(found[key], expected[key])}


@pytest.fixture
def typed_postgres(postgres: str) -> str:
    import psycopg

    with psycopg.connect(postgres) as connection:
        for statement in POSTGRESQL_TYPES:
            connection.execute(statement)  # type: ignore[call-overload]
    return postgres


@pytest.mark.parametrize("driver", databases.POSTGRESQL, ids=str)
def test_every_type_of_postgresql(typed_postgres: str, driver: Driver) -> None:
    found = one_row(with_driver(typed_postgres, driver), POSTGRESQL)
    assert differences(found, POSTGRESQL) == {}


def mariadb_rows() -> tuple[int, dict[str, list[Any]]]:
    """How many rows hold all values, and each column's values in them, NULL at the end."""
    most = max(len(values) for _, values in MARIADB.values()) + 1
    return most, {
        name: [*values.values(), *[None] * (most - len(values))]
        for name, (_, values) in MARIADB.items()
    }


@pytest.fixture
def typed_mariadb(mariadb: str, mariadb_server: MariaDB) -> str:
    database = mariadb.rpartition("/")[2]
    columns = ", ".join(f"`c_{name}` {kind}" for name, (kind, _) in MARIADB.items())
    most, _ = mariadb_rows()
    rows = [
        ", ".join(
            [*values, *["NULL"] * (most - len(values))][number] for _, values in MARIADB.values()
        )
        for number in range(most)
    ]
    mariadb_server.execute(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        f"CREATE TABLE typed (id INT, {columns})",
        *(f"INSERT INTO typed VALUES ({number}, {row})" for number, row in enumerate(rows)),
        database=database,
    )
    return mariadb


@pytest.mark.parametrize("driver", databases.MARIADB, ids=str)
def test_every_type_of_mariadb(typed_mariadb: str, driver: Driver) -> None:
    columns = ", ".join(f"`c_{name}`" for name in MARIADB)
    query = f"SELECT id AS artifact_id, 'x' AS label, {columns} FROM typed"
    found = others(with_driver(typed_mariadb, driver), query)
    _, expected = mariadb_rows()
    by_column = dict(zip(MARIADB, map(list, zip(*found, strict=True)), strict=True))
    assert differences(by_column, expected) == {}


@pytest.mark.parametrize("driver", databases.MARIADB[:3], ids=str)
def test_another_encoding_of_the_connection_changes_nothing(mariadb: str, driver: Driver) -> None:
    url = f"{with_driver(mariadb, driver)}?charset=latin1"
    (row,) = label_rows(url, "SELECT 1 AS artifact_id, 'é' AS label, _utf8mb4 x'F09F9880' AS text")
    assert (row["label"], json.loads(row["row"])) == ("é", {"text": "😀"})


def test_every_type_of_duckdb(tmp_path: Path) -> None:
    databases.DUCKDB.require()
    import duckdb

    duckdb.connect(str(tmp_path / "labels.db")).close()
    found = one_row(f"duckdb:///{tmp_path}/labels.db", DUCKDB)
    assert differences(found, DUCKDB) == {}


def test_every_type_of_firebird(firebird: str) -> None:
    found = one_row(firebird, FIREBIRD, "FROM RDB$DATABASE")
    assert differences(found, FIREBIRD) == {}


def test_text_of_firebird_without_a_charset_in_the_url(firebird: str) -> None:
    bare = firebird.partition("?")[0]
    (row,) = label_rows(bare, "SELECT 1 AS artifact_id, x'c3bc' AS label FROM RDB$DATABASE")
    assert row["label"] == "ü"


def test_a_long_text_of_firebird(firebird_server: Firebird, firebird: str) -> None:
    from firebird.driver import connect

    with connect(
        firebird_server.place(firebird), user="SYSDBA", password=firebird_server.password
    ) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (note BLOB SUB_TYPE TEXT)")
        connection.commit()
        cursor.execute("INSERT INTO t VALUES (?)", ("y" * 100_000,))
        connection.commit()
    (row,) = label_rows(firebird, "SELECT 1 AS artifact_id, 'x' AS label, note FROM t")
    assert json.loads(row["row"]) == {"note": "y" * 100_000}


def test_every_type_of_sqlite(tmp_path: Path) -> None:
    values = {
        "1": 1,
        "9007199254740993": 9007199254740993,
        "1.5": 1.5,
        "2.0": 2.0,
        "9e999": "inf",
        "-9e999": "-inf",
        "1e-7": 1e-7,
        "'ü\"\\'": 'ü"\\',
        "CAST(x'636166e9' AS TEXT)": "caf\\xe9",
        "x'ff00'": "/wA=",
        "'a' || char(0) || 'b'": "a\0b",
        "NULL": None,
    }
    sqlite3.connect(tmp_path / "labels.db").execute("CREATE TABLE t (a)").connection.close()
    url = f"sqlite:///{tmp_path}/labels.db"
    assert differences(one_row(url, values), values) == {}
    # In one column all of them stand together.
    union = " UNION ALL ".join(f"SELECT 'i' artifact_id, 'x' label, {what} v" for what in values)
    found = [value for (value,) in others(url, union)]
    assert [same(*pair) for pair in zip(found, values.values(), strict=True)] == [True] * len(
        values
    )


def test_text_of_sqlite_that_is_no_utf8_far_behind(tmp_path: Path) -> None:
    """Wherever its driver stumbles, no row is lost and none comes twice."""
    count, bad = 2 * BATCH + 7, {0, 1, 5000, BATCH - 1, BATCH, 2 * BATCH + 6}
    for first in range(3):
        path = tmp_path / f"labels-{first}.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (id INTEGER, label TEXT)")
            rows = ((n, "CAST(x'e9' AS TEXT)" if n in bad else "") for n in range(count))
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
            connection.execute("UPDATE t SET label = CAST(x'e9' AS TEXT) WHERE label <> ''")
        connection.close()
        query = f"SELECT id AS artifact_id, label FROM t WHERE id >= {first}"
        found = label_rows(f"sqlite:///{path}", query)
        assert [int(row["artifact_id"]) for row in found] == list(range(first, count))
        odd = {int(row["artifact_id"]) for row in found if row["kept_as_text"] == "label"}
        assert odd == {number for number in bad if number >= first}


STRANGE = {
    "postgresql": (
        "'infinity'::date",
        "'0044-03-15 BC'::date",
        "'24:00'::time",
        "'12026-01-02 01:01:01'::timestamp",
        "'-infinity'::timestamptz",
        "'infinity'::float8",
        "'infinity'::numeric",
    ),
    "mariadb": ("CAST('0000-00-00' AS DATE)", "CAST('2026-00-15 00:00:00' AS DATETIME)"),
}


@pytest.mark.parametrize("driver", databases.POSTGRESQL, ids=str)
def test_strange_labels_and_ids_stand_as_text_and_are_told(postgres: str, driver: Driver) -> None:
    url = with_driver(postgres, driver)
    for what in STRANGE["postgresql"]:
        query = f"SELECT {what} AS artifact_id, {what} AS label UNION ALL SELECT NULL, NULL"
        strange, empty = label_rows(url, query)
        assert strange["kept_as_text"] == "artifact_id,label", what
        assert strange["label"] == strange["artifact_id"]
        assert empty["kept_as_text"] is None
    assert (
        label_rows(url, "SELECT 1 AS artifact_id, 'infinity' AS label")[0]["kept_as_text"] is None
    )


@pytest.mark.parametrize("driver", databases.MARIADB, ids=str)
def test_strange_labels_of_mariadb(typed_mariadb: str, driver: Driver) -> None:
    url = with_driver(typed_mariadb, driver)
    query = "SELECT id AS artifact_id, c_date AS label FROM typed ORDER BY id"
    found = [(row["label"], row["kept_as_text"]) for row in label_rows(url, query)]
    assert found[:4] == [
        ("2026-01-02", None),
        ("0000-00-00", "label"),
        ("2026-00-15", "label"),
        ("2026-02-31", "label"),
    ]


@pytest.mark.parametrize("driver", databases.POSTGRESQL, ids=str)
def test_a_label_that_is_no_number_is_none(postgres: str, driver: Driver) -> None:
    query = (
        "SELECT 'a' AS artifact_id, 'NaN'::{0} AS label UNION ALL SELECT 'b', 1 "
        "UNION ALL SELECT 'c', NULL"
    )
    for kind in ("float4", "float8", "numeric"):
        found = label_rows(with_driver(postgres, driver), query.format(kind))
        assert [row["label"] for row in found] == [None, "1", None]


def test_nan_of_duckdb_is_no_label(tmp_path: Path) -> None:
    databases.DUCKDB.require()
    import duckdb

    duckdb.connect(str(tmp_path / "labels.db")).close()
    query = "SELECT 1 AS artifact_id, 'nan'::DOUBLE AS label UNION ALL SELECT 2, 2"
    found = label_rows(f"duckdb:///{tmp_path}/labels.db", query)
    assert sorted((row["artifact_id"], row["label"]) for row in found) == [("1", None), ("2", "2")]


def documented() -> list[tuple[str, Any, str]]:
    """The table of the page: an expression, its JSON, and its text."""
    page = (Path(__file__).parents[3] / "docs/production.md").read_text()
    table = page.partition("| PostgreSQL | in `row` | as text |\n")[2].partition("\n\n")[0]
    lines = [re.findall(r"`([^`]*)`", line) for line in table.splitlines()[1:]]
    return [(what, json.loads(row), text) for what, row, text in lines]


@pytest.mark.parametrize("driver", databases.POSTGRESQL, ids=str)
def test_the_page_says_what_a_value_becomes(postgres: str, driver: Driver) -> None:
    told = documented()
    assert len(told) > 20
    for what, expected, text in told:
        query = f"SELECT 'i' AS artifact_id, {what} AS label, {what} AS v"
        (row,) = label_rows(with_driver(postgres, driver), query)
        assert (json.loads(row["row"])["v"], row["label"]) == (expected, text), what


def test_the_page_names_every_driver() -> None:
    page = (Path(__file__).parents[3] / "docs/production.md").read_text()
    servers = page.partition("### Servers")[2].partition("## What")[0]
    named = "psycopg psycopg2 pg8000 PyMySQL mysqlclient mysqlconnector mariadb"
    for name in (*named.split(), "duckdb-engine", "firebird-driver", "untried", "gs://", "az://"):
        assert name in servers


LETTERS = "a ü😀\u2028\t\n\r\b\f\v\\\"'\x01\x7fN.,{}%"


def random_text(random: Random) -> str | None:
    length = random.choice([0, 1, 2, 5, 250, 251, 300])
    return random.choice([None, "".join(random.choice(LETTERS) for _ in range(length))])


@pytest.mark.parametrize("driver", databases.POSTGRESQL, ids=str)
def test_random_rows_of_postgresql(postgres: str, driver: Driver) -> None:
    import psycopg

    random = Random(7)
    rows = [
        (number, random_text(random), random.uniform(-1, 1) * 10.0 ** random.randint(-20, 20))
        for number in range(500)
    ]
    with psycopg.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int, note text, size float8)")
        cursor.executemany("INSERT INTO t VALUES (%s, %s, %s)", rows)
    query = "SELECT id AS artifact_id, note AS label, note, size FROM t ORDER BY id"
    found = label_rows(with_driver(postgres, driver), query)
    assert [(int(row["artifact_id"]), row["label"]) for row in found] == [row[:2] for row in rows]
    encode = json.JSONEncoder(ensure_ascii=False).encode
    expected = [encode({"note": note, "size": size}) for _, note, size in rows]
    assert [row["row"] for row in found] == expected


@pytest.mark.parametrize("driver", databases.MARIADB, ids=str)
def test_random_rows_of_mariadb(mariadb: str, driver: Driver) -> None:
    import pymysql
    from sqlalchemy.engine import make_url

    url, random = make_url(mariadb), Random(7)
    rows = [(number, random_text(random)) for number in range(500)]
    login = {"user": url.username, "password": url.password, "database": url.database}
    with pymysql.connect(host="127.0.0.1", port=url.port or 0, **login) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (id int, note text CHARACTER SET utf8mb4)")
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", rows)
        connection.commit()
    query = "SELECT id AS artifact_id, note AS label, note FROM t ORDER BY id"
    found = label_rows(with_driver(mariadb, driver), query)
    assert [(int(row["artifact_id"]), row["label"]) for row in found] == rows
    encode = json.JSONEncoder(ensure_ascii=False).encode
    assert [row["row"] for row in found] == [encode({"note": note}) for _, note in rows]


@pytest.mark.parametrize("driver", databases.MARIADB, ids=str)
def test_a_row_that_is_longer_than_a_packet(
    mariadb: str, mariadb_server: MariaDB, driver: Driver
) -> None:
    mariadb_server.execute(f"SET GLOBAL max_allowed_packet = {64 * 2**20}")
    query = (
        "SELECT seq AS artifact_id, 'x' AS label, REPEAT('y', IF(seq = 2, 17000000, 3)) AS note, "
        "'z' AS last FROM seq_1_to_3"
    )
    found = [json.loads(row["row"]) for row in label_rows(with_driver(mariadb, driver), query)]
    assert [(len(row["note"]), row["last"]) for row in found] == [
        (3, "z"),
        (17_000_000, "z"),
        (3, "z"),
    ]


MEMORY = """
import resource, sys
from handful.labels.database import DatabaseLabels
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
def read(n): return sum(b.num_rows for b in DatabaseLabels(sys.argv[1], sys.argv[2] % n).rows())
read(60000); before = peak(); assert read(300000) == 300000; print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("driver", [*databases.POSTGRESQL[1:], *databases.MARIADB[:3]], ids=str)
def test_memory_does_not_grow_with_the_rows(request: pytest.FixtureRequest, driver: Driver) -> None:
    """Of those drivers that the page names; for psycopg see `test_database_labels`."""
    name, _, _ = driver.name.partition("+")
    url = request.getfixturevalue("postgres" if name == "postgresql" else "mariadb")
    source = "generate_series(1, %d) AS s(n)" if name == "postgresql" else "seq_1_to_%d AS s"
    number = "n" if name == "postgresql" else "seq"
    query = f"SELECT {number} AS artifact_id, REPEAT('x', 500) AS label FROM {source}"
    answer = subprocess.run(
        [sys.executable, "-c", MEMORY, with_driver(url, driver), query],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert int(answer.stdout) < 60, "megabytes"
