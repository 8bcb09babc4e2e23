"""What each training process runs: the worker, and then the news of how it ended.

    python -m handful.backends.sagemaker.container.run JOB RESULT --root ROOT --name NAME

The worker is that of home. Its result goes to the experiment's store, where the driver finds it; an
error goes there too, and in short to where SageMaker looks for the reason of a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handful import worker
from handful.backends.base import Job
from handful.backends.sagemaker.container.environment import failure_words, tell_failure
from handful.errors import HandfulError
from handful.experiment import open_experiment
from handful.layout import job_result
from handful.progress import Silent

STOPPED = 143


def main(argv: list[str] | None = None) -> int:
    """The worker's status; 143 if it was stopped before it could listen."""
    parser = argparse.ArgumentParser(prog="python -m handful.backends.sagemaker.container.run")
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--name", required=True)
    options = parser.parse_args(argv)
    # As the first process of a container, Python would ignore SIGTERM without a handler.
    signal.signal(signal.SIGTERM, _leave)
    try:
        status = worker.main([str(options.job), str(options.result)])
    except SystemExit:
        tell_failure(
            options.root, "stopped from outside, before or after a training; run again to go on"
        )
        return STOPPED
    first = os.environ.get("RANK", "0") == "0"
    if not options.result.exists() or not (first or status):
        return status
    try:
        deliver(options.job, json.loads(options.result.read_text()), options.root, options.name)
    except HandfulError as error:
        tell_failure(options.root, f"the result could not be sent to the store: {error}")
        return 1
    return status


def deliver(job_file: Path, answer: Mapping[str, Any], root: Path, name: str) -> None:
    """Send the worker's answer to the store; an error also to where SageMaker looks for it."""
    if "error" in answer:
        words = failure_words(answer["error"]["faults"])
        tell_failure(root, words)
        if words.startswith("stopped by SIGTERM"):
            return  # no answer yet: SageMaker starts a spot job again, and it goes on from there
    job = Job.from_json(job_file.read_text())
    with tempfile.TemporaryDirectory(prefix="handful-") as scratch:
        experiment = open_experiment(Path(job.experiment), job.overrides, Silent(), Path(scratch))
        data = json.dumps(answer).encode()
        if "error" in answer:
            experiment.store.create(job_result(name), data)  # of several the first is the cause
        else:
            experiment.store.write(job_result(name), data)


def _leave(*_: object) -> None:
    raise SystemExit(STOPPED)


if __name__ == "__main__":
    sys.exit(main())
