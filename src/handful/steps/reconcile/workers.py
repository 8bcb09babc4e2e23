"""Hands tasks to worker processes; one that hangs or dies costs its task and is replaced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from handful.errors import FunctionsError, StepError
from handful.steps.reconcile.processor import Broken, Place, Ready, Result, Task, clean, work

START_SECONDS = 300.0
"""How long functions.py may take to be imported."""
_LONGEST_WAIT = 60.0


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
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

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            _kill(worker)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Result]]:
        """Every task with its result, as they finish.

        Raises `FunctionsError` if functions.py cannot be loaded, and `StepError` if a worker ends
        before it could begin.
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
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._place), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, mine, time.monotonic() + START_SECONDS))

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.deadline = time.monotonic() + self._timeout
        with suppress(BrokenPipeError):  # it is dead; `_hear` finds the end of the pipe
            worker.pipe.send(task)

    def _hear(self) -> Iterator[tuple[Task, Result]]:
        """What the workers say next, or the end of those whose time is over."""
        soon = min((w.deadline for w in self._workers if w.task or not w.ready), default=0.0)
        patience = min(max(0.0, soon - time.monotonic()), _LONGEST_WAIT)
        talking = wait([worker.pipe for worker in self._workers], patience)
        for worker in list(self._workers):
            if worker.pipe in talking:
                result = self._said(worker)
            elif (worker.task or not worker.ready) and time.monotonic() > worker.deadline:
                result = self._over(worker)
            else:
                continue
            if result:
                yield result

    def _said(self, worker: _Worker) -> tuple[Task, Result] | None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._died(worker)
        if isinstance(message, Broken):
            raise FunctionsError(message.faults)
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

    def _died(self, worker: _Worker) -> tuple[Task, Result] | None:
        task = self._end(worker)
        status = worker.process.exitcode or 0
        how = f"signal {-status} ({_signal(-status)})" if status < 0 else f"status {status}"
        if task is None and not worker.ready:
            raise StepError(
                f"a worker of process_func ended with {how} while it loaded functions.py",
                remedy="a script that calls handful needs `if __name__ == '__main__':`",
            )
        if task is None:
            return None
        memory = "; signal 9 often means that memory ran out" if status == -9 else ""
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
    pid = worker.process.pid
    if pid is not None and worker.process.exitcode is None:
        with suppress(ProcessLookupError, PermissionError):  # it has not made its group yet
            os.killpg(pid, signal.SIGKILL)
        worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
