"""Many small things on threads: each once, each with its own error, and no more than are wanted."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from handful.errors import Absent
from handful.steps.reconcile import pool
from handful.steps.reconcile.pool import freeze_garbage_collector, in_threads


def test_every_item_comes_once_with_its_result_or_its_error() -> None:
    def halved(number: int) -> int:
        if number % 2:
            raise Absent(f"{number} is odd")
        return number // 2

    found = list(in_threads(halved, iter(range(5_000)), 32))
    assert sorted(item for item, _, _ in found) == list(range(5_000))
    for item, result, error in found:
        assert result == (None if item % 2 else item // 2)
        assert str(error).startswith(f"{item} is odd") if item % 2 else error is None


def test_no_more_are_under_way_than_there_are_threads_and_all_threads_are_used() -> None:
    together, names = threading.Barrier(8, timeout=20), set()
    lock, running, most = threading.Lock(), 0, 0

    def meet(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        together.wait()
        with lock:
            running -= 1

    assert len(list(in_threads(meet, range(64), 8))) == 64
    assert (most, len(names)) == (8, 8)


@pytest.mark.parametrize("where", ["in an item", "between two items"])
def test_any_other_error_ends_it_and_is_raised(where: str) -> None:
    done: list[int] = []

    def items() -> Iterator[int]:
        yield from range(3_000)
        if where == "between two items":
            raise ZeroDivisionError

    def do(number: int) -> None:
        time.sleep(0.001)
        if where == "in an item" and number == 40:
            raise ZeroDivisionError
        done.append(number)

    with pytest.raises(ZeroDivisionError):
        list(in_threads(do, items(), 16))
    count = len(done)
    assert count < 3_000
    assert not [t for t in threading.enumerate() if t.name.startswith("handful-")]
    assert len(done) == count


def test_who_stops_early_begins_nothing_more_and_waits_for_what_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "TOGETHER_SECONDS", 0.002)
    begun, ended = [], []

    def do(number: int) -> None:
        begun.append(number)
        time.sleep(0.005)
        ended.append(number)

    results = in_threads(do, range(10_000), 4)
    next(results)
    results.close()
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10_000


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(in_threads(str, [], 4)) == []


def test_the_collector_passes_over_what_was_there_and_collects_the_rest() -> None:
    class Ring:
        def __init__(self) -> None:
            self.itself = self

    before = gc.get_freeze_count()
    there = [Ring()]
    old = weakref.ref(there[0])
    with freeze_garbage_collector():
        there.clear()
        assert gc.get_freeze_count() > before
        new = weakref.ref(Ring())
        gc.collect()
        assert (old() is None, new() is None) == (False, True)
    gc.collect()
    assert old() is None
