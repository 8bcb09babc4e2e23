"""SQLite files are read without writing to them or beside them, whatever state they are in."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from handful.errors import DataError, Full, Unreachable, UserError
from handful.labels.database import BATCH, DatabaseLabels
from tests.support.progress import Recording

QUERY = "SELECT * FROM labels ORDER BY 1"


def rows(
    path: Path, query: str = QUERY, heard: Recording | None = None, options: str = ""
) -> list[str]:
    labels = DatabaseLabels(f"sqlite:///{path}{options}", query, progress=heard or Recording())
    return [row["artifact_id"] for batch in labels.rows() for row in batch.to_pylist()]


def contents(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file with its bytes, when it was last written to, and its inode."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.iterdir()
    }


def in_another_process(program: str, path: Path, **options: object) -> None:
    """POSIX locks are a process' own: what production does is done by another one."""
    code = f"import os, sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n{program}"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60, **options)  # type: ignore[call-overload]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "production"
    made.mkdir()
    return made


@pytest.fixture
def database(folder: Path) -> Path:
    path = folder / "lab els?%.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE labels (artifact_id, label)")
        connection.execute("INSERT INTO labels VALUES ('a', 'x')")
        connection.commit()
    return path.rename(folder / "labels.db")


@pytest.fixture
def wal(database: Path) -> Path:
    """In WAL mode, and closed in order: there is no -wal."""
    in_another_process("c.execute('PRAGMA journal_mode = WAL')", database)
    assert sorted(path.name for path in database.parent.iterdir()) == ["labels.db"]
    return database


CRASH = "c.execute(\"INSERT INTO labels VALUES ('b', 'y')\"); c.commit(); os._exit(0)"


def test_wal_mode_without_a_wal_is_read_and_nothing_appears(wal: Path) -> None:
    before, heard = contents(wal.parent), Recording()
    assert rows(wal, heard=heard) == ["a"]
    assert contents(wal.parent) == before
    assert heard.notes == []


def test_a_wal_that_a_crash_left_is_read_from_a_private_copy(wal: Path, tmp_path: Path) -> None:
    in_another_process(CRASH, wal)
    before, heard = contents(wal.parent), Recording()
    assert "labels.db-wal" in before
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    labels = DatabaseLabels(f"sqlite:///{wal}", QUERY, progress=heard, scratch=scratch).rows()
    assert next(labels).column("artifact_id").to_pylist() == ["a", "b"]
    (private,) = scratch.iterdir()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert list(labels) == []
    assert list(scratch.iterdir()) == []
    assert contents(wal.parent) == before
    (note,) = heard.notes
    size = sum(len(before[name][0]) for name in ("labels.db", "labels.db-wal"))
    assert f"{size / 1e6:,.1f} MB" in note


def test_a_wal_with_a_living_writer_is_read_as_of_its_last_commit(wal: Path) -> None:
    with closing(sqlite3.connect(wal)) as writer:
        writer.execute("INSERT INTO labels VALUES ('b', 'y')")
        writer.commit()
        writer.execute("INSERT INTO labels VALUES ('c', 'z')")
        before = contents(wal.parent)
        assert rows(wal) == ["a", "b"]
        assert contents(wal.parent) == before
        writer.commit()
        assert rows(wal) == ["a", "b", "c"]


def test_a_copy_of_a_busy_wal_is_of_one_moment(wal: Path) -> None:
    """Every transaction moves one between two tables: the sum never changes."""
    with closing(sqlite3.connect(wal)) as connection:
        connection.execute(
            "CREATE TABLE sums AS SELECT 500 AS here, 500 AS there, zeroblob(9000) AS b"
        )
        connection.execute("PRAGMA wal_autocheckpoint = 3")
        connection.commit()
    program = (
        "import time\nc.execute('PRAGMA wal_autocheckpoint = 3')\nprint('on', flush=True)\n"
        "end = time.time() + 8\n"
        "while time.time() < end:\n"
        "    c.execute('UPDATE sums SET here = here - 1, b = randomblob(9000)'); "
        "c.execute('UPDATE sums SET there = there + 1'); c.commit(); time.sleep(0.002)\n"
    )
    code = f"import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=30)\n{program}"
    writer = subprocess.Popen([sys.executable, "-c", code, str(wal)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout
        writer.stdout.readline()
        seen = set()
        for _ in range(20):
            query = "SELECT here + there AS artifact_id, here AS label FROM sums"
            labels = DatabaseLabels(f"sqlite:///{wal}", query).rows()
            row = next(iter(labels)).to_pylist()[0]
            assert row["artifact_id"] == "1000"
            seen.add(row["label"])
        assert len(seen) > 5
    finally:
        writer.kill()
        writer.wait()


def test_a_journal_that_a_crash_left_is_rolled_back_in_a_private_copy(database: Path) -> None:
    program = (
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.executemany('INSERT INTO labels VALUES (?, ?)', [('z', 'y' * 5000)] * 2000)\n"
        "c.execute(\"DELETE FROM labels WHERE artifact_id = 'a'\")\nos._exit(0)"
    )
    in_another_process(program, database)
    before, heard = contents(database.parent), Recording()
    assert "labels.db-journal" in before
    assert rows(database, heard=heard) == ["a"]
    assert contents(database.parent) == before
    assert "labels.db-journal" in heard.notes[0]


def test_a_writer_in_the_middle_of_a_transaction_does_not_disturb(database: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("INSERT INTO labels VALUES ('b', 'y')")
        before = contents(database.parent)
        assert rows(database) == ["a"]
        assert contents(database.parent) == before


def test_a_locked_database_says_so(database: Path) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unreachable, match="holds a lock"):
            rows(database, options="?timeout=0.1")


def test_a_file_that_changes_while_it_is_read_is_noticed(wal: Path) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) "
    many += "SELECT i AS artifact_id, '' AS label FROM n"
    batches = DatabaseLabels(f"sqlite:///{wal}", many).rows()
    assert next(batches).num_rows == BATCH
    in_another_process("c.execute('DELETE FROM labels'); c.commit(); c.close()", wal)
    with pytest.raises(Unreachable, match="changed while it was read"):
        list(batches)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own is private."""
    with tempfile.TemporaryDirectory(prefix="handful-sqlite-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


READER = """
import json, os, sqlite3, sys
from handful.labels.database import DatabaseLabels
path, query, expected = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
def ours():
    return [row for b in DatabaseLabels(f"sqlite:///{path}", query).rows() for row in b.to_pylist()]
assert [row["artifact_id"] for row in ours()] == expected  # what is imported is imported now
if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
try:
    sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute(query)
except sqlite3.OperationalError:
    assert [row["artifact_id"] for row in ours()] == expected
else:
    sys.exit("SQLite itself can read it")
"""
"""Reads it, gives up every right to write to a folder of ours, and reads it again."""


@pytest.mark.parametrize("is_crashed", [False, True])
@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_read(
    wal: Path, open_folder: Path, is_crashed: bool
) -> None:
    """As on a read-only mount, where SQLite itself cannot open a database in WAL mode."""
    if is_crashed:
        in_another_process(CRASH, wal)
    for path in wal.parent.iterdir():
        if not path.name.endswith("-shm"):
            copied = Path(shutil.copy(path, open_folder))
            copied.chmod(0o444)
    there = open_folder / wal.name
    open_folder.chmod(0o555)
    before = contents(open_folder)
    expected = json.dumps(["a", "b"] if is_crashed else ["a"])
    # A process of its own: one that was forked would lack the threads of polars.
    told = subprocess.run(
        [sys.executable, "-c", READER, str(there), QUERY, expected],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert told.returncode == 0, told.stderr
    assert contents(open_folder) == before
    open_folder.chmod(0o755)


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'new.db' AS n",
        "VACUUM INTO 'new.db'",
        "PRAGMA query_only = OFF",
        "CREATE TABLE z (a)",
        "DELETE FROM labels RETURNING artifact_id, label",
        "SELECT load_extension('x') AS artifact_id",
    ],
)
def test_sqlite_refuses_by_itself(
    database: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError):
        rows(database, query)
    monkeypatch.setattr("handful.labels.statements.check_statement", lambda *_: None)
    monkeypatch.chdir(database.parent)
    before = contents(database.parent)
    with pytest.raises(DataError):
        rows(database, query)
    assert contents(database.parent) == before


def test_a_link_is_followed_to_where_the_wal_lies(wal: Path, tmp_path: Path) -> None:
    in_another_process(CRASH, wal)
    link = tmp_path / "link.db"
    link.symlink_to(wal)
    assert rows(link) == ["a", "b"]


def test_no_room_for_a_copy_is_said_before_it_is_made(
    wal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_another_process(CRASH, wal)
    usage = shutil.disk_usage(wal)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(Full, match="private copy"):
        rows(wal)


def test_our_own_locks_survive_a_second_look_at_the_file(database: Path) -> None:
    """Closing a descriptor of the file would drop the locks of this process' other connections."""
    many = "SELECT artifact_id, label FROM labels"
    with closing(sqlite3.connect(database)) as connection:
        connection.executemany("INSERT INTO labels VALUES (?, '')", [("a",)] * 25_000)
        connection.commit()
    first = DatabaseLabels(f"sqlite:///{database}", many).rows()
    next(first)
    assert len(rows(database)) == 25_001
    code = "c.execute('PRAGMA busy_timeout = 100')\n"
    code += "try: c.execute('DELETE FROM labels'); c.commit(); sys.exit('it could write')\n"
    code += "except sqlite3.OperationalError: pass"
    in_another_process(code, database)
    assert sum(batch.num_rows for batch in first) == 25_001 - BATCH


def test_options_of_the_url(database: Path) -> None:
    assert rows(database, options="?timeout=3&mode=rwc&uri=true") == ["a"]
    with pytest.raises(UserError, match=r"does not know.*'charset', 'password'") as caught:
        rows(database, options="?charset=utf8&password=hush")
    assert "hush" not in str(caught.value)
    with pytest.raises(UserError, match="'timeout'"):
        rows(database, options="?timeout=soon")


def test_threads_share_a_file(wal: Path) -> None:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(rows(wal)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1, 1, 1, 1]
