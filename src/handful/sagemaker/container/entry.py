"""The container's entry: a doormat. It reads `/opt/ml`, wipes its feet, and becomes the worker.

    python -m handful.sagemaker.container.entry [--root /opt/ml]

train and test become `…container.run` (under torchrun, if several processes train together), by
exec, so that nothing stands between SageMaker's signals and them. reconcile and prepare are the
command line's own verbs, run as at home.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from handful.backends import launch
from handful.errors.exceptions import error_to_json, note_signal
from handful.jobs import prefetched_splits
from handful.jobs.arguments import PrepareArgs, ReconcileArgs
from handful.sagemaker.container import secrets
from handful.sagemaker.container.arrival import Here, job_here
from handful.sagemaker.container.environment import (
    ROOT,
    STOPPED_BEFORE,
    Container,
    failure_words,
    read,
    tell_failure,
)
from handful.sagemaker.container.run import STOPPED, deliver
from handful.sagemaker.jobs.logs import event_of

RUN = "handful.sagemaker.container.run"
_COMMAND_LINE = "from handful.cli import main; main()"
_COMMAND_LOG_TAIL_LINES = 15


def main(argv: list[str] | None = None) -> int:
    """The status of the container; does not return when it becomes the worker."""
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name if __spec__ else 'entry'}")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--port", type=int, default=launch.PORT)
    # `docker run IMAGE train` is how SageMaker starts an image without an entry point.
    options, _ = parser.parse_known_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    try:
        container = read(options.root)
        secrets.fetch()
        work = _work_folder(container)
        here = job_here(container, work)
        if isinstance(here.job.arguments, PrepareArgs | ReconcileArgs):
            return _verb(here, container)
        _become(here, container, work, options.port)
    except SystemExit:
        tell_failure(options.root, f"{STOPPED_BEFORE} before the work began")
        return STOPPED
    except Exception as error:  # noqa: BLE001 - every end of a container is told to SageMaker
        told = error_to_json(error)
        sys.stderr.write(told["traceback"])
        tell_failure(options.root, failure_words(told["faults"]))
    return 1


def _work_folder(container: Container) -> Path:
    if container.scratch is not None:
        container.scratch.mkdir(parents=True, exist_ok=True)
        # The workers' temporary files, too: only this folder is on the job's large volume.
        os.environ["TMPDIR"] = tempfile.tempdir = str(container.scratch)
    return Path(tempfile.mkdtemp(prefix="handful-container-"))


def _become(here: Here, container: Container, work: Path, port: int) -> None:
    job_file = work / "job.json"
    job_file.write_text(here.job.to_json())
    told = ["--root", str(container.root), "--name", container.name]
    # Only training is done by all hosts together.
    hosts = container.hosts if here.job.task == "train" else None
    command = launch.command(
        [str(job_file), str(work / "result.json"), *told], here.per_host, hosts, port, RUN
    )
    environment = {
        **os.environ,
        **prefetched_splits.told(container.inputs),
        **launch.environment(here.per_host, hosts),
    }
    # No shell: a list of words, of our own.
    os.execve(command[0], command, environment)  # nosec B606


def _verb(here: Here, container: Container) -> int:
    """Run a verb of the command line; its last words are the reason if it fails."""
    # Its lines are JSON, as a worker's are: whoever follows the job reads them.
    words = [here.job.task, here.job.experiment, "--json", "--traceback"]
    if isinstance(here.job.arguments, ReconcileArgs):
        words += here.job.arguments.options
    else:  # the driver's own `prepare` joins the shares
        hosts = container.hosts
        words += ["--worker", str(hosts.rank), "--of", str(len(hosts.hosts)), "--sent"]
    for override in here.job.overrides:
        words += ["--set", override]
    child = subprocess.Popen(
        [sys.executable, "-c", _COMMAND_LINE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    told: list[dict[str, Any]] = []
    listener = threading.Thread(target=_pass_on, args=(child.stdout, told), daemon=True)
    listener.start()
    last: deque[str] = deque(maxlen=_COMMAND_LOG_TAIL_LINES)
    for line in child.stderr or ():
        sys.stderr.write(line)
        last.append(line)
    listener.join()
    status = child.wait()
    if told:  # the command line's own error: its class decides how the driver ends, as at home
        deliver(here.job, {"error": told[-1]}, container.root, container.name)
    elif status:
        tell_failure(container.root, "".join(last).strip() or f"{words[0]} left with {status}")
    return status


def _pass_on(lines: IO[str] | None, errors: list[dict[str, Any]]) -> None:
    """Write on what a verb says, and note the error that it ends with."""
    for line in lines or ():
        sys.stdout.write(line)
        sys.stdout.flush()
        said = event_of(line)
        if said is not None and said["event"] == "error":
            errors.append({name: said[name] for name in ("class", "faults", "traceback")})


def _leave(*_: object) -> None:
    note_signal()
    raise SystemExit(STOPPED)


if __name__ == "__main__":
    sys.exit(main())
