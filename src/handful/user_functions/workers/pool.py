"""The worker processes, from the side of a step: hands out work, and survives their loss.

One that dies, or holds an instance for longer than it may, is replaced, and its work is done again
without that instance.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Generic, TypeVar

from handful.errors import StepError
from handful.errors.exceptions import error_from_json
from handful.system.machine import resident
from handful.system.processes import GuardedProcess, signal_name
from handful.user_functions.workers.heartbeat import Gauge, Reading
from handful.user_functions.workers.messages import Done, Failed, Loss, Setup, Work

W = TypeVar("W", bound=Work)
Watch = Callable[[int], None]

WARM_UP = 60.0
"""Seconds more for the first instance of a model in a worker: tokenizers are loaded then. No more
than that, and less as soon as it is known what others have taken."""
WARM_UP_TIMES, WARM_UP_LEAST = 3.0, 5.0
"""How many times what the slowest first instance has taken, and at least so many seconds."""
START_SECONDS = 300.0
"""How long a worker may import libraries and functions.py."""
_POOL_POLL_SECONDS = 0.1
_EARLY = 2
"""Workers that may be started for work that does not come."""
_UNTOLD_LOSSES = 2
"""How often one work may lose its worker with no instance in hand."""
_NOT_READY = "did not get ready"
_SILENT = (
    "SIGKILL often means that memory ran out: lower [{}] NUM_PROCESSES; else look for what "
    "ends processes in functions.py and on this machine"
)
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""The processes are the parallelism; and results must not depend on how many there are."""


class Workers:
    """Up to `most` worker processes; they are started when there is work for them."""

    def __init__(
        self,
        setup: Setup,
        scratch: Path,
        most: int,
        *,
        memory: int | None = None,
        one_thread: bool = True,
    ) -> None:
        """`memory`: bytes that none of them may exceed; `one_thread`: see `_ONE_THREAD`."""
        self._setup, self._memory = setup, memory
        self._environment = _ONE_THREAD if one_thread else {}
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(dir=scratch))
        """Their own folder on this machine."""
        self._most = most
        self._started = 0
        self._warm_ups = _WarmUps()
        self._idle: list[_Process] = []
        self._busy: dict[Connection, _Process] = {}

    def start_early(self) -> None:
        """Have the first workers import what they need before there is work for them."""
        while self._started < min(self._most, _EARLY):
            self._idle.append(self._start())

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._idle, *self._busy.values()]:
            process.end()
        self._idle.clear()
        self._busy.clear()

    def run(
        self,
        works: Iterable[W],
        *,
        watch: Watch | None = None,
        lost: Callable[[W], None] | None = None,
    ) -> Iterator[tuple[W, Any]]:
        """Do all works; each with its result, as they finish. They are taken one by one.

        `watch` is told now and then how many instances of unfinished works are done; `lost` is
        told of a work that is done again without an instance. Raises what a work raised, and
        `StepError` if a worker is lost again and again for no instance's sake.
        """
        queue = _Queue(works, self._most)
        while True:
            self._hand_out(queue)
            if not self._busy:
                return
            queue.fill()
            for done in self._answers():
                self._hand_out(queue)  # before anybody looks at what was done
                yield done
            for process in self._end_lost_processes():
                retry = process.retry()
                if isinstance(retry, Done):
                    yield process.work, retry.result
                    continue
                if lost:
                    lost(retry)
                queue.first(retry)
            if watch:
                watch(sum(process.position for process in self._busy.values()))

    def _hand_out(self, queue: _Queue[Any]) -> None:
        while len(self._busy) < self._most:
            ready = queue.next()
            if ready is None:
                return
            process = self._idle.pop() if self._idle else self._start()
            self._busy[process.connection] = process
            process.take(*ready)

    def _start(self) -> _Process:
        self._started += 1
        base = self.scratch / f"worker-{self._started}"
        return _Process(self._setup, base, self._warm_ups, self._memory, self._environment)

    def _answers(self) -> Iterator[tuple[Any, Any]]:
        for connection in wait(list(self._busy), timeout=_POOL_POLL_SECONDS):
            process = self._busy[connection]  # type: ignore[index]
            answer = process.answer()
            if answer is None:
                continue  # it died; `_end_lost_processes` looks after it
            del self._busy[process.connection]
            self._idle.append(process)
            if isinstance(answer, Failed):
                raise error_from_json(answer.error)
            yield process.work, answer.result

    def _end_lost_processes(self) -> list[_Process]:
        """Busy processes that died or took too long; they are ended."""
        lost = [process for process in self._busy.values() if process.is_lost()]
        for process in lost:
            del self._busy[process.connection]
            process.end()
        return lost


class _Queue(Generic[W]):
    """Works that wait for a worker; the next ones packed for the way, so that none waits for that.

    They are made one by one, and no more than `ahead` of them wait.
    """

    def __init__(self, works: Iterable[W], ahead: int) -> None:
        self._to_come = iter(works)
        self._ahead = ahead
        self._packed: deque[tuple[W, bytes]] = deque()

    def fill(self) -> None:
        """Make and pack as many as may wait."""
        while len(self._packed) < self._ahead:
            work = next(self._to_come, None)
            if work is None:
                return
            self._packed.append((work, _pickle_work(work)))

    def next(self) -> tuple[W, bytes] | None:
        """The next work, and how it is sent; None if there is no more."""
        if not self._packed:
            work = next(self._to_come, None)
            return None if work is None else (work, _pickle_work(work))
        return self._packed.popleft()

    def first(self, work: W) -> None:
        """Put in front of all others what must be done again."""
        self._packed.appendleft((work, _pickle_work(work)))


def _pickle_work(work: Any) -> bytes:
    return bytes(ForkingPickler.dumps(work))


class _WarmUps:
    """How long first instances have taken, by the kind of work, in any worker."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}

    def note(self, kind: str, seconds: float) -> None:
        """One has ended after `seconds`."""
        self._longest[kind] = max(seconds, self._longest.get(kind, 0.0))

    def patience(self, kind: str) -> float:
        """Seconds that a first instance may take more than others."""
        if kind not in self._longest:
            return WARM_UP
        return min(WARM_UP, max(WARM_UP_LEAST, WARM_UP_TIMES * self._longest[kind]))


class _Process:
    """One worker process."""

    def __init__(
        self,
        setup: Setup,
        base: Path,
        warm_ups: _WarmUps,
        memory: int | None,
        environment: Mapping[str, str],
    ) -> None:
        self._warm_ups, self._most_memory, self._step = warm_ups, memory, setup.step
        gauge = base.with_suffix(".gauge")
        self._gauge = Gauge(gauge)
        self._process = GuardedProcess(
            "handful.user_functions.workers.worker",
            str(gauge),
            log=base.with_suffix(".log"),
            environment=environment,
        )
        self.connection = self._process.connection
        self.work: Any = None
        self._seen = self._gauge.read()
        self._began = self._since = time.monotonic()
        self._ended = ""
        self._send(_pickle_work(setup))

    def take(self, work: Work, packed: bytes) -> None:
        self.work = work
        self._since = time.monotonic()
        self._send(packed)

    def _send(self, packed: bytes) -> None:
        try:
            self.connection.send_bytes(packed)
        except OSError:
            self._ended = "went away"

    @property
    def position(self) -> int:
        """How many of its work's instances it is through with."""
        return self._gauge.read().done

    def answer(self) -> Done | Failed | None:
        """What it has to say; None if it is gone."""
        try:
            answer: Done | Failed = self.connection.recv()
        except (EOFError, OSError):
            self._ended = "went away"
            return None
        if isinstance(answer, Done):
            self._note_warm_up()
        return answer

    @property
    def _kind(self) -> str:
        """What a worker has to be warm for."""
        return str(getattr(self.work, "model", type(self.work).__name__))

    def _note_warm_up(self) -> None:
        """An instance has ended: if it was the first, it shows what a first one takes."""
        took = 0.0 if self._seen.warm or not self._seen.in_hand else time.monotonic() - self._since
        self._warm_ups.note(self._kind, took)

    def is_lost(self) -> bool:
        """Did it die, or is it too long about the instances in hand?"""
        reading = self._gauge.read()
        if reading.ticket != self._seen.ticket:
            if reading.warm and reading.in_hand:
                self._note_warm_up()
            self._seen, self._since = reading, time.monotonic()
        if self._process.status is not None and not self.connection.poll():
            self._ended = "died"
        more = 0.0 if reading.warm else self._warm_ups.patience(self._kind)
        patience = self.work.patience + more
        if reading.in_hand and time.monotonic() - self._since > patience:
            self._ended = f"took longer than {self.work.patience:g} s"
        if not reading.ticket and time.monotonic() - self._began > START_SECONDS:
            self._ended = _NOT_READY
        if self._most_memory and resident(self._process.pid) > self._most_memory:
            self._ended = "used more memory"
        return bool(self._ended)

    def retry(self) -> Any:
        """Its work again, without what it had in hand. Called after `end`."""
        reading = self._seen_last
        if self._ended == _NOT_READY:
            raise StepError(
                f"functions.py was not loaded within {START_SECONDS:g} s",
                where="functions.py",
                remedy="move slow work out of the module into a function",
            )
        said = self._process.last_words()
        if not reading.in_hand and self.work.losses >= _UNTOLD_LOSSES:
            raise StepError(
                f"{self._why()}, {_UNTOLD_LOSSES + 1} times in a row, with no instance in hand",
                where=self._step,
                remedy=f"its last words:\n{said}" if said else _SILENT.format(self._step),
            )
        is_late, is_ready = self._ended.startswith("took"), bool(reading.ticket)
        loss = Loss(self._why(), is_late, is_ready, self._process.status or 0, said)
        return self.work.without(reading.in_hand, loss)

    def end(self) -> None:
        """Stop it and all that it started, at once."""
        self._process.kill()
        self._seen_last: Reading = self._gauge.read()
        self._gauge.close()

    def _why(self) -> str:
        code = self._process.status
        if self._ended.startswith("took"):
            return f"it {self._ended} (ENCODE_TIMEOUT)"
        if self._ended.startswith("used"):
            most = (self._most_memory or 0) / 1e6
            return f"its worker {self._ended} than {most:,.0f} MB (WORKER_MEMORY)"
        if code is not None and code < 0:
            return f"the worker was killed by {signal_name(-code)}"
        return f"the worker ended with status {code}"
