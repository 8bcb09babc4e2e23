"""A throttled server is asked more slowly, and faster again when it recovers."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from handful.errors import Denied, Unreachable
from handful.storage import rate_limit as pace_module
from handful.storage.rate_limit import Pace
from handful.storage.retry import Throttled


class Server:
    """Answers `room` requests at once, and throttles those beyond."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.running = self.most = self.answered = self.throttled = 0
        self._lock = threading.Lock()

    def ask(self) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            busy = self.running > self.room
        time.sleep(0.01)
        with self._lock:
            self.running -= 1
            self.throttled += busy
            self.answered += not busy
        if busy:
            raise Throttled("slow down")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "FIRST_WAIT", timedelta(milliseconds=5))
    monkeypatch.setattr(pace_module, "LONGEST_WAIT", timedelta(milliseconds=20))
    monkeypatch.setattr(pace_module, "STEP_SECONDS", 0.02)


def ask_all(pace: Pace, server: Server, times: int) -> None:
    with ThreadPoolExecutor(64) as pool:
        for future in [pool.submit(pace.keep, server.ask) for _ in range(times)]:
            future.result()


def test_nobody_waits_as_long_as_all_is_well() -> None:
    pace, server = Pace(), Server(room=1000)
    ask_all(pace, server, 600)
    assert pace.limit == math.inf
    assert server.most > 32


def test_the_pace_goes_down_and_up_again_and_every_request_is_answered() -> None:
    pace, server = Pace(), Server(room=8)
    ask_all(pace, server, 800)
    slow, throttled = pace.limit, server.throttled
    print(f"800 answered, {throttled} throttled on the way, {slow:.0f} at once in the end")
    assert server.answered == 800
    assert slow < 32
    assert throttled < 800
    server.room, server.most = 1000, 0
    ask_all(pace, server, 1500)
    assert server.answered == 2300
    assert server.throttled == throttled
    assert pace.limit > 2 * slow
    assert server.most > slow


@pytest.mark.parametrize(("between", "slowed"), [(5, True), (150, True), (1000, False)])
def test_a_refusal_now_and_then_is_no_overload(between: int, slowed: bool) -> None:
    """One request in so many is refused, as where each answer is a refusal by chance."""
    pace, asked = Pace(), 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        if asked % (between + 1) == 0:
            raise Throttled("slow down")

    for _ in range(3 * between):
        pace.keep(ask)
    assert pace.throttled >= 2
    assert (pace.limit < math.inf) == slowed


def test_other_errors_are_raised_at_once() -> None:
    pace, calls = Pace(), 0

    def refused() -> None:
        nonlocal calls
        calls += 1
        raise Denied("no")

    with pytest.raises(Denied):
        pace.keep(refused)
    assert (calls, pace.limit) == (1, math.inf)


def test_what_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "GIVE_UP_AFTER", timedelta(seconds=0.3))
    pace, calls = Pace(), 0

    def throttled() -> None:
        nonlocal calls
        calls += 1
        raise Throttled("slow down")

    began = time.monotonic()
    with pytest.raises(Unreachable):
        pace.keep(throttled)
    assert 0.3 <= time.monotonic() - began < 5
    assert calls > 3
    assert pace.limit >= 1
