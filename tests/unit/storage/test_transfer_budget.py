"""How many bytes transfers hold in memory together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from handful.storage.transfer_budget import Room


class Watched(Room):
    """Remembers how much was taken at most."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.held, self.most, self.done = 0, 0, 0
        self._lock = threading.Lock()

    def use(self, size: int) -> None:
        with self.taken(size):
            with self._lock:
                self.held += min(size, self.size)
                self.most = max(self.most, self.held)
            with self._lock:
                self.held -= min(size, self.size)
                self.done += 1


def test_never_more_is_taken_than_there_is_and_everyone_gets_their_turn() -> None:
    room, random = Watched(100), Random(0)
    sizes = [random.choice([1, 5, 40, 99, 100, 1_000]) for _ in range(400)]
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(room.use, sizes))
    assert (room.done, room.held) == (400, 0)
    assert 0 < room.most <= 100


def test_a_large_one_is_not_passed_by_small_ones() -> None:
    room, order = Room(10), list[str]()
    large_waits = threading.Event()

    def large() -> None:
        large_waits.set()
        with room.taken(10):
            order.append("large")

    def small() -> None:
        with room.taken(1):
            order.append("small")

    with room.taken(5):
        first = threading.Thread(target=large)
        first.start()
        large_waits.wait()
        while len(room._queue) < 1:
            pass
        second = threading.Thread(target=small)
        second.start()
        second.join(0.05)
        assert order == [], "there would be room for the small one, but the large one was first"
    for thread in (first, second):
        thread.join(10)
    assert order == ["large", "small"]


def test_what_fails_gives_its_room_back() -> None:
    room = Room(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), room.taken(10):
            raise ValueError("no")
    with room.taken(10):
        pass
