"""Jobs side by side: all end, quotas are waited for, and Ctrl-C leaves or stops them all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from handful.errors import LeftRunning, StepError
from handful.progress import Silent
from handful.sagemaker.jobs.control import NoRoom
from handful.sagemaker.jobs.logs import event_of, hear
from handful.sagemaker.jobs.requests.names import trial_number
from handful.sagemaker.jobs.running import Running


def test_all_are_run_to_their_end_before_an_error_is_raised() -> None:
    ended: list[int] = []

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            if number == 0:
                raise StepError("the first failed")
            ended.append(number)
            return number

        return run

    with pytest.raises(StepError, match="the first failed"):
        Running().side_by_side([work(number) for number in range(3)])
    assert sorted(ended) == [1, 2]
    assert Running().side_by_side([work(2), work(1)]) == [2, 1]


@pytest.fixture
def own_interrupt() -> Iterator[signal.Signals]:
    """A signal that is as SIGINT to Python. Firebird's client, if a test before has loaded it,
    hears the real one and refuses all work from then on."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_ctrl_c_leaves_them_all_and_stops_them_if_asked(own_interrupt: signal.Signals) -> None:
    running, never, stopped = Running(), threading.Event(), []
    at_work = threading.Barrier(3)

    def work(name: str) -> None:
        with running.one(name, lambda: stopped.append(name)):
            at_work.wait()
            never.wait()

    def interrupt() -> None:
        at_work.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, own_interrupt)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(LeftRunning, match="go on without you: ") as left:
        running.side_by_side([lambda: work("a"), lambda: work("b")])
    assert "a" in str(left.value)
    left.value.stop()
    assert sorted(stopped) == ["a", "b"]
    never.set()


def test_without_another_job_there_is_nothing_to_wait_for() -> None:
    def full() -> None:
        raise NoRoom("no quota")

    with pytest.raises(NoRoom):
        Running().when_there_is_room("a", full)


def test_a_refused_job_is_sent_when_another_has_ended() -> None:
    running, refused = Running(), threading.Event()
    tries: list[int] = []

    def send() -> None:
        tries.append(1)
        if len(tries) == 1:
            refused.set()
            raise NoRoom("no quota")

    def first() -> None:
        with running.one("first", lambda: None):
            started.set()
            refused.wait(30)

    started = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    started.wait(30)
    running.when_there_is_room("second", send)
    thread.join()
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ('{"event": "note", "message": "m"}', True),
        ('{"event": "progress", "task": "t", "done": 1, "total": null, "at": 1.5}', True),
        ('{"event": "table", "title": "t", "columns": [], "rows": []}', True),
        ('{"event": "error", "status": 1}', True),
        ('{"event": "advance", "task": "t"}', False),
        ('{"event": "of somebody else"}', False),
    ],
)
def test_only_a_workers_own_lines_are_taken_for_progress(line: str, known: bool) -> None:
    said = event_of(line)
    assert said is not None
    assert hear(said, Silent()) is known


@pytest.mark.parametrize("line", ["", "{", "[1]", "{}", "a line", '"event"'])
def test_any_other_line_is_no_event(line: str) -> None:
    assert event_of(line) is None


def test_a_trial_is_numbered_by_its_name() -> None:
    assert trial_number("EXP-1-tune-x-0123456789ab-1-003-0a1b2c3d") == 2
    other = trial_number("named otherwise")
    assert other >= 10**9
    assert other == trial_number("named otherwise")
