"""Our own contestant of `copy`."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconcile_parts.jobs import Job, Span, check, cpu_seconds


class _Clock:
    """A `Progress` that remembers when copying began and ended: wall and CPU seconds."""

    def __init__(self) -> None:
        self.begun = self.ended = (0.0, 0.0)

    def note(self, message: str) -> None:
        if message.startswith("copies:"):  # told right before the first copy
            self.begun = (time.perf_counter(), cpu_seconds())

    def warn(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr)

    def advance(self, task: str, done: int, total: int | None, *_: object) -> None:
        if task == "copying" and done == total:
            self.ended = (time.perf_counter(), cpu_seconds())

    def table(self, *_: object) -> None: ...


def ours(job: Job, span: Span) -> None:
    """`handful reconcile`, as the command line does it; timed is the step that it calls."""
    import_everything()
    import handful.steps.reconcile as step
    from handful.experiment.context import open_experiment
    from handful.pipeline.run import Choice, run

    clock, reconcile = _Clock(), step.reconcile

    def timed(*arguments: Any, **named: Any) -> Any:
        with span.timed():
            return reconcile(*arguments, **named)

    step.reconcile = timed
    with tempfile.TemporaryDirectory() as scratch:
        experiment = open_experiment(Path(job.experiment), (), clock, Path(scratch))
        began = time.perf_counter()
        records = run(experiment, Choice("reconcile", "reconcile"))
        lock_and_all = time.perf_counter() - began
    copied: Any = records["reconcile"]
    check(copied.copied, job)
    (begun, begun_cpu), (ended, ended_cpu) = clock.begun, clock.ended
    span.details = {
        "before": begun - span.began,
        "copying": ended - begun,
        "copying_cpu": ended_cpu - begun_cpu,
        "after": span.began + span.seconds - ended,
        "locked": lock_and_all,
    }


def import_everything() -> None:
    """What reconcile imports on its way, before the clock starts: so it is with the others."""
    for name in (
        "boto3",
        "handful.labels.batches",
        "handful.labels.connection",
        "handful.labels.database",
        "handful.labels.drivers.embedded",
        "handful.labels.failures",
        "handful.labels.reading",
        "handful.labels.statements",
        "handful.storage.lock",
        "handful.storage.s3.store",
        "obstore.auth.boto3",
        "obstore.store",
        "polars",
        "pyarrow.parquet",
        "sqlalchemy.dialects.sqlite",
    ):
        with suppress(ModuleNotFoundError):  # another build has other modules
            importlib.import_module(name)
