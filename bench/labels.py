"""How fast label rows come from query to snapshot, beside who else reads them; ratios of one run.

    python bench/labels.py [--rows 1000000] [--rounds 5] [--only postgresql mysql+pymysql …]
                           [--flat 5000000]

Each row has a UUID as its id, a label, a hash, and six other columns: a number, a text, a price, a
moment, a truth value, and a note that may be NULL and has quotes in it. For each driver, in turns
and each in a fresh process whose libraries are imported before the clock starts:

    handful    the query, spelled, in `taken-labels.parquet`, as reconcile takes it
    5ebf7ed    the same of that commit, in a git worktree that this script makes and removes
    the driver alone, its rows thrown away
    ADBC       (PostgreSQL) its own fetch of the query into Arrow

With `--flat` it reads that many rows once more and compares the peaks. PostgreSQL and MariaDB are
started as the tests do. Leaves with 1 if a limit was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BEFORE = "5ebf7ed"
QUERY = "SELECT * FROM label_rows"
FLAT_MB = 400
LIMITS = {
    "postgresql+psycopg": {BEFORE: 6.0, "adbc": 0.4},
    "mysql+pymysql": {BEFORE: 3.0},
    "mysql+mysqldb": {BEFORE: 3.0},
    "mysql+mysqlconnector": {},
    "sqlite": {BEFORE: 2.0},
}
"""Driver → contestant → how many times as fast handful has to be."""
FLAT = ("postgresql+psycopg", "mysql+pymysql", "mysql+mysqlconnector", "sqlite")
"""Drivers that must not take more memory for more rows."""


def main() -> int:
    told = _parser().parse_args()
    if told.part:
        print(json.dumps(_part(**json.loads(told.part))))
        return 0
    drivers = told.only or list(LIMITS)
    kept = True
    with ExitStack() as stack:
        before = stack.enter_context(_worktree(BEFORE))
        urls = stack.enter_context(_databases(drivers, [told.rows, *filter(None, [told.flat])]))
        for driver in drivers:
            found = _compete(driver, urls[driver, told.rows], before, told.rounds)
            kept &= _tell(driver, told.rows, found)
            if told.flat and driver in FLAT:
                many = _run("handful", driver, urls[driver, told.flat], before)
                kept &= _tell_flat(told.flat, many)
    return 0 if kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flat", type=int, default=0, help="rows of a longer table")
    parser.add_argument("--only", nargs="*", default=[], choices=list(LIMITS))
    parser.add_argument("--part", help="for the benchmark itself")
    return parser


# --- the contest ---------------------------------------------------------------------------------


def _compete(
    driver: str, url: str, before: Path, rounds: int
) -> Mapping[str, Sequence[Mapping[str, float]]]:
    names = ["handful", BEFORE, "driver", *(["adbc"] if "adbc" in LIMITS[driver] else [])]
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            found[name].append(_run(name, driver, url, before))
    return found


def _run(name: str, driver: str, url: str, before: Path) -> dict[str, float]:
    """One measurement in a fresh process: rows, seconds, CPU seconds, peak MB."""
    source = before if name == BEFORE else ROOT
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            "--part",
            json.dumps({"name": name, "driver": driver, "url": url}),
        ],
        env={**os.environ, "PYTHONPATH": str(source / "src")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _tell(driver: str, rows: int, found: Mapping[str, Sequence[Mapping[str, float]]]) -> bool:
    print(f"\n{driver}: {rows:,} label rows")
    speed = {}
    for name, samples in found.items():
        speeds = [sample["rows"] / sample["seconds"] for sample in samples]
        speed[name] = statistics.median(speeds)
        print(
            f"  {name:10} {speed[name]:10,.0f} rows/s ({min(speeds):,.0f} to {max(speeds):,.0f})"
            f"   cpu {statistics.median(sample['cpu'] for sample in samples):6.2f} s"
            f"   peak {max(sample['peak'] for sample in samples):5.0f} MB",
            flush=True,
        )
    kept = True
    for name, limit in LIMITS[driver].items():
        ratio = speed["handful"] / speed[name]
        kept &= ratio >= limit
        verdict = "kept" if ratio >= limit else "MISSED"
        print(f"  handful / {name:10} {ratio:6.2f}   limit {limit:g}: {verdict}", flush=True)
    print(f"  handful / driver     {speed['handful'] / speed['driver']:6.2f}")
    if driver in FLAT:
        kept &= _tell_flat(rows, max(found["handful"], key=lambda sample: sample["peak"]))
    return kept


def _tell_flat(rows: int, sample: Mapping[str, float]) -> bool:
    kept = sample["peak"] <= FLAT_MB
    print(
        f"  peak at {rows:,} rows {sample['peak']:,.0f} MB   limit {FLAT_MB} MB: "
        f"{'kept' if kept else 'MISSED'}",
        flush=True,
    )
    return kept


# --- one contestant, in its own process ----------------------------------------------------------


def _part(name: str, driver: str, url: str) -> dict[str, float]:
    import resource
    import time

    ways = {"driver": _read_by_driver, "adbc": _read_by_adbc}
    read = ways.get(name, _read_by_handful)
    _import(name, driver)
    cpu, started = time.process_time(), time.perf_counter()
    with _undisturbed(name):
        rows = read(driver, url)
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _import(name: str, driver: str) -> None:
    """What a process needs once, however many rows it reads."""
    if name == "adbc":
        import pyarrow  # noqa: F401

        return
    from sqlalchemy import create_engine

    create_engine(f"{driver}://")
    if name != "driver":
        from importlib.util import find_spec

        import handful.steps.reconcile.snapshot.fetch  # noqa: F401

        if find_spec("handful.labels.statements"):
            import sqlglot  # noqa: F401


def _undisturbed(name: str) -> AbstractContextManager[None]:
    """As reconcile takes its snapshot: the garbage collector leaves alone what was there before."""
    if name in ("driver", "adbc"):
        return nullcontext()
    from handful.steps.reconcile.pool import freeze_garbage_collector

    return freeze_garbage_collector()


def _read_by_handful(_driver: str, url: str) -> int:
    from handful.labels.base import LABELS_SCHEMA
    from handful.labels.database import DatabaseLabels
    from handful.steps.reconcile.snapshot import tables

    with tempfile.TemporaryDirectory() as folder:
        with tables.writing(Path(folder) / "taken-labels.parquet", LABELS_SCHEMA) as writer:
            for batch in DatabaseLabels(url, QUERY).rows():
                writer.add(batch)
        return int(writer.rows)


def _read_by_driver(driver: str, url: str) -> int:
    """As its documentation says for many rows: a cursor that streams, some thousands at once."""
    from sqlalchemy import create_engine

    engine = create_engine(url)
    raw: Any = engine.raw_connection().driver_connection
    if driver == "postgresql+psycopg":
        cursor = raw.cursor(name="rows")
    elif driver == "mysql+mysqlconnector":
        cursor = raw.cursor(buffered=False)
    elif driver.startswith("mysql"):
        import MySQLdb.cursors
        import pymysql.cursors

        module = pymysql if driver.endswith("pymysql") else MySQLdb
        cursor = raw.cursor(module.cursors.SSCursor)
    else:
        cursor = raw.cursor()
    cursor.execute(QUERY)
    count = 0
    while rows := cursor.fetchmany(10_000):
        count += len(rows)
    return count


def _read_by_adbc(_driver: str, url: str) -> int:
    import adbc_driver_postgresql.dbapi as adbc

    plain = url.replace("postgresql+psycopg:", "postgresql:")
    with adbc.connect(plain) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        return int(cursor.fetch_arrow_table().num_rows)


# --- the same rows in every database -------------------------------------------------------------


@contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """The sources as they were, beside those of now."""
    with tempfile.TemporaryDirectory(prefix="handful-before-") as folder:
        place = Path(folder) / commit
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


@contextmanager
def _databases(
    drivers: Sequence[str], sizes: Sequence[int]
) -> Iterator[dict[tuple[str, int], str]]:
    """(driver, rows) → the URL of a database whose table `label_rows` has these rows."""
    sys.path.append(str(ROOT))
    from sqlalchemy.engine import make_url

    makers = {"postgresql": _postgresql, "mysql": _mariadb, "sqlite": _sqlite}
    with ExitStack() as stack:
        urls = {}
        for kind, make in makers.items():
            mine = [driver for driver in drivers if driver.partition("+")[0] == kind]
            if not mine:
                continue
            made = stack.enter_context(make(sizes))
            for driver in mine:
                for size, url in made.items():
                    there = make_url(url).set(drivername=driver)
                    urls[driver, size] = there.render_as_string(hide_password=False)
        yield urls


@contextmanager
def _postgresql(sizes: Sequence[int]) -> Iterator[dict[int, str]]:
    import psycopg

    from tests.support.servers import fresh_database, running_postgres

    with running_postgres() as server:
        urls = {size: fresh_database(server) for size in sizes}
        for size, url in urls.items():
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "CREATE TABLE label_rows AS SELECT gen_random_uuid() AS artifact_id, "
                    "'label ' || n % 40 AS label, "
                    "encode(sha256(n::text::bytea), 'hex') AS file_hash, n AS number, "
                    "'document ' || n || '.pdf' AS name, (n / 100.0)::numeric(12, 2) AS price, "
                    "'2026-01-01'::timestamptz + n * interval '1.1 s' AS created, "
                    "n % 2 = 0 AS is_open, CASE WHEN n % 3 > 0 THEN 'a note with \"quotes\"' END "
                    f"AS note FROM generate_series(1, {size}) AS n"  # type: ignore[arg-type]
                )
                connection.execute("VACUUM ANALYZE label_rows")
        yield urls


@contextmanager
def _mariadb(sizes: Sequence[int]) -> Iterator[dict[int, str]]:
    from tests.support.databases import running_mariadb

    with running_mariadb("--innodb-buffer-pool-size=1G") as server:
        urls = {size: server.fresh_database() for size in sizes}
        for size, url in urls.items():
            server.execute(
                "CREATE TABLE label_rows AS SELECT UUID() AS artifact_id, "
                "CONCAT('label ', seq % 40) AS label, SHA2(seq, 256) AS file_hash, seq AS number, "
                "CONCAT('document ', seq, '.pdf') AS name, "
                "CAST(seq / 100 AS DECIMAL(12, 2)) AS price, "
                "TIMESTAMP('2026-01-01') + INTERVAL seq SECOND AS created, seq % 2 = 0 AS is_open, "
                "IF(seq % 3 > 0, 'a note with \"quotes\"', NULL) AS note "
                f"FROM seq_1_to_{size}",
                database=url.rpartition("/")[2],
            )
        yield urls


@contextmanager
def _sqlite(sizes: Sequence[int]) -> Iterator[dict[int, str]]:
    import hashlib
    import sqlite3
    import uuid

    def row(n: int) -> tuple[Any, ...]:
        note = 'a note with "quotes"' if n % 3 else None
        digest = hashlib.sha256(str(n).encode()).hexdigest()
        moment = f"2026-01-{n % 28 + 1:02} 03:04:{n % 60:02}"
        named = (str(uuid.UUID(int=n * 2**64 + n)), f"label {n % 40}", digest)
        return (*named, n, f"document {n}.pdf", n / 100, moment, n % 2, note)

    with tempfile.TemporaryDirectory(prefix="handful-labels-") as folder:
        urls = {}
        for size in sizes:
            path = Path(folder) / f"{size}.db"
            with sqlite3.connect(path) as connection:
                connection.execute(
                    "CREATE TABLE label_rows (artifact_id TEXT, label TEXT, file_hash TEXT, number "
                    "INTEGER, name TEXT, price REAL, created TEXT, is_open INTEGER, note TEXT)"
                )
                marks = ", ".join("?" * 9)
                connection.executemany(
                    f"INSERT INTO label_rows VALUES ({marks})", map(row, range(1, size + 1))
                )
            connection.close()
            urls[size] = f"sqlite:///{path}"
        yield urls


if __name__ == "__main__":
    sys.exit(main())
