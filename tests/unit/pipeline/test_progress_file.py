"""How far a step is, for whoever looks from elsewhere: progress.json in the store."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from handful import layout
from handful.errors import StoreError
from handful.pipeline import progress_file
from handful.pipeline.progress_file import publish_progress, read_progress
from handful.records.moments import current_moment
from handful.storage.base import Store
from handful.storage.lock import Holder, hold_lock
from handful.storage.open import open_store
from handful.system.machine import ProcessIdentity, this_process
from tests.support.progress import Recording


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_file, "WRITE_EVERY", 0.02)


def wait_until_written(store: Store, task: str) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = read_progress(store, "train", current_moment()[:10])
        if found and any(one.task == task for one in found.tasks):
            return
        time.sleep(0.01)
    raise AssertionError("it was not written")


@pytest.mark.usefixtures("often")
def test_it_says_how_far_each_task_is_and_goes_with_the_step(store: Store) -> None:
    told = Recording()
    since = current_moment()
    with publish_progress(told, store, "train") as progress:
        progress.note("hello")
        progress.warn("careful")
        progress.table("t", ("a",), [(1,)])
        progress.advance("over", 3, 3, "files")
        progress.advance("train a", 0, 100, "steps")
        time.sleep(0.6)
        progress.advance("train a", 60, 100, "steps", {"loss": 0.5})
        progress.advance("count", 5, None, "documents")
        wait_until_written(store, "count")
        found = read_progress(store, "train", since)
        assert found is not None
        first, second = found.tasks
        assert (first.task, first.done, first.total, first.unit) == ("train a", 60, 100, "steps")
        assert 0 < first.per_second <= 100
        assert first.seconds_left == pytest.approx(40 / first.per_second, abs=0.2)
        assert first.figures == {"loss": 0.5}
        assert (second.total, second.seconds_left) == (None, None)
        assert read_progress(store, "test", since) is None, "of another step"
        later = "2999-01-01T00:00:00.000+00:00"
        assert read_progress(store, "train", later) is None, "of a run before this one"
    assert read_progress(store, "train", since) is None
    assert not list((Path(store.url)).glob("**/progress.json"))
    assert told.lines[:2] == ["hello", "careful"]
    assert [one[0] for one in told.advances] == ["over", "train a", "train a", "count"]


def test_a_short_step_writes_nothing_and_removes_what_a_killed_one_has_left(store: Store) -> None:
    with publish_progress(Recording(), store, "train") as progress:
        progress.advance("a", 1, 2, "files")
        assert not Path(store.url).exists()
    store.write(layout.PROGRESS, b"{}")
    with publish_progress(Recording(), store, "train", after_kill=True):
        pass
    assert not list(Path(store.url).glob("**/progress.json"))


@pytest.mark.usefixtures("often")
def test_a_step_that_fails_leaves_none_either(store: Store) -> None:
    def fail() -> None:
        with publish_progress(Recording(), store, "train") as progress:
            progress.advance("a", 1, 2, "files")
            wait_until_written(store, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(Path(store.url).glob("**/progress.json"))


@pytest.mark.usefixtures("often")
def test_a_store_that_does_not_answer_holds_nobody_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(*_: object) -> None:
        tried.set()
        raise StoreError("nobody answers")

    monkeypatch.setattr(type(store), "write", fail)
    with publish_progress(Recording(), store, "train") as progress:
        progress.advance("a", 1, 2, "files")
        assert tried.wait(20)


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"format": 1, "step": "train"})])
def test_what_cannot_be_read_is_as_if_it_were_not_there(store: Store, content: str) -> None:
    store.write(layout.PROGRESS, content.encode())
    assert read_progress(store, "train", "2020-01-01T00:00:00.000+00:00") is None


def test_who_takes_a_lock_over_knows_that_its_holder_died(store: Store) -> None:
    gone = ProcessIdentity(2**22, this_process().machine, "1")
    moment = current_moment()
    dead = Holder("t", "train of X", "here", gone, moment, moment)
    with hold_lock(store, "first/lock", "train of X") as held:
        assert not held.after_dead
    with hold_lock(store, "first/lock", "train of X") as held:
        assert not held.after_dead
    store.write("second/lock/000003.json", dead.to_json())
    with hold_lock(store, "second/lock", "train of X") as held:
        assert held.after_dead
