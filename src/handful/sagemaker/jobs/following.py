"""Follows a job to its end: its state, its lines, and why it failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handful import layout
from handful.errors import Absent, StepError, Unreachable
from handful.errors.exceptions import error_from_json
from handful.progress import Progress
from handful.sagemaker.jobs.control import Control, NoRoom, Status
from handful.sagemaker.jobs.failures import is_no_room, remedy_for
from handful.sagemaker.jobs.logs import GROUPS, Logs
from handful.sagemaker.jobs.requests.build import TUNING
from handful.storage.base import Store

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 15.0
"""Seconds between two looks at a job: at first, and after a while."""
PATIENCE = 60
"""Looks in a row that may fail before it is given up to follow; the job goes on anyway."""
_TIME_LIMIT_PHASES = frozenset({"MaxRuntimeExceeded", "MaxWaitTimeExceeded"})


@dataclass(frozen=True)
class Sent:
    """A job that was sent, or is about to be."""

    name: str
    kind: str
    task: str
    hosts: int = 1


class Following:
    """One job, as a person watches it."""

    def __init__(
        self, control: Control, logs: Any, sent: Sent, progress: Progress, *, from_start: bool
    ) -> None:
        self._control = control
        self._client = logs
        self._sent = sent
        self._progress = progress
        self._logs = {}
        if sent.kind in GROUPS:
            several = sent.hosts > 1
            own = Logs(logs, sent.kind, sent.name, progress, several=several, from_start=from_start)
            self._logs[sent.name] = own
        self._phase = ""
        self._ended = -1

    def to_the_end(self, wait: Callable[[float], object]) -> Status:
        """Tell what happens until the job is over. `Unreachable` if nobody answers for long."""
        pause, lost = FIRST_PAUSE, 0
        while True:
            try:
                status = self._look()
                lost = 0
                if status.is_over:
                    return status
            except Unreachable as error:
                lost += 1
                if lost >= PATIENCE:
                    raise
                self._progress.warn(f"{self._sent.task}: {error}; looking again")
            wait(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def last_lines(self) -> str:
        """The last lines of every host; read once more, since lines come late."""
        for logs in self._logs.values():
            logs.tell()
        return "\n".join(filter(None, (logs.last() for logs in self._logs.values())))

    def _look(self) -> Status:
        """The state first: when it says that the job is over, its lines are all there."""
        status = self._control.status(self._sent.kind, self._sent.name)
        for logs in self._logs.values():
            logs.tell()
        if status is None:
            raise StepError(f"the job {self._sent.name} is gone", remedy="run again")
        if status.phase != self._phase:
            self._phase = status.phase
            self._progress.note(f"{self._sent.task}: {self._sent.name}: {status.phase}")
        if self._sent.kind == TUNING and status.trials != self._ended:
            self._ended = status.trials
            self._progress.advance(f"tune {self._sent.name}", status.trials, None, "trials")
        return status


def failure(store: Store, sent: Sent, status: Status, lines: str) -> Exception:
    """Why the job did not end well: the worker's own error, or SageMaker's reason and its lines."""
    if status.phase in _TIME_LIMIT_PHASES:
        return StepError(
            f"the job {sent.name} was stopped: {status.phase}", remedy=remedy_for(status.phase)
        )
    if status.state == "Stopped":
        return StepError(
            f"the job {sent.name} was stopped from outside",
            where="SageMaker",
            remedy="run again: a training goes on from its last checkpoint",
        )
    own = status.failure or status.reason
    if is_no_room(own):
        return NoRoom(own, where=sent.name, remedy=remedy_for(own))
    try:
        told = json.loads(store.read(layout.job_result(sent.name)))
        return error_from_json(told["error"])
    except (Absent, KeyError, ValueError):
        said = f"the job failed: {status.reason or 'no reason was given'}"
        return StepError(
            f"{said}\n{lines}" if lines else said,
            where=sent.name,
            remedy=_remedy_for_status(status) or "its log in CloudWatch says more",
        )


def _remedy_for_status(status: Status) -> str:
    """By what the container left, if it left anything, and then by SageMaker's own words."""
    if not status.failure:
        return remedy_for(status.reason)
    return remedy_for(status.reason, container=True) or remedy_for(status.failure)
