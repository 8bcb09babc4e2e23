"""Hands tasks to worker processes; one that hangs or dies costs its task and is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from handful.errors import FunctionsError, OutOfResources, StepError
from handful.steps.reconcile.processing.processor import (
    Broken,
    Place,
    Ready,
    Result,
    Short,
    Task,
    clean,
)

START_SECONDS = 300.0
"""How long functions.py may take to be imported."""
_LONGEST_WAIT = 60.0
_WORKER_LOG_TAIL_BYTES = 2000


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    log: Path
    deadline: float
    ready: bool = False
    task: Task | None = None


class Workers:
    """Worker processes that run process_func. Use it as a context; leaving it ends them all."""

    def __init__(self, place: Place, count: int, timeout: float) -> None:
        self._place = place
        self._count = count
        self._timeout = timeout
        self._workers: list[_Worker] = []
        self._started = 0
        place.scratch.mkdir(parents=True, exist_ok=True)
        self._logs = Path(tempfile.mkdtemp(dir=place.scratch, prefix="processors-"))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            _kill(worker)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Every task with its result, as they finish.

        Raises `FunctionsError` if functions.py cannot be loaded, `OutOfResources` or `Full` for
        what the machine lacks, and `StepError` if a worker ends before it could begin.
        """
        rest = iter(tasks)
        waiting = next(rest, None)
        while waiting or any(worker.task for worker in self._workers):
            while waiting and len(self._workers) < self._count:
                self._start()
            for worker in self._workers:
                if worker.ready and worker.task is None and waiting:
                    self._give(worker, waiting)
                    waiting = next(rest, None)
            yield from self._hear()

    def _start(self) -> None:
        self._started += 1
        path = self._logs / f"{self._started}.log"
        mine, theirs = socket.socketpair()
        with theirs, path.open("wb") as log:
            # Started afresh, so a caller needs no main guard; in a group of its own: an interrupt
            # is the driver's business, and a kill takes all that it has started.
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "handful.steps.reconcile.processing.worker"),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        pipe = Connection(mine.detach())
        self._workers.append(_Worker(process, pipe, path, time.monotonic() + START_SECONDS))
        with suppress(OSError):  # it is dead; `_hear` finds the end of the pipe
            pipe.send(self._place)

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.deadline = time.monotonic() + self._timeout
        with suppress(OSError):  # it is dead; `_hear` finds the end of the pipe
            worker.pipe.send(task)

    def _hear(self) -> Iterator[tuple[Task, Result]]:
        """What the workers say next, or the end of those whose time is over."""
        soon = min((w.deadline for w in self._workers if w.task or not w.ready), default=0.0)
        patience = min(max(0.0, soon - time.monotonic()), _LONGEST_WAIT)
        talking = wait([worker.pipe for worker in self._workers], patience)
        for worker in list(self._workers):
            if worker.pipe in talking:
                result = self._receive_worker_result(worker)
            elif (worker.task or not worker.ready) and time.monotonic() > worker.deadline:
                result = self._over(worker)
            else:
                continue
            if result:
                yield result

    def _receive_worker_result(self, worker: _Worker) -> tuple[Task, Result] | None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._handle_worker_exit(worker)
        if isinstance(message, Broken):
            raise FunctionsError(message.faults)
        if isinstance(message, Short):
            fault = message.fault
            raise OutOfResources(fault.what, where=fault.where, remedy=fault.remedy)
        if isinstance(message, Ready):
            worker.ready = True
            return None
        task, worker.task = worker.task, None
        return (task, message) if task else None

    def _over(self, worker: _Worker) -> tuple[Task, Result]:
        task = self._end(worker)
        if task is None:
            raise StepError(
                f"functions.py was not loaded within {START_SECONDS:.0f} s",
                remedy="move slow work from the module into a function",
            )
        return task, Result(
            failure=f"process_func took longer than PROCESS_TIMEOUT = {self._timeout:g} s "
            "and was stopped"
        )

    def _handle_worker_exit(self, worker: _Worker) -> tuple[Task, Result] | None:
        task = self._end(worker)
        status = worker.process.returncode
        how = f"signal {-status} ({_signal(-status)})" if status < 0 else f"status {status}"
        memory = "; signal 9 often means that memory ran out" if status == -9 else ""
        if task is None and not worker.ready:
            said = _last_words(worker)
            raise StepError(
                f"a worker of process_func ended with {how} while it loaded functions.py{memory}",
                where="functions.py",
                remedy=f"its last words:\n{said}"
                if said
                else "lower [reconcile] NUM_PROCESSES, "
                "or look for what ends processes in functions.py and on this machine",
            )
        if task is None:
            return None
        return task, Result(failure=f"process_func ended its process with {how}{memory}")

    def _end(self, worker: _Worker) -> Task | None:
        """Kill the worker with all that it started, and remove what its task had made."""
        _kill(worker)
        self._workers.remove(worker)
        if worker.task:
            clean(self._place.store, worker.task)
        return worker.task


def _kill(worker: _Worker) -> None:
    """End the process and its group. Not yet waited for, its id cannot be another's."""
    if worker.process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    if worker.process.stdin:
        worker.process.stdin.close()
    worker.pipe.close()


def _last_words(worker: _Worker) -> str:
    return worker.log.read_bytes()[-_WORKER_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
