"""FILES_URL = none, all the way: the commands, PostgreSQL's types, S3, and kills."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handful import layout
from tests.pipeline.test_reconcile_rows import add, again, without_files
from tests.support import tiny as tiny_experiments
from tests.support.reconciling import Business, artifacts, tree
from tests.support.s3_servers import S3Server
from tests.support.tiny import HANDFUL, Tiny

QUERY = "SELECT artifact_id, label, text FROM labels"


def in_rows(tiny: Tiny) -> Tiny:
    """The experiment with its documents in the label rows, and no file left."""
    with sqlite3.connect(tiny.root / "labels.sqlite") as database:
        database.execute("ALTER TABLE labels ADD COLUMN text TEXT")
        for path in sorted(tiny.files.rglob("text.txt")):
            values = path.read_text(), path.parent.name
            database.execute("UPDATE labels SET text = ? WHERE artifact_id = ?", values)
            path.unlink()
    tiny.settings(FILES_URL="none", LABEL_QUERY=QUERY, EPOCHS="1")
    return tiny


def test_a_whole_experiment_is_that_of_the_same_files(tmp_path: Path) -> None:
    rows, files = tmp_path / "rows", tmp_path / "files"
    tinies = [in_rows(tiny_experiments.make(rows)), tiny_experiments.make(files)]
    tinies[1].settings(EPOCHS="1")
    tried = tinies[0].handful("check")
    assert tried.returncode == 0, tried.stderr
    assert not (tinies[0].store / layout.RECONCILIATION).exists()
    for tiny in tinies:
        ran = tiny.handful("run")
        assert ran.returncode == 0, ran.stderr
    for name in ("splits.parquet", "label2id.json"):
        (one, other) = (next(tiny.store.rglob(name)).read_bytes() for tiny in tinies)
        assert one == other
    ledgers = [pl.read_parquet(tiny.store / layout.LEDGER) for tiny in tinies]
    assert ledgers[0].drop("file_hash").equals(ledgers[1].drop("file_hash"))
    (one, other) = (tree(tiny.store / layout.ARTIFACTS) for tiny in tinies)
    assert one == other
    assert next(tinies[0].store.rglob("report.html")).stat().st_size > 1000
    after = tinies[0].handful("run", "--dry-run")
    assert after.returncode == 0
    assert "up to date" in after.stdout
    assert tinies[0].handful("status").returncode == 0
    assert tinies[0].handful("check").returncode == 0
    (tinies[0].root / "labels.sqlite").unlink()
    offline = tinies[0].handful("check", "--offline")
    assert offline.returncode == 0, offline.stderr


def test_a_wrong_column_is_told_by_check(tmp_path: Path) -> None:
    tiny = in_rows(tiny_experiments.make(tmp_path))
    tiny.settings(
        FILES_URL="none",
        LABEL_QUERY=QUERY,
        FILES_FROM_PROD="body.txt",
        FILES_ON_RESEARCH="body.txt, label.json",
    )
    tried = tiny.handful("check")
    assert tried.returncode == 2
    assert "'artifact_id', 'label', 'text'" in tried.stderr


def test_postgres_gives_bytes_json_and_text(tmp_path: Path, postgres: str) -> None:
    import sqlalchemy

    business = without_files(tmp_path, "body.txt, photo.jpg, payload.json, meta.json, size.txt")
    business.settings["production"] |= {
        "DATABASE_URL": postgres,
        "LABEL_QUERY": "SELECT id AS artifact_id, label, body, photo, payload, tags AS meta, "
        "size FROM d",
    }
    body, photo = 'tab\t, "quote", \\back\\slash, é, line\nend\r\n', bytes(range(256)) * 40
    engine = sqlalchemy.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE d (id int, label text, body text, photo bytea, payload jsonb, "
            "tags text[], size numeric)"
        )
        for number in range(6):
            connection.exec_driver_sql(
                "INSERT INTO d VALUES (%s, %s, %s, %s, %s, %s, 2.50)",
                (number, "ab"[number % 2], f"{number}{body}", photo, '{"a": [1, null]}', ["x"]),
            )
        connection.exec_driver_sql("UPDATE d SET photo = '', payload = 'null' WHERE id = 1")
    engine.dispose()
    assert business.run().record.kept == 6
    found = tree(artifacts(business))
    assert found["0/body.txt"] == f"0{body}".encode()
    assert found["0/photo.jpg"] == photo
    assert found["1/photo.jpg"] == b""
    assert found["0/payload.json"] == b'{"a": [1, null]}'
    assert found["1/payload.json"] == b"null"
    assert found["0/meta.json"] == b'["x"]'
    assert found["0/size.txt"] == b"2.50"


def test_a_store_on_s3(tmp_path: Path, s3_server: S3Server) -> None:
    business = without_files(tmp_path)
    business.settings["experiment"] |= {
        "STORE": s3_server.place(),
        "S3_ENDPOINT_URL": s3_server.endpoint_url,
    }
    for number in range(30):
        add(business, f"id-{number}", "cat" if number % 2 else "dog", f"text {number}")
    first = business.run()
    assert (first.record.kept, first.record.copied) == (30, 30)
    store, lost = first.store, layout.artifact_file("id-7", "text.txt")
    assert store.read(lost) == b"text 7"
    second = again(business)
    assert (second.record.copied, second.record.ledger_hash) == (0, first.record.ledger_hash)
    store.delete([lost])
    store.write(layout.artifact_file("id-8", "text.txt"), b"TEXT 8")
    third = again(business)
    assert (third.record.copied, third.record.ledger_hash) == (2, first.record.ledger_hash)
    assert (store.read(lost), store.read(lost.replace("7", "8"))) == (b"text 7", b"text 8")


def _large(folder: Path) -> Business:
    business = without_files(folder)
    business.settings["reconcile"]["COPY_CONCURRENCY"] = "2"
    with sqlite3.connect(business.database) as connection:
        rows: list[tuple[Any, ...]] = [
            (f"id-{n}", "cat" if n % 2 else "dog", None, 0, f"{n} " * 2000) for n in range(1500)
        ]
        connection.executemany("INSERT INTO labels VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    return business


@pytest.mark.timeout(300)
def test_killed_while_it_copies_it_ends_the_same(tmp_path: Path) -> None:
    from tests.support.progress import Recording

    business = _large(tmp_path)
    business.open(Recording(), tmp_path / "scratch")
    copies = artifacts(business)
    for enough in (1, 200, 700):
        command = [HANDFUL, "reconcile", str(business.directory)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if copies.is_dir() and len(list(copies.iterdir())) >= enough:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        assert process.wait() == -signal.SIGKILL
    outcome = business.run()
    assert outcome.record.kept == 1500
    assert outcome.record.copied < 1500
    assert tree(copies) == {f"id-{n}/text.txt": (f"{n} " * 2000).encode() for n in range(1500)}
    fresh = _large(tmp_path / "fresh")
    assert fresh.run().record.ledger_hash == outcome.record.ledger_hash


@pytest.mark.parametrize("driver", ["pymysql", "mysqlconnector"])
def test_mariadb_gives_bytes_json_and_text(tmp_path: Path, mariadb: str, driver: str) -> None:
    import sqlalchemy

    business = without_files(tmp_path, "body.txt, photo.jpg, payload.json, size.txt")
    business.settings["production"] |= {
        "DATABASE_URL": mariadb.replace("mysql:", f"mysql+{driver}:"),
        "LABEL_QUERY": "SELECT id AS artifact_id, label, body, photo, payload, size FROM d",
    }
    body, photo = "tab\t, \\back\\slash, é 𝒳\r\n", bytes(range(256)) * 200
    engine = sqlalchemy.create_engine(mariadb.replace("mysql:", "mysql+pymysql:"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE d (id INT, label VARCHAR(9), body LONGTEXT CHARACTER SET utf8mb4, "
            "photo LONGBLOB, payload JSON, size DECIMAL(5, 2))"
        )
        for number in range(6):
            connection.exec_driver_sql(
                "INSERT INTO d VALUES (%s, %s, %s, %s, %s, 2.50)",
                (number, "ab"[number % 2], f"{number}{body}", photo, '{"a": [1, null]}'),
            )
    engine.dispose()
    assert business.run().record.kept == 6
    found = tree(artifacts(business))
    assert found["0/body.txt"] == f"0{body}".encode()
    assert found["0/photo.jpg"] == photo
    assert found["0/payload.json"] == b'{"a": [1, null]}'
    assert found["0/size.txt"] == b"2.50"


def test_a_driver_of_postgres_that_reads_by_rows_gives_the_same(
    tmp_path: Path, postgres: str
) -> None:
    business = without_files(tmp_path, "photo.jpg, payload.json")
    business.settings["production"] |= {
        "DATABASE_URL": postgres.replace("postgresql:", "postgresql+psycopg2:"),
        "LABEL_QUERY": "SELECT n AS artifact_id, 'label ' || n % 2 AS label, "
        "decode('00ff27', 'hex') AS photo, json_build_object('a', n) AS payload "
        "FROM generate_series(0, 250) AS s (n)",
    }
    assert business.run().record.kept == 251
    found = tree(artifacts(business))
    assert found["250/photo.jpg"] == b"\x00\xff'"
    assert found["250/payload.json"] == b'{"a" : 250}'
