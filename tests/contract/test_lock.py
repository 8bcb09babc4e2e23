"""One at a time, on a local store and on a real S3 server: with and without conditional puts."""

from __future__ import annotations

import errno
import json
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.errors import Absent, Locked, StoreError
from handful.storage import lock, lock_guard
from handful.storage.base import Store
from handful.storage.lock import Held, Holder, hold_lock
from handful.storage.open import open_store
from handful.storage.retry import LONGEST_WAIT, WAIT_FOR_KNOWN
from handful.storage.s3.store import S3Store
from handful.system.machine import is_alive, this_process
from tests.support.servers import S3Server

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
    with hold_lock(store, FOLDER, "reconcile of EXP-1") as held:
        with pytest.raises(Locked) as told, hold_lock(store, FOLDER, "reconcile of EXP-1"):
            raise AssertionError("two held it")
        assert f"reconcile of EXP-1 by process {this_process().pid}" in str(told.value)
        assert f"on {socket.gethostname()} since 20" in str(told.value)
        held.check()
    assert files(store) == []
    with hold_lock(store, FOLDER, "again"):
        assert len(files(store)) == 1


def test_of_many_at_once_one_gets_it(store: Store) -> None:
    start, inside, most, told = threading.Barrier(12), [], [], []
    guard = threading.Lock()

    def one() -> None:
        start.wait()
        try:
            with hold_lock(store, FOLDER, "one of many"):
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
    leave(store, 3, process=process, beat=lock._lock_timestamp())
    with pytest.raises(Locked, match="far-away"), hold_lock(store, FOLDER, "me"):
        pass
    child.communicate(b"\n")
    began = time.monotonic()
    with hold_lock(store, FOLDER, "me"):
        assert files(store) == [f"{FOLDER}/000004.json"]
    assert time.monotonic() - began < 5


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]


def test_a_silent_holder_elsewhere_expires(store: Store, quick: None) -> None:
    leave(store, 7)
    began = time.monotonic()
    with hold_lock(store, FOLDER, "me") as held:
        assert 1 < time.monotonic() - began < 10, "it is heard out for two beats and a second"
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
        with pytest.raises(Locked, match="EXP-9"), hold_lock(store, FOLDER, "me"):
            pass
    finally:
        stop.set()
        thread.join()


def test_who_lost_it_stops_at_the_next_write(store: Store, quick: None) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        mine = held.store
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
        assert mine.read("a") in (b"1", b"2"), "a local store looks at once, a server now and then"
    with pytest.raises(Absent):
        store.head("b")


def write_for(store: Store, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        store.write("a", b"2")
        time.sleep(0.02)


def test_a_pause_that_went_unnoticed_is_noticed(store: Store, quick: None) -> None:
    with hold_lock(store, FOLDER, "me") as held:
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


# --- who slept, and woke up ----------------------------------------------------------------------


def sleeping(held: Held) -> Held:
    """Without beats, as long as nobody asks; the last one was long ago."""
    held._end.set()
    held._thread.join()
    held._renewed = replace(held._renewed, wall=held._renewed.wall - 3600)
    return held


def taken_and_left(store: Store, *, leaves: bool) -> None:
    """Somebody took the lock over and has left; `leaves`: with a word that a number was used."""
    held = Held(store, FOLDER, 2, leave(store, 2), stolen=leaves)
    store.delete([f"{FOLDER}/000001.json"])
    held.release()


@pytest.mark.parametrize("leaves", [True, False], ids=["this build", "one of format 1"])
def test_who_woke_up_after_the_taker_has_left_writes_nothing(store: Store, leaves: bool) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        mine = held.store
        sleeping(held)
        taken_and_left(store, leaves=leaves)
        before = files(store)
        with pytest.raises(Locked, match="has ended"):
            mine.write("record", b"the sleeper's")
        held._renew()
        assert files(store) == before, "its file does not come back"
    assert files(store) == before
    with pytest.raises(Absent):
        store.read("record")


def test_a_file_that_came_back_makes_nobody_the_holder(store: Store) -> None:
    """As between look and put of a renewal, on a server that ignores conditions."""
    with hold_lock(store, FOLDER, "me") as held:
        sleeping(held)
        own = store.read(held.key)
        taken_and_left(store, leaves=True)
        store.write(held.key, own)
        with pytest.raises(Locked, match="has ended"):
            held.check()
    assert files(store) == [f"{FOLDER}/000002.json"], "and the sleeper removes it at its end"


def test_another_one_under_the_same_number_is_another(store: Store) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        sleeping(held)
        leave(store, 1, token="another", beat=lock._lock_timestamp())
        with pytest.raises(Locked):
            held.check()
    assert b"another" in store.read(f"{FOLDER}/000001.json"), "it is not removed by who lost it"


def test_who_was_not_missed_goes_on(store: Store) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        before = store.read(held.key)
        sleeping(held).store.write("record", b"1")
        assert store.read(held.key) != before, "and was heard of again"
    assert store.read("record") == b"1"
    assert files(store) == []


def test_a_number_that_was_taken_from_a_silent_holder_stays_used(store: Store, quick: None) -> None:
    leave(store, 7)
    for number in (8, 9):
        began = time.monotonic()
        with hold_lock(store, FOLDER, "me"):
            assert files(store) == [f"{FOLDER}/{number:06d}.json"]
            assert [one.doing for one in lock.holders(store, FOLDER)] == ["me"]
        assert lock.holders(store, FOLDER) == [], "nobody is at work"
        last = Holder.from_json(store.read(f"{FOLDER}/{number:06d}.json"))
        assert is_alive(last.process) is False, "so takes it a build that knows no tokens"
    assert time.monotonic() - began < 1, "who has left is not waited for"


def test_another_process_of_the_holder_carries_the_token(store: Store) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        pickled = pickle.loads(pickle.dumps(held.store))  # noqa: S301 - our own
        copies = [pickled, lock.attach_lock_watch(store, told(held))]
        if isinstance(store, S3Store):
            copies[0]._conditional = store._conditional
        for number, copy in enumerate(copies):
            copy.write(f"copy-{number}", b"1")
            copy.fence._token = replace(copy.fence._token, seconds=0)
        taken_and_left(store, leaves=True)
        for number, copy in enumerate(copies):
            with pytest.raises(Locked, match="has ended"):
                copy.write(f"copy-{number}", b"2")
            with pytest.raises(Locked, match="has ended"):
                copy.fence.check_now()
            assert store.read(f"copy-{number}") == b"1"


def told(held: Held) -> dict[str, object]:
    """As a job file brings it."""
    return dict(json.loads(json.dumps(held.to_json())))


def test_it_looks_now_and_then_and_not_at_every_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        watched = lock.attach_lock_watch(store, told(held))
        looks = []
        taken = lock._lock_loss_reason
        monkeypatch.setattr(lock, "_lock_loss_reason", lambda *a: looks.append(1) or taken(*a))
        for number in range(20):
            watched.copy_from(store, held.key, f"copy-{number}")
            held.store.copy_from(store, held.key, f"copy-{number}")
        assert len(looks) == 1


def test_what_arrives_late_replaces_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sleeper stood between its look and the write."""
    conditions = not isinstance(store, S3Store) or store._conditional is not False
    with hold_lock(store, FOLDER, "me") as held:
        mine = held.store
        mine.write("made", b"before")
        for key in ("record", "made"):
            with suppress(Absent):
                mine.read(key)
        with monkeypatch.context() as asleep:
            asleep.setattr(held, "check", lambda: None)
            if not conditions:
                asleep.setattr(held, "check_now", lambda: None)
            taken_and_left(store, leaves=True)
            for key in ("record", "made"):
                store.write(key, b"the taker's")
            if conditions:
                for key in ("record", "made"):
                    with pytest.raises(Locked):
                        mine.write(key, b"late")
                with pytest.raises(Locked):
                    mine._send_new(Path(__file__), "record") if isinstance(
                        mine, S3Store
                    ) else mine.send(Path(__file__), "record")
            else:
                mine.write("record", b"late")  # it is noticed by whoever compares hashes
    expected = [b"the taker's" if conditions else b"late", b"the taker's"]
    assert [store.read(key) for key in ("record", "made")] == expected


def test_who_holds_it_replaces_what_a_late_writer_left(store: Store) -> None:
    with hold_lock(store, FOLDER, "me") as held:
        mine = held.store
        mine.write("record", b"1")
        mine.read("record")
        store.write("record", b"a sleeper's, that was on its way")
        mine.write("record", b"2")
        mine.delete(["record"])
        store.write("record", b"another's")
        mine.write("record", b"3")
    assert store.read("record") == b"3"


def test_in_the_last_moment_of_a_local_write_nobody_takes_it(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_guard, "PATIENCE_SECONDS", 0.2)
    sleep, slept = time.sleep, Counter[float]()
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.update([seconds]) or sleep(seconds))
    store = open_store(str(tmp_path / "store"))
    holder = leave(store, 3)
    paths = [tmp_path / "store" / FOLDER / f"00000{n}.json" for n in (3, 4)]
    with lock_guard.enter(paths[0], paths[1], holder.token) as mine:
        assert mine
        with pytest.raises(Locked, match="stands still in the middle of a write") as told:
            lock._acquire(store, FOLDER, "me")
        for part in ("reconcile of EXP-9", f"{store.url}/{FOLDER}", "let it go on, or end it"):
            assert part in str(told.value)
        assert 0 < slept[lock_guard._FLOCK_POLL_SECONDS] <= 10, "waiting keeps no core busy"
    with hold_lock(store, FOLDER, "me"), lock_guard.enter(paths[0], paths[1], holder.token) as mine:
        assert not mine
    with hold_lock(store, FOLDER, "me"):
        leave(store, 5)
        with lock_guard.enter(paths[1], tmp_path / "store" / FOLDER / "000005.json", "t") as mine:
            assert not mine
    assert files(store)


def test_rewrite_makes_nothing_and_replaces_only_what_is_there(store: Store) -> None:
    assert store.rewrite("key", lambda _: b"new") is False
    store.write("key", b"old")
    assert store.rewrite("key", lambda _: None) is False
    assert store.rewrite("key", lambda old: b"new" if old == b"old" else None) is True
    assert store.read("key") == b"new"
    store.delete(["key"])
    assert store.rewrite("key", lambda _: b"new") is False
    assert [key for rows in store.list() for key in rows.column("key").to_pylist()] == []


def test_a_clock_that_stood_still_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    then = lock.Moment.now()
    assert then.seconds_ago() < 60
    assert replace(then, wall=then.wall - 3600).seconds_ago() > 3599
    assert replace(then, boot=then.boot - 3600).seconds_ago() > 3599
    assert replace(then, boot=then.boot - 3600, wall=then.wall + 7200).seconds_ago() > 3599


def test_the_clock_is_the_one_that_goes_on_while_the_machine_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 77.0}.__getitem__)
    assert lock.Moment.now().boot == 77.0
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert lock.Moment.now().boot == 0.0


# --- moments, on a local store -------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_it_beats_while_it_is_held_and_no_more_afterwards(
    local: Store, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite, beats = type(local).rewrite, threading.Semaphore(0)

    def slow(*what: Any) -> bool:
        beats.release()
        time.sleep(0.2)
        return rewrite(*what)

    monkeypatch.setattr(type(local), "rewrite", slow)
    with hold_lock(local, FOLDER, "me") as held:
        first = local.read(held.key)
        for _ in range(2):  # nobody asks for them; the end comes in the midst of the second
            assert beats.acquire(timeout=10)
        assert local.read(held.key) != first
    assert not held._thread.is_alive()
    assert files(local) == []


def test_who_was_heard_of_just_now_is_not_waited_for(local: Store) -> None:
    leave(local, 7, beat=lock._lock_timestamp())
    began = time.monotonic()
    with pytest.raises(Locked, match="EXP-9"), hold_lock(local, FOLDER, "me"):
        pass
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"process": {"pid": 1}}'])
def test_what_is_no_lock_is_named_and_left(local: Store, content: bytes) -> None:
    key = f"{FOLDER}/000003.json"
    local.write(key, content)
    with pytest.raises(StoreError, match="no lock of handful's") as told:
        lock._acquire(local, FOLDER, "me")
    assert f"{local.url}/{key}" in str(told.value)
    assert "remove it if no other handful is at work" in str(told.value)
    assert local.read(key) == content


@pytest.mark.parametrize("meanwhile", ["woke up", "taken", "removed", "answer lost"])
def test_between_creating_its_file_and_looking_again(
    local: Store, quick: None, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Whoever wants the lock has made the next number; then this happens."""
    sleeps = "elsewhere" if meanwhile == "woke up" else this_process().machine
    dead = leave(local, 3, process=replace(this_process(), machine=sleeps, started="1"))
    create = type(local).create

    def meddle(self: Store, key: str, data: bytes) -> bool:
        made = create(self, key, data)
        monkeypatch.setattr(type(local), "create", create)
        if meanwhile == "woke up":
            local.write(
                f"{FOLDER}/000003.json", replace(dead, beat=lock._lock_timestamp()).to_json()
            )
        elif meanwhile == "taken":
            leave(local, 5, beat=lock._lock_timestamp())
        elif meanwhile == "removed":
            local.delete([key])
        return made and meanwhile != "answer lost"

    monkeypatch.setattr(type(local), "create", meddle)
    if meanwhile in {"woke up", "taken"}:
        with pytest.raises(Locked, match="EXP-9 by process"), hold_lock(local, FOLDER, "me"):
            pass
        assert f"{FOLDER}/000004.json" not in files(local), "it takes back what it made"
        return
    with hold_lock(local, FOLDER, "me") as held:
        assert held.token.encode() in local.read(held.key)
        assert files(local) == [held.key]
        held.check_now()


def test_the_first_file_that_was_removed_makes_nobody_the_holder(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = type(local).create
    monkeypatch.setattr(
        type(local),
        "create",
        lambda self, *what: create(self, *what) and not self.delete([what[0]]),
    )
    with pytest.raises(Locked, match="others were taking the lock"), hold_lock(local, FOLDER, "me"):
        pass


def test_who_slept_until_the_end_and_was_not_missed_leaves_the_number_used(
    local: Store,
) -> None:
    sleeping(Held(local, FOLDER, 8, leave(local, 8), stolen=True)).release()
    assert Holder.from_json(local.read(f"{FOLDER}/000008.json")).is_released


def test_who_slept_until_the_end_and_was_missed_leaves_the_takers_file(
    local: Store,
) -> None:
    held = sleeping(Held(local, FOLDER, 8, leave(local, 8), stolen=True))
    leave(local, 8, token="another")
    held.release()
    assert b"another" in local.read(f"{FOLDER}/000008.json")


def test_a_lock_that_cannot_be_renewed_is_given_up_before_others_take_it(
    local: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold_lock(local, FOLDER, "me") as held:
        sleeping(held)
        monkeypatch.setattr(type(local), "rewrite", raising(StoreError("the network is down")))
        for silent, is_lost in ((lock.EXPIRES - lock.BEAT - 5, False), (lock.EXPIRES - 5, True)):
            held._renewed = replace(lock.Moment.now(), wall=time.time() - silent)
            held._renew()
            assert (held._lost is not None) is is_lost
        with pytest.raises(Locked, match="the network is down"):
            held.check()


@pytest.mark.parametrize("known", [True, False], ids=["has flock", "has none"])
def test_where_no_file_can_be_locked_the_look_is_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    import fcntl

    file, above = tmp_path / "000001.json", tmp_path / "000002.json"
    file.write_bytes(b"a token")
    if not known:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    for number in lock_guard._NO_FLOCK_ERRNOS if known else [0]:
        monkeypatch.setattr(fcntl, "flock", raising(OSError(number, "no locks here")))
        with lock_guard.close(file) as alone, lock_guard.enter(file, above, "a token") as mine:
            assert alone
            assert mine
        with lock_guard.enter(file, above, "another") as mine:
            assert not mine
    if known:
        monkeypatch.setattr(fcntl, "flock", raising(OSError(errno.EIO, "broken")))
        with pytest.raises(OSError, match="broken"), lock_guard.close(file):
            pass


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail
