"""Runs a job on several machines at once, each of which was told `handful train EXP --hosts FILE`.

The first of the sorted hosts leads: it decides what is trained, job after job. The others take each
job from it when the processes have found one another, so that nobody decides twice, until it says
that nothing is left. All read and write the same store.
"""

from __future__ import annotations

import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from handful.backends.base import Backend, Job
from handful.backends.launch import Hosts
from handful.backends.local import run_here
from handful.errors import StepError
from handful.jobs.arguments import FollowArgs, PartArgs
from handful.progress import Progress

JOIN_SECONDS = 15 * 60.0
"""How long those that follow wait for the leader, before the first job and between two."""
_LOOK_SECONDS = 1.0


class Nodes(Backend):
    """The leader's backend."""

    def __init__(self, hosts: Hosts, port: int) -> None:
        """`port` and the one above it have to be free on the leader, and open to the others."""
        self.machines = len(hosts.hosts)
        self._hosts, self._ports = hosts, Ports(port)

    def run(self, job: Job, progress: Progress) -> Any:
        return self._run_share(replace(job, processes=job.processes // self.machines), progress)

    def part(self, directory: Path, progress: Progress, processes: int) -> None:
        """Let the others go home. `processes`: of each machine."""
        self._run_share(Job(PartArgs(), str(directory), processes=processes), progress)

    def _run_share(self, job: Job, progress: Progress) -> Any:
        return _together(job, progress, self._hosts, self._ports.next())["result"]


class Ports:
    """Two, by turns: the one before may not be free again yet."""

    def __init__(self, first: int) -> None:
        self._first, self._turn = first, 0

    def next(self) -> int:
        self._turn = 1 - self._turn
        return self._first + 1 - self._turn


def follow(directory: Path, hosts: Hosts, port: int, processes: int, progress: Progress) -> int:
    """Take part in the leader's jobs until it has no more; how many there were.

    `StepError` if a job fails: the leader tells why; or if it does not come in `JOIN_SECONDS`.
    """
    ports, count = Ports(port), 0
    while True:
        progress.note(f"train: waiting for {hosts.hosts[0]} (as {hosts.current})")
        job = Job(FollowArgs(), str(directory), processes=processes)
        turn = ports.next()
        _wait_for(hosts, turn)
        try:
            told = _together(job, progress, hosts, turn)
        except StepError as error:
            raise StepError(
                f"the training with {hosts.hosts[0]} ended early: {error.fault.what}",
                where=error.fault.where,
                remedy=f"look at what {hosts.hosts[0]} says, then start all machines again",
            ) from error
        if told["task"] == PartArgs.task:
            return count
        count += 1
        progress.note(f"train: took part in {told['about']}")


def _together(job: Job, progress: Progress, hosts: Hosts, port: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="handful-job-") as folder:
        return run_here(job, progress, Path(folder), hosts, port)


def _wait_for(hosts: Hosts, port: int) -> None:
    """Until the leader listens. torchrun would wait as well, but end without a word of why."""
    leader, until, why = hosts.hosts[0], time.monotonic() + JOIN_SECONDS, ""
    while time.monotonic() < until:
        try:
            with socket.create_connection((leader, port), timeout=_LOOK_SECONDS):
                return
        except OSError as error:
            why = str(error)
        time.sleep(_LOOK_SECONDS)
    raise StepError(
        f"{leader} did not come in {JOIN_SECONDS / 60:.0f} minutes ({why})",
        where=f"{leader}:{port}, from {hosts.current}",
        remedy=f"start `handful train EXP --hosts FILE` on {leader} as well, with the same --port, "
        f"which has to be open to {hosts.current}; then start this one again",
    )
