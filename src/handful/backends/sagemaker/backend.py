"""Runs jobs on SageMaker: sends, waits, and finds again what a killed driver had sent.

A work's jobs are counted from 1 (`names.Stem`). What was sent under a name is noted in the store
before it is sent, and what was answered is taken once; so a driver that is started again, at
whatever moment it was killed, goes on with the job that runs, takes the answer that waits, or
starts the next attempt. It never starts a job beside one that runs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from handful import layout
from handful.backends.base import Job
from handful.backends.local import error_from_json
from handful.backends.sagemaker.control import Control, NameTaken, NoRoom, Status, make_client
from handful.backends.sagemaker.failures import is_no_room, remedy_for
from handful.backends.sagemaker.plan import Plan, plan, upload, work_of
from handful.backends.sagemaker.request import KINDS, TRAINING, TUNING, request
from handful.errors import Absent, Interrupted, NotBuilt, StepError, Unreachable, UserError
from handful.experiment import Experiment
from handful.progress import Progress

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 30.0
"""Seconds between two looks at a job: at first, and after a while."""
PATIENCE = 30
"""Looks in a row that may fail before it is given up to follow; the job goes on anyway."""
_WITHOUT_ANSWER = frozenset({"prepare", "reconcile"})
"""These write their record into the store themselves."""


class Found(Enum):
    """How a work stands before anything is done for it."""

    NEW = "to be sent"
    RUNNING = "running"
    WAITING = "its answer waits to be taken"


@dataclass(frozen=True)
class Sent:
    """A job that was sent, or is about to be."""

    name: str
    kind: str
    found: Found


class SageMaker:
    """A `Backend` for the jobs of one experiment."""

    def __init__(
        self,
        experiment: Experiment,
        client: Any = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._experiment = experiment
        self._control = Control(client or make_client(experiment.settings))
        self._pause = pause or threading.Event().wait

    def run(self, job: Job, progress: Progress) -> Any:
        """Run `job`, or go on with it; see `Backend`.

        `UserError` if a job of other content is still at this work; `Interrupted` on Ctrl-C, which
        leaves the job running.
        """
        if KINDS.get(job.task) == TUNING:
            raise NotBuilt("tuning on SageMaker is not built yet", remedy="tune on this machine")
        planned = plan(self._experiment, job)
        sent = self._found(planned)
        if sent.found is Found.WAITING:
            progress.note(f"{job.task}: takes the answer of the job {sent.name}")
            return self._answer(planned, sent.name)
        if sent.found is Found.RUNNING:
            progress.note(f"{job.task}: goes on with the job {sent.name}")
            return self._followed(planned, sent, progress)
        return self._sent_and_followed(planned, sent, progress)

    def stop(self, job: Job) -> str | None:
        """Ask for the end of the job that is at this work; its name, or None if none is."""
        sent = self._found(plan(self._experiment, job))
        if sent.found is not Found.RUNNING:
            return None
        self._control.stop(sent.kind, sent.name)
        return sent.name

    def _sent_and_followed(self, planned: Plan, sent: Sent, progress: Progress) -> Any:
        """Send it, with the next type of instance as long as there is no room for one."""
        types = self._experiment.settings.sagemaker.TRAIN_INSTANCE_TYPE
        several = types if sent.kind == TRAINING and types else ("",)
        for kind, following in zip(several, (*several[1:], None), strict=True):
            try:
                self._send(planned, sent, kind, progress)
                return self._followed(planned, sent, progress)
            except NoRoom as error:
                if following is None:
                    raise
                progress.warn(f"no {kind} is to be had, so {following} is tried: {error}")
                sent = self._found(planned)
        raise StepError("no type of instance is named", where="[sagemaker] TRAIN_INSTANCE_TYPE")

    # --- finding again -----------------------------------------------------------------------

    def _found(self, planned: Plan) -> Sent:
        """The job of this work to go on with, to take the answer of, or to send next."""
        kind, number = KINDS[planned.job.task], 0
        while True:
            number += 1
            name = planned.stem.attempt(number)
            before = self._note(name)
            # A note without a job: the driver was killed in between.
            status = self._control.status(kind, name) if before is not None else None
            if before is None or status is None:
                return Sent(name, kind, Found.NEW)
            same = before.get("content") == planned.content
            if not status.is_over:
                if not same:
                    raise self._other(name)
                return Sent(name, kind, Found.RUNNING)
            if status.state == "Completed" and same and not self._is_taken(name):
                return Sent(name, kind, Found.WAITING)

    def _other(self, name: str) -> UserError:
        return UserError(
            f"the job {name} is still at this work, with other settings, functions or data",
            where="SageMaker",
            remedy="wait for its end, or stop it (`aws sagemaker stop-…-job`), and run again",
        )

    def _note(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._experiment.store.read(layout.job_sent(name)))
        except Absent:
            return None
        except ValueError:
            return {}
        return found

    def _is_taken(self, name: str) -> bool:
        try:
            self._experiment.store.read(layout.job_taken(name))
        except Absent:
            return False
        return True

    # --- sending and following ---------------------------------------------------------------

    def _send(self, planned: Plan, sent: Sent, instance_type: str, progress: Progress) -> None:
        work = work_of(self._experiment, planned, sent.name, instance_type)
        made = request(self._experiment.settings, work)
        upload(self._experiment, planned, sent.name)
        note = {"content": planned.content, "operation": made.operation}
        self._experiment.store.write(layout.job_sent(sent.name), json.dumps(note).encode())
        try:
            self._control.create(made)
        except NameTaken:
            progress.note(f"{planned.job.task}: the job {sent.name} was sent before")
            return
        except NoRoom:
            # No job came of it, so the name is free for the next type.
            self._experiment.store.delete([layout.job_sent(sent.name)])
            raise
        progress.note(f"{planned.job.task}: sent the job {sent.name}")

    def _followed(self, planned: Plan, sent: Sent, progress: Progress) -> Any:
        try:
            status = self._over(planned, sent, progress)
        except KeyboardInterrupt:
            raise Interrupted(
                f"the job {sent.name} goes on without you",
                remedy="run the same command to follow it again; stop it in SageMaker's console",
            ) from None
        if status.state == "Completed":
            return self._answer(planned, sent.name)
        raise self._failure(sent, status)

    def _over(self, planned: Plan, sent: Sent, progress: Progress) -> Status:
        pause, phase, lost = FIRST_PAUSE, "", 0
        while True:
            try:
                status = self._control.status(sent.kind, sent.name)
                lost = 0
            except Unreachable as error:
                lost += 1
                if lost >= PATIENCE:
                    raise
                progress.warn(f"{planned.job.task}: {error}; looking again")
                status = Status("InProgress", phase=phase)
            if status is None:
                raise StepError(f"the job {sent.name} is gone", remedy="run again")
            if status.phase != phase:
                phase = status.phase
                progress.note(f"{planned.job.task}: {sent.name}: {phase}")
            if status.is_over:
                return status
            self._pause(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _answer(self, planned: Plan, name: str) -> Any:
        """What the job's worker answered; taken once."""
        store = self._experiment.store
        answer: dict[str, Any] = {"result": {}}
        if planned.job.task not in _WITHOUT_ANSWER:
            try:
                answer = json.loads(store.read(layout.job_result(name)))
            except Absent:
                raise StepError(
                    f"the job {name} is done, but left no answer",
                    where=f"{store.url}/{layout.job_result(name)}",
                    remedy="can its role write to the STORE? Run again to start it anew",
                ) from None
            finally:
                store.create(layout.job_taken(name), b"{}")
        else:
            store.create(layout.job_taken(name), b"{}")
        if "error" in answer:
            raise error_from_json(answer["error"])
        return answer["result"]

    def _failure(self, sent: Sent, status: Status) -> StepError | Exception:
        """The worker's own error if it could still tell; else SageMaker's reason."""
        if status.state == "Stopped":
            return StepError(
                f"the job {sent.name} was stopped from outside",
                where="SageMaker",
                remedy="run again: a training goes on from its last checkpoint",
            )
        if is_no_room(status.reason):
            return NoRoom(status.reason, where=sent.name, remedy=remedy_for(status.reason))
        try:
            told = json.loads(self._experiment.store.read(layout.job_result(sent.name)))
            return error_from_json(told["error"])
        except (Absent, KeyError, ValueError):
            return StepError(
                f"the job failed: {status.reason or 'no reason was given'}",
                where=sent.name,
                remedy=remedy_for(status.reason) or "its log in CloudWatch says more",
            )
