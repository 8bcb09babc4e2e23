"""Runs a job in this process: for `check`, for debugging, and inside a worker."""

from __future__ import annotations

from typing import Any

from handful.backends.base import Backend, Job
from handful.errors import UserError
from handful.progress import Progress


class Inline(Backend):
    """A real backend, without a process between: a debugger's breakpoints work in it."""

    def run(self, job: Job, progress: Progress) -> Any:
        from handful.backends.worker import run_job

        if job.processes > 1:
            raise UserError(
                f"{job.processes} processes cannot run in this one",
                where="[compute] TRAIN_PROCESSES",
                remedy="use the local backend",
            )
        return run_job(job, progress)
