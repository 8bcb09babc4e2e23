"""Runs a job as a process of its own on this machine.

What the worker tells comes over a FIFO; what the user's functions print comes over its standard
output and is shown as notes; its standard error is kept, and its end is shown if the worker dies.
The worker's standard input is a leash: when this process is gone, however it went, the worker
leaves too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from handful.backends import launch
from handful.backends.base import Backend, Job
from handful.errors import Interrupted, StepError
from handful.errors.exceptions import error_from_json
from handful.jobs.events import replay
from handful.progress import Progress
from handful.system.processes import signal_name

LAST_WORDS = 20
_END = "end of events\n"
_TORCHRUN_SAW = "failed (exitcode: "
_KILLED = re.compile(r"failed \(exitcode: -(\d+)\) local_rank: (\d+)")
_POLITE = {signal.SIGTERM, signal.SIGINT}


class Local(Backend):
    """Each job a fresh process: its memory is gone when it ends."""

    def run(self, job: Job, progress: Progress) -> Any:
        with tempfile.TemporaryDirectory(prefix="handful-job-") as folder:
            return run_here(job, progress, Path(folder))["result"]


def run_here(
    job: Job,
    progress: Progress,
    folder: Path,
    hosts: launch.Hosts | None = None,
    port: int = launch.PORT,
) -> dict[str, Any]:
    """Run `job` as processes of this machine, together with those of the other `hosts`, and return
    all that the worker's result file says. `folder` is empty and local."""
    job_file, result_file, events = folder / "job.json", folder / "result.json", folder / "events"
    job_file.touch(mode=0o600)  # a `--set` of this call may hold a secret
    job_file.write_text(job.to_json())
    os.mkfifo(events, 0o600)
    # Opened for reading and writing, so that neither side waits for the other to come or go.
    pipe = os.open(events, os.O_RDWR)
    worker_arguments = [str(job_file), str(result_file), "--events", str(events), "--leash"]
    if hosts is not None:
        worker_arguments.append("--together")
    with (folder / "stderr").open("w+b") as log:
        worker = subprocess.Popen(
            launch.command(worker_arguments, job.processes, hosts, port),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # Ctrl-C in a terminal is for this process alone, which passes it on once: torchrun and
            # its children would each hear it, and tell each other, and a second one means haste.
            start_new_session=True,
            env={**os.environ, **launch.environment(job.processes, hosts)},
        )
        assert worker.stdout is not None  # nosec B101 - because stdout=PIPE, which types do not say
        listeners = [
            threading.Thread(target=_listen, args=(pipe, progress), daemon=True),
            threading.Thread(target=_overhear, args=(worker.stdout, progress), daemon=True),
        ]
        for listener in listeners:
            listener.start()
        try:
            status = worker.wait()
        except KeyboardInterrupt:
            _stop(worker)
            raise Interrupted("stopped while a worker was running") from None
        finally:
            os.write(pipe, _END.encode())
            for listener in listeners:
                listener.join()
            os.close(pipe)
        return _read_worker_result(result_file, status, log)


def _listen(pipe: int, progress: Progress) -> None:
    with os.fdopen(os.dup(pipe), "r") as lines:
        for line in lines:
            if line == _END:
                return
            replay(line, progress)


def _overhear(said: IO[bytes], progress: Progress) -> None:
    for line in said:
        progress.note(line.decode(errors="replace").rstrip("\n"))


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(launch.GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _read_worker_result(result_file: Path, status: int, log: IO[bytes]) -> dict[str, Any]:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    killed = _find_signal_death(lines)
    if killed or not result_file.exists():
        how = f"was ended by signal {-status}" if status < 0 else f"left with status {status}"
        # What the others of a team say is only that they lost the one that was killed.
        words = [] if result_file.exists() else _without_summary(lines)[-LAST_WORDS:]
        by_signal = status == -9 or (killed and killed.number == signal.SIGKILL)
        raise StepError(
            (str(killed) if killed else f"the worker {how}")
            + "".join(f"\n    | {line}" for line in words),
            remedy=_WORKER_MEMORY_REMEDY if by_signal else _LEFT if status == 0 else "",
        )
    answer: dict[str, Any] = json.loads(result_file.read_text())
    if "error" in answer:
        raise error_from_json(answer["error"])
    return answer


_LEFT = (
    "it had no result yet: look for what ends its own process (`os._exit`) in load_model, "
    "compute_metrics, the model's forward, and what they use"
)
_WORKER_MEMORY_REMEDY = (
    "signal 9 often means that memory ran out: set AUTO_BATCH = true or GRADIENT_CHECKPOINTING = "
    "true, or lower BATCH_SIZE or [compute] TRAIN_PROCESSES"
)


@dataclass(frozen=True)
class _Killed:
    """One of several processes that ended by a signal."""

    rank: str
    number: int

    def __str__(self) -> str:
        what = f"was ended by signal {self.number} ({signal_name(self.number)})"
        return f"training process {self.rank} {what}, and the others with it"


def _find_signal_death(lines: Sequence[str]) -> _Killed | None:
    """Whom torchrun has seen end by a signal that is no request to stop."""
    for line in lines:
        seen = _KILLED.search(line)
        if seen and int(seen[1]) not in _POLITE:
            return _Killed(seen[2], int(seen[1]))
    return None


def _without_summary(lines: Sequence[str]) -> list[str]:
    """What torchrun adds about itself after it saw a worker fail would hide the worker's words."""
    seen = next((n for n, line in enumerate(lines) if _TORCHRUN_SAW in line), len(lines))
    return list(lines[: seen + 1])
