"""Label rows from SQLite and from a real PostgreSQL."""

from __future__ import annotations

import builtins
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest

from handful.errors import DataError, Denied, HandfulError, Unreachable, UserError
from handful.labels.base import BATCH_OF_BYTES, LABELS_SCHEMA
from handful.labels.database import BATCH, DatabaseLabels
from tests.support.servers import free_ports

PASSWORD = "p@ss/w:rd %&?#"
"""Every character that has a meaning of its own in a URL."""


def rows(url: str, query: str) -> list[dict[str, Any]]:
    batches = list(DatabaseLabels(url, query).rows())
    assert all(batch.schema == LABELS_SCHEMA for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    path = tmp_path / "lab els +%.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE labels (artifact_id, label, file_hash, n, note)")
        connection.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?)",
            [("a", "x", "h1", 1, "ü"), ("b", None, None, 2.5, None), (3, 4, b"h", b"\xff", "")],
        )
    connection.close()
    return f"sqlite:///{path}"


def execute(url: str, *statements: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def test_rows_of_sqlite(sqlite: str) -> None:
    found = rows(sqlite, "SELECT * FROM labels")
    assert [(row["artifact_id"], row["label"], row["file_hash"]) for row in found] == [
        ("a", "x", "h1"),
        ("b", None, None),
        ("3", "4", "h"),
    ]
    assert [json.loads(row["row"]) for row in found] == [
        {"n": 1, "note": "ü"},
        {"n": 2.5, "note": None},
        {"n": "/w==", "note": ""},
    ]


def test_the_file_hash_may_be_missing_and_columns_are_found_in_any_case(sqlite: str) -> None:
    (row, *_) = rows(sqlite, 'SELECT label AS "LABEL", artifact_id AS "Artifact_Id" FROM labels')
    expected = {"artifact_id": "a", "label": "x", "file_hash": None, "row": "{}"}
    assert row == expected | {"kept_as_text": None}


def test_the_query_is_taken_as_it_is_written(sqlite: str) -> None:
    query = (
        "SELECT artifact_id, label, '10:30 %s %(x)s 100% :y' AS t FROM labels -- why: 5 %\n ; \n"
    )
    assert json.loads(rows(sqlite, query)[0]["row"]) == {"t": "10:30 %s %(x)s 100% :y"}


def test_columns_of_one_name_are_kept_apart(sqlite: str) -> None:
    (row, *_) = rows(sqlite, "SELECT artifact_id, label, n, n AS n, note AS n FROM labels")
    assert json.loads(row["row"]) == {"n": 1, "n_2": 1, "n_3": "ü"}
    with pytest.raises(DataError, match="'label' 2 times"):
        rows(sqlite, "SELECT artifact_id, label, note AS label FROM labels")


def test_no_rows_are_no_error(sqlite: str) -> None:
    assert rows(sqlite, "SELECT * FROM labels WHERE label = 'none'") == []


def test_missing_columns_are_named_with_what_is_there(sqlite: str) -> None:
    with pytest.raises(DataError) as caught:
        rows(sqlite, "SELECT artifact_id AS artefact, n, note AS labels FROM labels")
    message = str(caught.value)
    assert "'artifact_id'" in message
    assert "'label'" in message
    assert "artefact, n, labels" in message
    assert "SELECT artefact AS artifact_id" in message
    assert "SELECT labels AS label" in message


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM labels RETURNING artifact_id, label",
        "DELETE FROM labels",
        "INSERT INTO labels VALUES ('z', 'z', 'z', 1, 'z') RETURNING artifact_id, label",
        "DROP TABLE labels",
        "CREATE TABLE other (a)",
    ],
)
def test_sqlite_is_never_written_to(sqlite: str, query: str) -> None:
    with pytest.raises(DataError):
        rows(sqlite, query)
    assert len(rows(sqlite, "SELECT * FROM labels")) == 3


def test_a_query_that_is_wrong_gives_the_databases_words(sqlite: str) -> None:
    with pytest.raises(DataError, match="no such table: lables"):
        rows(sqlite, "SELECT * FROM lables")
    with pytest.raises(DataError, match="LABEL_QUERY"):
        rows(sqlite, "")


def test_a_missing_sqlite_file_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none.db", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(DataError, match=r"not there|no database file"):
            rows(url, "SELECT 1")
    with pytest.raises(DataError, match="not a file"):
        rows(f"sqlite:///{tmp_path}", "SELECT 1")
    (tmp_path / "text").write_text("this is no database, but long enough to be looked at" * 9)
    with pytest.raises(DataError, match="not a database"):
        rows(f"sqlite:///{tmp_path}/text", "SELECT * FROM labels")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_database_that_is_being_written_to_can_be_read(sqlite: str) -> None:
    writer = sqlite3.connect(sqlite.removeprefix("sqlite:///"))
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO labels VALUES ('new', 'x', NULL, 0, NULL)")
    assert len(rows(sqlite, "SELECT * FROM labels")) == 3
    writer.commit()
    assert len(rows(sqlite, "SELECT * FROM labels")) == 4
    writer.close()


def test_rows_are_streamed_in_batches(postgres: str) -> None:
    count = 4 * BATCH_OF_BYTES + 7
    execute(
        postgres,
        "CREATE TABLE labels (artifact_id int, label text)",
        f"INSERT INTO labels SELECT n, 'l' || n % 3 FROM generate_series(1, {count}) AS n",
    )
    batches = DatabaseLabels(postgres, "SELECT * FROM labels ORDER BY 1").rows()
    assert next(batches).num_rows == BATCH_OF_BYTES
    # The rest waits on the server: this session has a cursor open there.
    # (Only clients count: autovacuum looks at a new table when it likes.)
    with_cursor = (
        "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE relation = 'labels'::regclass AND backend_type = 'client backend'"
    )
    assert _value(postgres, with_cursor) == 1
    rest = [batch.num_rows for batch in batches]
    assert rest == [*[BATCH_OF_BYTES] * 3, 7]
    assert _value(postgres, with_cursor) == 0


def test_closing_early_lets_the_connection_go(postgres: str) -> None:
    batches = DatabaseLabels(
        postgres, "SELECT n AS artifact_id, '' AS label FROM generate_series(1, 50000) AS n"
    ).rows()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = user"
    until = time.monotonic() + 10  # the server ends its side a moment later
    while _value(postgres, count) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert _value(postgres, count) == 1


def _value(url: str, query: str) -> Any:
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return found[0]


def test_every_type_of_postgresql_becomes_text_or_json(postgres: str) -> None:
    one = UUID("8b9cad0e-1f20-4132-8435-465768798a9b")
    (row,) = rows(
        postgres,
        f"""SELECT '{one}'::uuid AS artifact_id, true AS label, 12.0::numeric AS file_hash,
            1.50::numeric AS price, '2026-01-02'::date AS day, 'NaN'::float8 AS nan,
            '2026-01-02 03:04:05+00'::timestamptz AS moment, '\\x00ff'::bytea AS bytes,
            '{{"a": [1, null]}}'::jsonb AS json, ARRAY[1, 2] AS list, '{one}'::uuid AS id,
            '1 day'::interval AS length, '10.0.0.1'::inet AS address, NULL AS nothing,
            9007199254740993 AS large, 'ü"\n' AS text""",
    )
    assert (row["artifact_id"], row["label"], row["file_hash"]) == (str(one), "true", "12")
    other = json.loads(row["row"])
    assert other.pop("moment").startswith("2026-01-02T")
    assert other == {
        "price": "1.50",
        "day": "2026-01-02",
        "nan": "nan",
        "bytes": "AP8=",
        "json": {"a": [1, None]},
        "list": [1, 2],
        "id": str(one),
        "length": "1 day, 0:00:00",
        "address": "10.0.0.1",
        "nothing": None,
        "large": 9007199254740993,
        "text": 'ü"\n',
    }


def test_ids_of_bytes_become_what_a_person_would_write(postgres: str) -> None:
    one = UUID("8b9cad0e-1f20-4132-8435-465768798a9b")
    found = rows(
        postgres,
        f"""SELECT id AS artifact_id, '' AS label FROM (VALUES ('\\x{one.hex}'::bytea),
            (convert_to('sixteen letters!', 'UTF8')), ('\\xff00'::bytea)) AS t(id)""",
    )
    assert [row["artifact_id"] for row in found] == [str(one), "sixteen letters!", "ff00"]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM labels RETURNING artifact_id, label",
        "WITH gone AS (DELETE FROM labels RETURNING *) SELECT artifact_id, label FROM gone",
        "SELECT artifact_id, label FROM labels; DELETE FROM labels",
        "SELECT remove() AS artifact_id, '' AS label",
        "DROP TABLE labels",
    ],
)
def test_postgresql_is_never_written_to(postgres: str, query: str) -> None:
    execute(
        postgres,
        "CREATE TABLE labels (artifact_id text, label text)",
        "INSERT INTO labels VALUES ('a', 'x')",
        "CREATE FUNCTION remove() RETURNS text LANGUAGE sql AS "
        "$$ DELETE FROM labels RETURNING artifact_id $$",
    )
    with pytest.raises(DataError):
        rows(postgres, query)
    assert [row["artifact_id"] for row in rows(postgres, "SELECT * FROM labels")] == ["a"]


def test_an_error_on_the_way_is_the_querys_fault(postgres: str) -> None:
    batches = DatabaseLabels(
        postgres,
        f"SELECT 1 / ({BATCH + 5} - n) AS artifact_id, '' AS label "
        f"FROM generate_series(1, {2 * BATCH}) AS n",
    ).rows()
    with pytest.raises(DataError, match="division by zero"):
        list(batches)


def test_a_table_that_may_not_be_read_is_denied(postgres: str, postgres_server: Any) -> None:
    with_admin = postgres_server.get_uri(database=urlsplit(postgres).path.strip("/"))
    execute(with_admin, "CREATE TABLE secrets (artifact_id text, label text)")
    with pytest.raises(Denied, match="permission denied for table secrets"):
        rows(postgres, "SELECT * FROM secrets")


def test_a_connection_lost_in_mid_stream_is_unreachable(
    postgres: str, postgres_server: Any
) -> None:
    batches = DatabaseLabels(
        postgres, "SELECT n AS artifact_id, '' AS label FROM generate_series(1, 900000) AS n"
    ).rows()
    assert next(batches).num_rows == BATCH_OF_BYTES
    user = postgres.removeprefix("postgresql://").partition(":")[0]
    postgres_server.psql(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}';"
    )
    with pytest.raises(Unreachable, match="run it again"):
        list(batches)


def with_password(url: str, password: str) -> str:
    user = url.removeprefix("postgresql://").partition(":")[0]
    return f"postgresql://{user}:{quote(password, safe='')}@{url.partition('@')[2]}"


def told(url: str, query: str = "SELECT 1") -> HandfulError:
    """The error, after a look that nothing which is shown of it holds the password."""
    with pytest.raises(HandfulError) as caught:
        rows(url, query)
    shown = "".join(traceback.format_exception(caught.value)) + repr(DatabaseLabels(url, query))
    for form in (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe="")):
        assert form not in shown
    return caught.value


def test_a_wrong_password_is_denied_and_never_shown(postgres: str) -> None:
    error = told(with_password(postgres, PASSWORD))
    assert isinstance(error, Denied)
    assert "password authentication failed" in str(error)


def test_the_right_password_works_whatever_it_holds(postgres: str) -> None:
    user = postgres.removeprefix("postgresql://").partition(":")[0]
    execute(postgres, f"ALTER ROLE {user} PASSWORD '{PASSWORD}'")
    query = "SELECT 1 AS artifact_id, 2 AS label"
    assert rows(with_password(postgres, PASSWORD), query)[0]["label"] == "2"
    assert rows(with_password(postgres, PASSWORD).replace("ql://", "ql+psycopg://"), query)
    assert rows(with_password(postgres, PASSWORD).replace("postgresql", "postgres"), query)


def test_no_server_is_unreachable() -> None:
    refused = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:{free_ports(1)[0]}/db"
    error = told(refused)
    assert isinstance(error, Unreachable)
    assert "postgresql://127.0.0.1" in str(error)
    assert "me@" not in str(error)
    assert isinstance(told(refused.replace("127.0.0.1", "no-such-host.invalid")), Unreachable)
    in_the_options = refused.replace(f":{quote(PASSWORD, safe='')}@", "@")
    assert isinstance(told(f"{in_the_options}?password={quote(PASSWORD, safe='')}"), Unreachable)


def test_a_database_that_does_not_exist_is_named(postgres_server: Any) -> None:
    error = told(postgres_server.get_uri(database="no_such_database"))
    assert isinstance(error, DataError)
    assert "no_such_database" in str(error)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "no database URL"),
        ("", "no database URL"),
        ("postgresql://me:{password}@host:port/db", "no database URL"),
        ("mangodb://me:{password}@host/db", "'mangodb' is no kind of database"),
        ("postgresql+nope://me:{password}@host/db", "no kind of database"),
        ("oracle://me:{password}@host/db", "pip install oracledb"),
    ],
)
def test_bad_urls_are_the_users_and_show_no_password(url: str, words: str) -> None:
    error = told(url.format(password=quote(PASSWORD, safe="")))
    assert isinstance(error, UserError)
    assert words in str(error)


def test_a_missing_driver_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find, load = importlib.util.find_spec, builtins.__import__

    def no_psycopg(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in {"psycopg", "psycopg2", "pg8000"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return load(name, *rest)

    monkeypatch.setattr(
        "handful.labels.drivers.known.find_spec",
        lambda name: None if name.startswith(("psycopg", "pg8000")) else find(name),
    )
    monkeypatch.setattr(builtins, "__import__", no_psycopg)
    for name in [name for name in sys.modules if name.split(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    error = told(f"postgresql://me:{quote(PASSWORD, safe='')}@host/db")
    assert isinstance(error, UserError)
    assert "pip install 'handful[postgresql]'" in str(error)


def test_memory_does_not_grow_with_the_rows(postgres: str) -> None:
    """300,000 rows of 500 bytes pass through a process that may hold far less than all of them."""
    program = (
        "import resource, sys\n"
        "from handful.labels.database import DatabaseLabels\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "query = \"SELECT n AS artifact_id, repeat('x', 500) AS label\"\n"
        "query += ' FROM generate_series(1, {}) AS n'\n"
        "def read(n): return sum(b.num_rows for b in "
        "DatabaseLabels(sys.argv[1], query.format(n)).rows())\n"
        "read(20000); before = peak(); assert read(300000) == 300000; print(peak() - before)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, postgres],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert int(answer.stdout) < 60, "megabytes"


def test_two_threads_may_read_at_once(sqlite: str) -> None:
    labels = DatabaseLabels(sqlite, "SELECT * FROM labels")
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(sum(b.num_rows for b in labels.rows())))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3, 3, 3, 3]
