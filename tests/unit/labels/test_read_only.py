"""Production's databases are read and never written to: on real servers, driver by driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from handful.errors import DataError, HandfulError
from handful.labels.database import DatabaseLabels
from tests.support.databases import (
    DUCKDB,
    FIREBIRD,
    MARIADB,
    POSTGRESQL,
    Driver,
    Firebird,
    MariaDB,
    with_driver,
)
from tests.support.poolers import running_pgbouncer

READS = {
    "SELECT * FROM labels",
    "WITH x AS (SELECT * FROM labels) SELECT * FROM x",
    "SELECT artifact_id, label FROM labels UNION ALL SELECT 'b', 'y' WHERE 1 = 0;",
}


def rows(url: str, query: str) -> list[tuple[str, str]]:
    found = [row for batch in DatabaseLabels(url, query).rows() for row in batch.to_pylist()]
    return [(row["artifact_id"], row["label"]) for row in found]


def refuses(url: str, query: str) -> str:
    with pytest.raises(HandfulError) as caught:
        rows(url, query)
    assert caught.value.fault.remedy, query
    return str(caught.value)


def lift_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the database itself refuses, when nobody has looked at the query."""
    monkeypatch.setattr("handful.labels.statements.check_statement", lambda *_: None)


# PostgreSQL

POSTGRESQL_WRITES = (
    "DELETE FROM labels RETURNING artifact_id, label",
    "WITH gone AS (DELETE FROM labels RETURNING *) SELECT artifact_id, label FROM gone",
    "INSERT INTO labels VALUES ('z', 'z') RETURNING artifact_id, label",
    "SELECT remove() AS artifact_id, '' AS label",
    "SELECT nextval('numbers') AS artifact_id, '' AS label",
    "SELECT setval('numbers', 77) AS artifact_id, '' AS label",
    "SELECT lo_create(4711) AS artifact_id, '' AS label",
    "SELECT artifact_id, label INTO copied FROM labels",
    "CREATE TABLE copied AS SELECT * FROM labels",
    "DROP TABLE labels",
    "SELECT artifact_id, label FROM labels; DELETE FROM labels",
    "SELECT artifact_id, label FROM labels FOR UPDATE",
)
POSTGRESQL_SLIPS = (
    "SELECT pg_advisory_lock(1)::text AS artifact_id, '' AS label",
    "SELECT pg_notify('a', 'b')::text AS artifact_id, '' AS label",
    "SELECT set_config('statement_timeout', '1', false) AS artifact_id, '' AS label",
    "SELECT pg_cancel_backend(0) AS artifact_id, '' AS label",
)
"""What a read-only transaction lets through: only the look at the query refuses it."""


@pytest.fixture
def pg(postgres: str) -> str:
    _postgresql(
        postgres,
        "CREATE TABLE labels (artifact_id text, label text)",
        "INSERT INTO labels VALUES ('a', 'x')",
        "CREATE SEQUENCE numbers",
        "CREATE FUNCTION remove() RETURNS text LANGUAGE sql AS "
        "$$ DELETE FROM labels RETURNING artifact_id $$",
    )
    return postgres


def _postgresql(url: str, *statements: str) -> list[Any]:
    import psycopg

    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def _state_of_postgresql(url: str) -> list[Any]:
    return _postgresql(
        url,
        "SELECT (SELECT array_agg(l::text) FROM labels l), (SELECT last_value FROM numbers), "
        "(SELECT is_called FROM numbers), (SELECT count(*) FROM pg_class WHERE relnamespace = "
        "'public'::regnamespace), (SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 4711)",
    )


@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_postgresql(pg: str, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    url, before = with_driver(pg, driver), _state_of_postgresql(pg)
    for query in POSTGRESQL_WRITES + POSTGRESQL_SLIPS:
        refuses(url, query)
    for query in READS | {"TABLE labels"}:
        assert rows(url, query) == [("a", "x")]
    lift_check(monkeypatch)
    for query in POSTGRESQL_WRITES:
        with pytest.raises(HandfulError):
            rows(url, query)
    assert _state_of_postgresql(pg) == before


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("driver", POSTGRESQL, ids=str)
def test_a_pool_that_others_use_stays_writable(pg: str, driver: Driver, mode: str) -> None:
    """A session that we made read-only would be handed to the business's own programs."""
    options = (f"pool_mode = {mode}", "default_pool_size = 1", "max_client_conn = 20")
    with running_pgbouncer(pg, *options) as pooled:
        url = with_driver(pooled.render_as_string(hide_password=False), driver)
        assert rows(url, "SELECT * FROM labels") == [("a", "x")]
        refuses(url, "SELECT remove() AS artifact_id, '' AS label")
        plain = pooled.set(drivername="postgresql").render_as_string(hide_password=False)
        _postgresql(plain, f"INSERT INTO labels VALUES ('{driver.module}', 'y')")
    assert len(_postgresql(pg, "SELECT * FROM labels")) == 2


# MariaDB

MARIADB_WRITES = (
    "INSERT INTO labels VALUES ('z', 'z') RETURNING artifact_id, label",
    "DELETE FROM labels RETURNING artifact_id, label",
    "REPLACE INTO labels VALUES ('a', 'z') RETURNING artifact_id, label",
    "SELECT take_away() AS artifact_id, '' AS label",
    "SELECT NEXTVAL(numbers) AS artifact_id, '' AS label",
    "SELECT NEXT VALUE FOR numbers AS artifact_id, '' AS label",
    "SELECT SETVAL(numbers, 77) AS artifact_id, '' AS label",
    "SELECT artifact_id, label FROM labels FOR UPDATE",
    "CREATE TABLE copied AS SELECT * FROM labels",
    "CREATE TEMPORARY TABLE copied (a INT)",
    "DROP TABLE labels",
)
MARIADB_SLIPS = (
    "SELECT GET_LOCK('a', 0) AS artifact_id, '' AS label",
    "SELECT artifact_id, label FROM labels INTO OUTFILE '{file}'",
    "SELECT artifact_id, label FROM labels /*!50000 INTO OUTFILE '{file}' */",
    "SELECT label INTO DUMPFILE '{file}' FROM labels",
    "SELECT artifact_id, label FROM labels; DELETE FROM labels",
    "EXECUTE IMMEDIATE 'DELETE FROM labels'",
    "SET GLOBAL max_connections = 77",
)


@pytest.fixture
def maria(mariadb: str, mariadb_server: MariaDB) -> str:
    database = make_url(mariadb).database or ""
    mariadb_server.execute(
        "CREATE TABLE labels (artifact_id text, label text) ENGINE = InnoDB",
        "INSERT INTO labels VALUES ('a', 'x')",
        "CREATE SEQUENCE numbers",
        "CREATE FUNCTION take_away() RETURNS int BEGIN DELETE FROM labels; RETURN 1; END",
        "CREATE PROCEDURE labels_of(y INT) BEGIN SELECT * FROM labels; END",
        f"GRANT FILE ON *.* TO {database}@'%'",
        database=database,
    )
    return mariadb


def _state_of_mariadb(url: str) -> list[Any]:
    import pymysql

    there = make_url(url)
    connection = pymysql.connect(
        host=there.host or "",
        port=there.port or 0,
        user=there.username,
        password=str(there.password),
        database=there.database,
    )
    found: list[Any] = []
    with connection, connection.cursor() as cursor:
        for query in (
            "SELECT * FROM labels",
            "SELECT next_not_cached_value FROM numbers",
            "SHOW TABLES",
            "SELECT @@GLOBAL.max_connections",
        ):
            cursor.execute(query)
            found.append(cursor.fetchall())
    return found


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb(
    maria: str, driver: Driver, mariadb_server: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, before = with_driver(maria, driver), _state_of_mariadb(maria)
    file = mariadb_server.socket.with_name(f"out-{driver.module}")
    for query in MARIADB_WRITES + MARIADB_SLIPS:
        refuses(url, query.format(file=file))
    for query in READS | {"CALL labels_of(2024)", "SELECT /*! SQL_NO_CACHE */ * FROM labels"}:
        assert rows(url, query) == [("a", "x")]
    lift_check(monkeypatch)
    for query in MARIADB_WRITES:
        with pytest.raises(HandfulError):
            rows(url, query)
    assert _state_of_mariadb(maria) == before
    assert not file.exists()


@pytest.mark.parametrize("driver", MARIADB, ids=str)
def test_mariadb_a_wrong_column_or_an_early_end_hides_no_words(maria: str, driver: Driver) -> None:
    """Rows are still under way then, and some drivers cannot roll back."""
    url = with_driver(maria, driver)
    many = "SELECT seq AS {}, 'x' AS label FROM seq_1_to_60000"
    with pytest.raises(DataError, match="no column 'artifact_id'"):
        rows(url, many.format("artefact"))
    batches = DatabaseLabels(url, many.format("artifact_id")).rows()
    assert next(batches).num_rows
    batches.close()  # type: ignore[attr-defined]


# Firebird

FIREBIRD_WRITES = (
    "INSERT INTO labels VALUES ('z', 'z') RETURNING artifact_id, label",
    "DELETE FROM labels",
    "SELECT * FROM writes",
    "SELECT artifact_id, label FROM labels WITH LOCK",
    "EXECUTE BLOCK RETURNS (artifact_id INT, label INT) AS BEGIN DELETE FROM labels; SUSPEND; END",
    "CREATE TABLE copied (a INT)",
)
FIREBIRD_SLIPS = (
    "SELECT GEN_ID(numbers, 1) AS artifact_id, 1 AS label FROM RDB$DATABASE",
    "SELECT NEXT VALUE FOR numbers AS artifact_id, 1 AS label FROM RDB$DATABASE",
)


def test_firebird(
    firebird: str, firebird_server: Firebird, monkeypatch: pytest.MonkeyPatch
) -> None:
    FIREBIRD.require()
    from firebird.driver import connect  # type: ignore[import-untyped]

    there = make_url(firebird)
    place = f"127.0.0.1/{there.port}:{there.database}"
    with connect(place, user="SYSDBA", password=firebird_server.password) as admin:

        def done(*statements: str) -> Any:
            cursor = admin.cursor()
            for statement in statements:
                cursor.execute(statement)
                if statement.startswith("SELECT"):
                    return cursor.fetchall()
                admin.commit()
            return None

        done(
            "CREATE TABLE labels (artifact_id VARCHAR(9), label VARCHAR(9))",
            "INSERT INTO labels VALUES ('a', 'x')",
            "CREATE SEQUENCE numbers",
            "CREATE PROCEDURE reads RETURNS (artifact_id VARCHAR(9), label VARCHAR(9)) AS BEGIN "
            "FOR SELECT * FROM labels INTO :artifact_id, :label DO SUSPEND; END",
            "CREATE PROCEDURE writes RETURNS (artifact_id VARCHAR(9), label VARCHAR(9)) AS BEGIN "
            "IN AUTONOMOUS TRANSACTION DO DELETE FROM labels; SUSPEND; END",
        )
        for query in FIREBIRD_WRITES + FIREBIRD_SLIPS:
            refuses(firebird, query)
        block = "EXECUTE BLOCK RETURNS (artifact_id VARCHAR(9), label VARCHAR(9)) AS BEGIN "
        block += "artifact_id = 'a'; label = 'x'; SUSPEND; END"
        first = "SELECT FIRST 1 artifact_id, label FROM labels"
        for query in ("SELECT * FROM labels", "SELECT * FROM reads", first, block):
            assert rows(firebird, query) == [("a", "x")]
        lift_check(monkeypatch)
        for query in FIREBIRD_WRITES:
            with pytest.raises(HandfulError):
                rows(firebird, query)
        assert done("SELECT * FROM labels") == [("a", "x")]
        assert done("SELECT GEN_ID(numbers, 0) FROM RDB$DATABASE") == [(0,)]


# DuckDB

DUCKDB_WRITES = (
    "COPY labels TO 'out.csv'",
    "COPY (FROM labels) TO 'out.parquet'",
    "EXPORT DATABASE 'out'",
    "ATTACH 'new.db' AS n (READ_WRITE)",
    "CREATE TABLE z AS FROM labels",
    "INSERT INTO labels VALUES ('z', 'z') RETURNING *",
    "WITH x AS (INSERT INTO labels VALUES ('z', 'z') RETURNING *) FROM x",
    "SELECT nextval('numbers') AS artifact_id, '' AS label",
    "EXPLAIN ANALYZE COPY labels TO 'out.csv'",
    "INSTALL httpfs",
    "FROM labels; COPY labels TO 'out.csv'",
)
DUCKDB_READS = (
    *READS,
    "FROM labels",
    "SELECT artifact_id, COLUMNS('lab.*') FROM labels QUALIFY row_number() OVER () = 1",
    "SELECT artifact_id, x AS label FROM (PIVOT labels ON label USING any_value(label))",
    "FROM '{folder}/labels.parquet'",
)


def in_another_process(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def duck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DuckDB file and a Parquet file; made elsewhere, since DuckDB remembers what it opened."""
    DUCKDB.require()
    folder = tmp_path / "production"
    folder.mkdir()
    monkeypatch.chdir(folder)
    program = (
        "import duckdb; c = duckdb.connect('labels.db')\n"
        "c.execute(\"CREATE TABLE labels AS SELECT 'a' AS artifact_id, 'x' AS label\")\n"
        "c.execute('CREATE SEQUENCE numbers')\n"
        "c.execute(\"COPY labels TO 'labels.parquet'\")\n"
    )
    in_another_process(program)
    return folder / "labels.db"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_duckdb(duck: Path) -> None:
    before, url = contents(duck.parent), f"duckdb:///{duck}"
    for query in DUCKDB_WRITES:
        refuses(url, query)
    for query in DUCKDB_READS:
        assert rows(url, query.format(folder=duck.parent)) == [("a", "x")], query
    setting = "SELECT current_setting('access_mode') AS artifact_id, '' AS label"
    assert rows(f"{url}?access_mode=read_write", setting) == [("read_only", "")]
    assert contents(duck.parent) == before


def test_duckdb_in_memory_reads_files_and_writes_none(duck: Path) -> None:
    before = contents(duck.parent)
    for url in ("duckdb:///:memory:", "duckdb://"):
        assert rows(url, f"SELECT * FROM '{duck.parent}/*.parquet'") == [("a", "x")]
        for query in ("COPY (SELECT 1) TO 'x.csv'", "ATTACH 'x.db' AS n", "EXPORT DATABASE 'x'"):
            refuses(url, query)
    assert contents(duck.parent) == before


def test_duckdb_lets_the_file_go_and_spills_elsewhere(duck: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    query = "SELECT current_setting('temp_directory') AS artifact_id, '' AS label"
    for url in (f"duckdb:///{duck}", "duckdb:///:memory:"):
        (batch,) = DatabaseLabels(url, query, scratch=scratch).rows()
        assert batch.to_pylist()[0]["artifact_id"] == str(scratch)
    program = "import duckdb; duckdb.connect('labels.db').execute('DELETE FROM labels')"
    in_another_process(program)  # the business may write again
    assert rows(f"duckdb:///{duck}", "FROM labels") == []


def test_duckdb_what_a_crash_left_in_the_wal_is_read_and_left_there(duck: Path) -> None:
    program = (
        "import duckdb, os; c = duckdb.connect('labels.db')\n"
        "c.execute(\"INSERT INTO labels VALUES ('b', 'y')\"); os._exit(0)\n"
    )
    in_another_process(program)
    before = contents(duck.parent)
    assert "labels.db.wal" in before
    assert rows(f"duckdb:///{duck}", "FROM labels ORDER BY 1") == [("a", "x"), ("b", "y")]
    assert contents(duck.parent) == before


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_typo_in_a_path_makes_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (f"/{tmp_path}/none.db", "/none.db", "/no/folder/none.db"):
        assert "is not there" in refuses(f"{kind}://{name}", "SELECT 1 AS artifact_id")
    assert "is not a file" in refuses(f"{kind}:///{tmp_path}", "SELECT 1 AS artifact_id")
    assert list(tmp_path.iterdir()) == []


def test_a_typo_in_a_path_makes_nothing_on_firebird(
    firebird: str, firebird_server: Firebird
) -> None:
    before = sorted(path.name for path in firebird_server.folder.iterdir())
    words = refuses(firebird.replace("labels_", "lables_"), "SELECT 1 FROM RDB$DATABASE")
    assert "check the database's name" in words
    assert sorted(path.name for path in firebird_server.folder.iterdir()) == before
