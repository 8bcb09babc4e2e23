"""One at a time, on a local store and on a real S3 server: with and without conditional puts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from handful.errors import Absent
from handful.machine import is_alive, this_process
from handful.storage import lock
from handful.storage.base import Store
from handful.storage.guarded import Guarded
from handful.storage.lock import Holder, Locked, locked
from handful.storage.open import open_store
from handful.storage.retry import LONGEST_WAIT, WAIT_FOR_KNOWN
from handful.storage.s3 import S3Store
from servers import S3Server

FOLDER = "data/lock"


@pytest.fixture(params=["local", "s3", "s3 without conditions"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(str(tmp_path / "store"))
        return
    server: S3Server = request.getfixturevalue("s3_server")
    for name, value in server.owner.environment().items():
        monkeypatch.setenv(name, value)
    found = open_store(server.place(), endpoint_url=server.endpoint_url)
    if request.param != "s3":
        assert isinstance(found, S3Store)
        found._conditional = False  # as on a server that ignores the condition
    yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(lock, "EXPIRES", 1.0)
    monkeypatch.setattr(lock, "_LOOK", 0.05)


def test_a_lock_outlives_a_store_that_is_away_for_a_minute() -> None:
    waited = WAIT_FOR_KNOWN.total_seconds()
    assert waited - LONGEST_WAIT.total_seconds() > 60
    assert waited <= lock.EXPIRES - lock.BEAT


def files(store: Store) -> list[str]:
    return [key for batch in store.list(f"{FOLDER}/") for key in batch.column("key").to_pylist()]


def leave(store: Store, number: int, **changes: object) -> Holder:
    """A lock that somebody else left behind."""
    process = replace(this_process(), machine="elsewhere")
    then = "2020-01-01T00:00:00+00:00"
    holder = Holder("a-token", "reconcile of EXP-9", "far-away", process, then, then)
    holder = replace(holder, **changes)  # type: ignore[arg-type]
    store.write(f"{FOLDER}/{number:06d}.json", holder.to_json())
    return holder


def test_the_second_is_told_who_holds_it_and_the_next_gets_it(store: Store) -> None:
    with locked(store, FOLDER, "reconcile of EXP-1") as held:
        with pytest.raises(Locked) as told, locked(store, FOLDER, "reconcile of EXP-1"):
            raise AssertionError("two held it")
        assert f"reconcile of EXP-1 by process {this_process().pid}" in str(told.value)
        assert "since 20" in str(told.value)
        held.check()
    assert files(store) == []
    with locked(store, FOLDER, "again"):
        assert len(files(store)) == 1


def test_of_many_at_once_one_gets_it(store: Store) -> None:
    start, inside, most, told = threading.Barrier(12), [], [], []
    guard = threading.Lock()

    def one() -> None:
        start.wait()
        try:
            with locked(store, FOLDER, "one of many"):
                with guard:
                    inside.append(1)
                    most.append(len(inside))
                time.sleep(0.3)
                with guard:
                    inside.pop()
        except Locked as error:
            told.append(error)

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most, default=0) <= 1
    assert len(most) + len(told) == 12


def test_a_dead_process_of_this_machine_gives_way_at_once(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    # Its identity as the child would have told it.
    process = replace(this_process(), pid=child.pid, started=_started(child.pid))
    leave(store, 3, process=process, beat=lock._now())
    with pytest.raises(Locked, match="far-away"), locked(store, FOLDER, "me"):
        pass
    child.communicate(b"\n")
    began = time.monotonic()
    with locked(store, FOLDER, "me"):
        assert files(store) == [f"{FOLDER}/000004.json"]
    assert time.monotonic() - began < 5


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def test_a_silent_holder_elsewhere_expires(store: Store, quick: None) -> None:
    leave(store, 7)
    with locked(store, FOLDER, "me") as held:
        held.check()
        assert files(store) == [f"{FOLDER}/000008.json"]


def test_a_holder_whose_clock_is_wrong_is_heard_by_its_beats(store: Store, quick: None) -> None:
    holder = leave(store, 7)
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(0.1):
            count += 1
            store.write(
                f"{FOLDER}/000007.json",
                replace(holder, beat=f"2020-01-01T00:00:{count % 60:02d}+00:00").to_json(),
            )

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(Locked, match="EXP-9"), locked(store, FOLDER, "me"):
            pass
    finally:
        stop.set()
        thread.join()


def test_who_lost_it_stops_at_the_next_write(store: Store, quick: None) -> None:
    with locked(store, FOLDER, "me") as held:
        mine = Guarded(store, held.check)
        mine.write("a", b"1")
        leave(store, 2)  # somebody thought us dead
        with pytest.raises(Locked, match="taken over for reconcile of EXP-9"):
            write_for(mine, seconds=10)
        for write in (
            lambda: mine.create("b", b""),
            lambda: mine.send(Path(__file__), "b"),
            lambda: mine.send_tree(Path(__file__).parent, "b"),
            lambda: mine.delete(["a"]),
            lambda: mine.delete_tree("b"),
            lambda: mine.copy_from(store, "a", "b"),
        ):
            with pytest.raises(Locked):
                write()
        assert mine.read("a") == b"2"
    with pytest.raises(Absent):
        store.head("b")


def write_for(store: Store, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        store.write("a", b"2")
        time.sleep(0.02)


def test_a_pause_that_went_unnoticed_is_noticed(store: Store, quick: None) -> None:
    with locked(store, FOLDER, "me") as held:
        held._end.set()
        held._thread.join()  # as if the machine slept: no beats
        leave(store, 2)
        time.sleep(1.0)
        with pytest.raises(Locked, match="taken over"):
            held.check()


def test_a_process_is_known_by_when_it_started() -> None:
    me = this_process()
    assert is_alive(me) is True
    assert is_alive(replace(me, started="1")) is False
    assert is_alive(replace(me, machine="another")) is None
