"""A real process that stands still at a write past its lock's life, and what it writes afterwards.

The small cousin of tests/pipeline/test_sleeper.py, where whole steps do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from handful.errors import Locked
from handful.storage import lock
from handful.storage.base import Store
from handful.storage.lock import hold_lock
from handful.storage.open import open_store
from tests.support.s3_servers import AnyServer
from tests.support.servers import S3Server

FOLDER, RECORD, TREE = "data/lock", "data/record.json", "final"
SLEEPING = Path(__file__).parents[1] / "support" / "sleeping"
SLEEPER = """
import sys
from contextlib import suppress
from pathlib import Path
from handful.errors import Absent, Locked
from handful.storage.lock import hold_lock
from handful.storage.open import open_store

store = open_store(sys.argv[1], endpoint_url=sys.argv[2] or None)
try:
    with hold_lock(store, "data/lock", "the sleeper") as held:
        mine = held.store
        with suppress(Absent):
            mine.read("data/record.json")
        mine.send_tree(Path(sys.argv[3]), "final", last="marker.json")
        mine.write("data/record.json", b"the sleeper's")
        held.check()
except Locked as error:
    print(error)
    sys.exit(1)
"""


def tree_of(folder: Path, whose: str) -> Path:
    folder.mkdir()
    for name in ("weights", "marker.json"):
        (folder / name).write_text(whose)
    return folder


def content(store: Store) -> dict[str, bytes]:
    keys = [key for rows in store.list() for key in rows.column("key").to_pylist()]
    return {key: store.read(key) for key in keys if not key.startswith(FOLDER)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(lock, "EXPIRES", 1.0)


class Sleeper:
    """The process, which stands still at `at`."""

    def __init__(self, root: Path, url: str, endpoint_url: str, at: str) -> None:
        self.told = root / "stands-still"
        paths = [str(SLEEPING), os.environ.get("PYTHONPATH", "")]
        env = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "SLEEPER_MACHINE": "another",
            "SLEEPER_AT": at,
            "SLEEPER_TOLD": str(self.told),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLEEPER, url, endpoint_url, str(tree_of(root / "s", "sleeper"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | env,
        )

    def wait(self) -> None:
        until = time.monotonic() + 60
        while not self.told.exists() and self.process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert self.process.poll() is None, self.process.communicate()[0]

    def wake(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGCONT)
        said = self.process.communicate(timeout=60)[0]
        return self.process.returncode, said


def take_over(store: Store, folder: Path) -> dict[str, bytes]:
    with hold_lock(store, FOLDER, "the taker") as held:
        held.store.send_tree(tree_of(folder, "taker"), TREE, last="marker.json")
        held.store.write(RECORD, b"the taker's")
    return content(store)


def run(root: Path, store: Store, endpoint_url: str, at: str) -> tuple[dict[str, bytes], Store]:
    sleeper = Sleeper(root, store.url, endpoint_url, at)
    try:
        sleeper.wait()
        time.sleep(2 * lock.BEAT)  # whose last beat is newer than that is not dead
        expected = take_over(store, root / "taker")
        status, said = sleeper.wake()
    finally:
        sleeper.process.kill()
    assert status == 1, said
    assert "the lock was lost" in said
    return expected, store


WHEN = [
    f"{moment} {key}"
    for moment in ("before", "within", "after")
    for key in (RECORD, "/marker.json")
]
CHEAP = {f"within {RECORD}", "within /marker.json"}
MOMENTS = [
    pytest.param(at, marks=[] if at in CHEAP else [pytest.mark.slow], id=at.replace("/", "."))
    for at in WHEN
]


@pytest.mark.parametrize("at", MOMENTS)
def test_on_a_local_store(tmp_path: Path, quick: None, at: str) -> None:
    expected, store = run(tmp_path, open_store(str(tmp_path / "store")), "", at)
    assert content(store) == expected


def test_in_the_last_moment_of_a_local_write_the_lock_is_not_to_be_had(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handful.storage import lock_guard

    monkeypatch.setattr(lock_guard, "PATIENCE_SECONDS", 0.2)
    store = open_store(str(tmp_path / "store"))
    sleeper = Sleeper(tmp_path, store.url, "", f"last {RECORD}")
    try:
        sleeper.wait()
        time.sleep(1.1 * lock.EXPIRES)
        with pytest.raises(Locked, match="stands still in the middle of a write"):
            take_over(store, tmp_path / "taker")
        status, said = sleeper.wake()
    finally:
        sleeper.process.kill()
    assert status == 0, said
    assert store.read(RECORD) == b"the sleeper's"
    take_over(store, tmp_path / "now")


@pytest.mark.parametrize("at", MOMENTS)
def test_on_a_server_that_honours_conditions(
    tmp_path: Path, s3_server: S3Server, quick: None, at: str
) -> None:
    there = s3_server.endpoint_url
    store = open_store(s3_server.place(), endpoint_url=there)
    expected, _ = run(tmp_path, store, there, at)
    assert content(store) == expected


@pytest.mark.slow
@pytest.mark.parametrize("at", WHEN)
def test_on_a_server_that_ignores_conditions(
    tmp_path: Path,
    s3_servers: Callable[[str], AnyServer],
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
    at: str,
) -> None:
    """Of what is on its way between the last look and the put, the one file may be the sleeper's;
    whoever compares hashes finds it out."""
    server = s3_servers("rclone-http")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(server.place(), endpoint_url=server.endpoint_url)
    expected, _ = run(tmp_path, store, server.endpoint_url, at)
    found = content(store)
    if at.startswith("within"):
        found = {k: v for k, v in found.items() if not k.endswith(at.removeprefix("within "))}
        expected = {k: v for k, v in expected.items() if k in found}
    assert found == expected
