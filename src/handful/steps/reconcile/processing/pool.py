"""Hands tasks to worker processes; one that hangs or dies costs its task and is replaced."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from handful.errors import StepError
from handful.errors.exceptions import error_from_json
from handful.steps.reconcile.processing.processor import (
    Place,
    Ready,
    Result,
    Task,
    WorkerError,
    clean,
)
from handful.system.processes import GuardedProcess, signal_name

START_SECONDS = 300.0
"""How long functions.py may take to be imported."""
_LONGEST_WAIT = 60.0


@dataclass
class _Worker:
    process: GuardedProcess
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
            worker.process.kill()

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
        process = GuardedProcess("handful.steps.reconcile.processing.worker", log=path)
        self._workers.append(_Worker(process, time.monotonic() + START_SECONDS))
        with suppress(OSError):  # it is dead; `_hear` finds the end of the pipe
            process.connection.send(self._place)

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.deadline = time.monotonic() + self._timeout
        with suppress(OSError):  # it is dead; `_hear` finds the end of the pipe
            worker.process.connection.send(task)

    def _hear(self) -> Iterator[tuple[Task, Result]]:
        """What the workers say next, or the end of those whose time is over."""
        soon = min((w.deadline for w in self._workers if w.task or not w.ready), default=0.0)
        patience = min(max(0.0, soon - time.monotonic()), _LONGEST_WAIT)
        talking = wait([worker.process.connection for worker in self._workers], patience)
        for worker in list(self._workers):
            if worker.process.connection in talking:
                result = self._receive_worker_result(worker)
            elif (worker.task or not worker.ready) and time.monotonic() > worker.deadline:
                result = self._over(worker)
            else:
                continue
            if result:
                yield result

    def _receive_worker_result(self, worker: _Worker) -> tuple[Task, Result] | None:
        try:
            message = worker.process.connection.recv()
        except (EOFError, OSError):
            return self._handle_worker_exit(worker)
        if isinstance(message, WorkerError):
            raise error_from_json(message.error)
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
        status = worker.process.status or 0
        how = f"signal {-status} ({signal_name(-status)})" if status < 0 else f"status {status}"
        memory = "; signal 9 often means that memory ran out" if status == -9 else ""
        if task is None and not worker.ready:
            said = worker.process.last_words()
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
        worker.process.kill()
        self._workers.remove(worker)
        if worker.task:
            clean(self._place.store, worker.task)
        return worker.task
