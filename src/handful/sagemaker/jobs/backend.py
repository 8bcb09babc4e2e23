"""Runs jobs on SageMaker: sends, and finds again what a killed driver had sent.

A work's jobs are counted from 1 (`names.Stem`). What was sent under a name is noted in the store
before it is sent, and what was answered is taken once; so a driver that is started again, at
whatever moment it was killed, goes on with the job that runs, takes the answer that waits, or
starts the next attempt. It never starts a job beside one that runs.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cached_property, partial
from typing import Any

from handful import layout
from handful.backends.base import Backend, Job
from handful.errors import Absent, StepError, UserError
from handful.experiment.context import Experiment
from handful.jobs.arguments import PrepareArgs
from handful.progress import Progress
from handful.sagemaker.jobs import answers
from handful.sagemaker.jobs.control import Control, NameTaken, NoRoom, make_client
from handful.sagemaker.jobs.costs.forecast import settings_with_job_limit
from handful.sagemaker.jobs.costs.instances import STEPS
from handful.sagemaker.jobs.following import Following, Sent, failure
from handful.sagemaker.jobs.requests.build import KINDS, TRAINING, TUNING, request
from handful.sagemaker.jobs.requests.plan import Plan, plan, upload, work_of
from handful.sagemaker.jobs.requests.shapes import refuse
from handful.sagemaker.jobs.running import Running


class Found(Enum):
    """How a work stands before anything is done for it."""

    NEW = "to be sent"
    RUNNING = "running"
    WAITING = "its answer waits to be taken"


class SageMaker(Backend):
    """For the jobs of one experiment.

    `client` and `logs` are boto3 clients of SageMaker and CloudWatch; None: as the settings say,
    made when they are needed. `pause` waits between two looks at a job.
    """

    searches = True

    def __init__(
        self,
        experiment: Experiment,
        client: Any = None,
        pause: Callable[[float], object] | None = None,
        logs: Any = None,
    ) -> None:
        self._experiment = experiment
        self._given = (client, logs)
        self._pause = pause or threading.Event().wait
        self._running = Running()
        section = experiment.settings.sagemaker
        self.machines = section.TRAIN_INSTANCE_COUNT
        self.managed_steps = (*(("reconcile",) if section.RECONCILE_AS_JOB else ()), *STEPS)

    @cached_property
    def _control(self) -> Control:
        return Control(self._given[0] or make_client(self._experiment.settings))

    @cached_property
    def _logs(self) -> Any:
        return self._given[1] or make_client(self._experiment.settings, "logs")

    def gpus(self) -> None:
        """Nothing of this machine counts."""

    def run(self, job: Job, progress: Progress) -> Any:
        """Run `job`, or go on with it; see `Backend`.

        What a job "tune" answers: see `answers.of_trials`.

        `UserError` if a job of other content is still at this work; `LeftRunning` on Ctrl-C, which
        leaves the job running.
        """
        planned = plan(self._experiment, job)
        found, sent = self._find_or_name_job(planned)
        if found is Found.WAITING:
            progress.note(f"{job.task}: takes the answer of the job {sent.name}")
            return self._answer(planned, sent)
        if found is Found.RUNNING:
            progress.note(f"{job.task}: goes on with the job {sent.name}")
            return self._follow_to_answer(planned, sent, progress, from_start=False)
        return self._send_and_follow(planned, sent, progress)

    def run_all(self, jobs: Iterable[Job], progress: Progress) -> list[Any]:
        """Run jobs side by side. `LeftRunning` stops them all."""
        jobs = list(jobs)
        if len(jobs) < 2:
            return super().run_all(jobs, progress)
        return self._running.side_by_side([partial(self.run, job, progress) for job in jobs])

    def encode_shares(
        self, made_from: Mapping[str, str], before_anew: Callable[[], object] | None
    ) -> bool:
        """By one job, or going on with it: each of its instances encodes a share."""
        mine, arguments = self._experiment, PrepareArgs(dict(made_from))
        job = Job(arguments, str(mine.directory), mine.overrides)
        if before_anew and self._find_or_name_job(plan(mine, job))[0] is Found.NEW:
            before_anew()
        self.run(job, mine.progress)
        return True

    def stop(self, job: Job) -> str | None:
        """Ask for the end of the job that is at this work; its name, or None if none is."""
        found, sent = self._find_or_name_job(plan(self._experiment, job))
        if found is not Found.RUNNING:
            return None
        self._control.stop(sent.kind, sent.name)
        return sent.name

    def _send_and_follow(self, planned: Plan, sent: Sent, progress: Progress) -> Any:
        """Send it, with the next type of instance as long as there is no room for one."""
        types = self._experiment.settings.sagemaker.TRAIN_INSTANCE_TYPE
        several = types if sent.kind == TRAINING and types else ("",)
        for kind, following in zip(several, (*several[1:], None), strict=True):
            try:
                send = partial(self._send, planned, sent, kind, progress)
                self._running.when_there_is_room(sent.name, send)
                return self._follow_to_answer(planned, sent, progress)
            except NoRoom as error:
                if following is None:
                    raise
                progress.warn(f"no {kind} is to be had, so {following} is tried: {error}")
                _, sent = self._find_or_name_job(planned)
        raise StepError("no type of instance is named", where="[sagemaker] TRAIN_INSTANCE_TYPE")

    # --- finding again -----------------------------------------------------------------------

    def _find_or_name_job(self, planned: Plan) -> tuple[Found, Sent]:
        """The job of this work to go on with, to take the answer of, or to send next."""
        kind, number = KINDS[planned.job.task], 0
        while True:
            number += 1
            sent = Sent(
                planned.stem.attempt(number), kind, planned.job.task, self._hosts(planned.job)
            )
            before = self._note(sent.name)
            # A note without a job: the driver was killed in between.
            status = self._control.status(kind, sent.name) if before is not None else None
            if before is None or status is None:
                return Found.NEW, sent
            if not status.is_over:
                if not planned.is_work_of(before):
                    raise self._other(sent.name)
                return Found.RUNNING, sent
            waits = status.state == "Completed" and planned.is_work_of(before)
            if waits and not self._is_taken(sent):
                return Found.WAITING, sent

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

    def _is_taken(self, sent: Sent) -> bool:
        if sent.kind == TUNING:
            return False  # a new search is another job: the step that asks for it says so
        try:
            mark = self._experiment.store.read(layout.job_taken(sent.name))
        except Absent:
            return False
        mine = self._experiment
        return answers.was_recorded(mine.store, mine.layout, sent.name, sent.task, mark)

    # --- sending and following ---------------------------------------------------------------

    def _send(self, planned: Plan, sent: Sent, instance_type: str, progress: Progress) -> None:
        settings, mine = self._experiment.settings, self._experiment.layout
        url = self._experiment.store.url
        work = work_of(settings, url, mine, planned, sent.name, instance_type)
        limited = settings_with_job_limit(settings, self._experiment.longest, planned.job)
        made = request(limited, work)
        refuse(made.operation, made.parameters, settings.sagemaker.REGION)
        upload(self._experiment.store, planned, sent.name)
        note = {**planned.note, "operation": made.operation}
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

    def _hosts(self, job: Job) -> int:
        section = self._experiment.settings.sagemaker
        counts = {"train": section.TRAIN_INSTANCE_COUNT, "prepare": section.PREPARE_INSTANCE_COUNT}
        return counts.get(job.task, 1)

    def _follow_to_answer(
        self, planned: Plan, sent: Sent, progress: Progress, *, from_start: bool = True
    ) -> Any:
        following = Following(self._control, self._logs, sent, progress, from_start=from_start)
        with self._running.one(sent.name, lambda: self._control.stop(sent.kind, sent.name)):
            status = following.to_the_end(self._pause)
        if status.state == "Completed":
            return self._answer(planned, sent)
        raise failure(self._experiment.store, sent, status, following.last_lines())

    def _answer(self, planned: Plan, sent: Sent) -> Any:
        """What the job's worker answered; taken once, or until it has become a record."""
        store = self._experiment.store
        if sent.kind == TUNING:
            return answers.of_trials(store, self._control.trials(sent.name))
        try:
            return answers.of_job(store, sent.name, planned.job.task)
        finally:
            mark = answers.taking(store, self._experiment.layout, planned.job.task)
            store.create(layout.job_taken(sent.name), mark)
