"""The worker: a job file in, a result file out, the same at home and in a container.

    python -m handful.backends.worker JOB RESULT [--events PATH] [--leash] [--together]

`--events` names a file or FIFO that takes the progress as JSON lines (else they go to standard
output). With `--leash` the worker ends when its standard input closes, so that no orphan goes on
writing after its driver was killed. One of several that torchrun has started ends with torchrun,
however that ended: no second team shall write beside what is left of the first. With `--together`
it is one of several on several machines: the job is the one that the first of them was given,
whatever the file here says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful import layout
from handful.backends.base import Job
from handful.errors import Fault, HandfulError, StepError, UserError
from handful.errors.exceptions import (
    error_to_json,
    format_traceback,
    is_from_outside,
    listen_in_worker,
    message,
    signals_heard,
    wrap_unexpected_error,
)
from handful.experiment.context import Experiment, open_experiment
from handful.jobs.arguments import Arguments, LookAroundArgs, PartArgs, TestArgs, TrainArgs
from handful.jobs.events import EventWriter
from handful.progress import Progress, Silent
from handful.storage.lock import attach_lock_watch
from handful.system.machine import cores, pause_garbage_collection
from handful.system.processes import end_with_parent
from handful.user_functions.load import MENUS, load_functions

TASKS: Mapping[type[Arguments], str] = {
    LookAroundArgs: "handful.backends.worker:look_around",
    PartArgs: "handful.backends.worker:part",
    TrainArgs: "handful.training.trainer:train",
    TestArgs: "handful.training.evaluation.test:evaluate",
}
"""A task's arguments → "module:function"; the function takes the experiment and these."""


PARENT_LOOK_SECONDS = 1.0
"""How often one of several processes looks whether torchrun is still there."""


def run_job(job: Job, progress: Progress) -> Any:
    """Run `job` here and now; what its task returns (JSON values)."""
    module, _, function = TASKS[type(job.arguments)].partition(":")
    with tempfile.TemporaryDirectory(prefix="handful-") as scratch:
        experiment = open_experiment(Path(job.experiment), job.overrides, progress, Path(scratch))
        if job.lock is not None:
            experiment = replace(experiment, store=attach_lock_watch(experiment.store, job.lock))
        with pause_garbage_collection():
            task = getattr(import_module(module), function)
        with without_secrets(experiment.settings.hide):
            return task(experiment, job.arguments)


@contextmanager
def without_secrets(hide: Callable[[str], str]) -> Iterator[None]:
    """Any error of the body as it is, unless a secret stands in its words or its traceback.

    Then it has them hidden, and its traceback as a note, as one that comes from a worker has.
    """
    try:
        yield
    except Exception as error:
        words = format_traceback(error)
        if hide(words) == words:
            raise
        raise _hide_secrets_in_error(error, hide, words) from None


def _hide_secrets_in_error(
    error: Exception, hide: Callable[[str], str], words: str
) -> HandfulError:
    notes = list(getattr(error, "__notes__", ())) or [words]
    told = error if isinstance(error, HandfulError) else wrap_unexpected_error(error)

    def clean(fault: Fault) -> Fault:
        return Fault(hide(fault.where), hide(fault.what), hide(fault.remedy))

    many = getattr(told, "faults", None)
    if many:
        told.faults = tuple(map(clean, many))  # type: ignore[attr-defined]
    else:
        told.fault = clean(told.fault)
    told.args = tuple(hide(str(one)) for one in told.args)
    told.__cause__, told.__notes__ = None, [hide(note) for note in notes]
    return told


def look_around(experiment: Experiment, arguments: LookAroundArgs) -> dict[str, Any]:
    """What a worker finds where it runs: cores, versions, and which functions load.

    The smallest task: it shows that a backend can start a worker that can work.
    """
    functions = load_functions(experiment.directory)
    return {
        "cores": cores(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in arguments.libraries},
        "functions": sorted(menu.name for menu in MENUS if functions.has(menu.name)),
    }


def part(_: Experiment, __: PartArgs) -> dict[str, Any]:
    """The last job of those that worked together on several machines: there is nothing left."""
    from handful.training.loop.process_group import left

    left()
    return {}


def _fetch_team_job(job: Job) -> Job:
    """The job that the first of the team has, for this machine's own directory.

    `UserError` if the experiment's files here are not those that it has.
    """
    from handful.training.loop.process_group import gather_process_reports

    directory = Path(job.experiment)
    found = gather_process_reports({"job": job.to_json(), "files": _files_hash(directory)})
    # All of them look, so that none waits for one that has left.
    if len({one["files"] for one in found}) > 1:
        raise UserError(
            "settings.ini or functions.py is not the same on all hosts",
            where=str(directory),
            remedy="give all machines the same copy of the experiment's directory",
        )
    return replace(Job.from_json(found[0]["job"]), experiment=job.experiment)


def _files_hash(directory: Path) -> str:
    files = [(directory / name).read_bytes() for name in (layout.SETTINGS, layout.FUNCTIONS)]
    return hashlib.sha256(b"\0".join(files)).hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m handful.backends.worker")
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--leash", action="store_true")
    parser.add_argument("--together", action="store_true")
    options = parser.parse_args(argv)
    if options.leash:
        end_with_parent()
    job = Job.from_json(options.job.read_text())
    rank = int(os.environ.get("RANK", "0"))  # torchrun's, if there are several of us
    with _ending_with_launcher(), EventWriter(options.events) as events:
        progress: Progress = Silent() if rank else events
        heard = signals_heard()
        try:
            job = _fetch_team_job(job) if options.together else job
            answer = {"result": run_job(job, progress)}
        except BaseException as error:  # every end of a task goes home in the result file
            if is_from_outside(error, heard):
                raise
            answer = {"error": error_to_json(error)}
            if has_lost_others(error):
                answer["left"] = True
    if rank == 0 or options.together or "error" in answer:
        answer |= {"task": job.task, "about": job.arguments.about}
        try:
            _write_first(options.result, answer, rank)
        except OSError as error:
            raise Unwritten(answer, error) from error
    return 1 if "error" in answer else 0


def _write_first(result: Path, answer: Mapping[str, Any], rank: int) -> None:
    """Write the result, whole. Of several the first counts: it is the cause of the others.

    Who only left, since it had lost another, is not the first: its connections close before the
    other has written why.
    """
    aside = result.with_name(f"{result.name}.{rank}")
    aside.write_text(json.dumps(answer))
    try:
        os.link(aside, result)
    except FileExistsError:
        if not answer.get("left") and json.loads(result.read_text()).get("left"):
            os.link(aside, named := result.with_name(f"{aside.name}.cause"))
            named.replace(result)
    aside.unlink()


class Unwritten(StepError):
    """The result could not be written here. An error that it holds comes first."""

    def __init__(self, answer: Mapping[str, Any], why: OSError) -> None:
        self.answer = answer
        lost = f"the result cannot be written: {why.strerror or why}"
        if "error" in answer:
            where, what, remedy = answer["error"]["faults"][0]
            super().__init__(f"{what}; besides, {lost}", where=where, remedy=remedy)
        else:
            super().__init__(lost, where=str(why.filename or ""), remedy="free some room")


_PEER_LOSS_PATTERN = re.compile(
    r"gloo/transport|Connection (?:closed by peer|reset by peer)"
    r"|Application timeout caused pair closure"
    r"|NCCL.*(?:remote process|aborted|ncclRemoteError|timeout)|ncclRemoteError"
    r"|(?:TCPStore|ProcessGroup\w*|c10d).*(?:closed|reset|timed? ?out|failed to recv)",
    re.DOTALL,
)


def has_lost_others(error: BaseException | None) -> bool:
    """Is it one of several training processes, and only tells that it has lost another of them?"""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if "DistError" in names or (
            "RuntimeError" in names and _PEER_LOSS_PATTERN.search(message(error))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _ending_with_launcher() -> Iterator[None]:
    """One of several ends at once when torchrun is gone, during the body.

    Each of torchrun's children leads a session of its own, so no signal to a group reaches them.
    """
    parent, done = os.getppid(), threading.Event()

    def watch() -> None:
        while not done.wait(PARENT_LOOK_SECONDS):
            if os.getppid() != parent:
                os._exit(143)

    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()  # a thread that wakes up while Python ends can take it along


if __name__ == "__main__":
    listen_in_worker()
    sys.exit(main())
