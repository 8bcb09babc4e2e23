"""What each training process runs: the worker, and then the news of how it ended.

    python -m handful.sagemaker.container.run JOB RESULT --root ROOT --name NAME

The worker is that of home. Its result goes to the experiment's store, where the driver finds it; an
error goes there too, and in short to where SageMaker looks for the reason of a failure. What comes
first is the cause: what goes wrong after it, and who only left for it, never takes its place.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handful.backends import worker
from handful.backends.base import Job
from handful.errors import Absent, HandfulError
from handful.errors.exceptions import error_to_json, listen_in_worker, note_signal
from handful.experiment.context import open_experiment
from handful.layout import job_result
from handful.progress import Silent
from handful.sagemaker.container.environment import (
    LEFT,
    STOPPED_BEFORE,
    failure_words,
    is_leaving,
    tell_failure,
)
from handful.storage.base import Store

STOPPED = 143
CAUSE_SECONDS = 15.0
"""How long one that has lost the others waits for the word of the one that knows why."""
_CAUSE_POLL_SECONDS = 0.5


def main(argv: list[str] | None = None) -> int:
    """The worker's status; 143 if it was stopped before it could listen."""
    parser = argparse.ArgumentParser(prog="python -m handful.sagemaker.container.run")
    parser.add_argument("job", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--name", required=True)
    options = parser.parse_args(argv)
    # As the first process of a container, Python would ignore SIGTERM without a handler.
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        status, answer = _run_container_worker(options)
    except SystemExit:
        tell_failure(
            options.root, f"{STOPPED_BEFORE}, before or after a training; run again to go on"
        )
        return STOPPED
    except Exception as error:  # noqa: BLE001 - every end of a container is told to SageMaker
        traceback.print_exc()
        tell_failure(options.root, failure_words(error_to_json(error)["faults"]))
        return 1
    first = os.environ.get("RANK", "0") == "0"
    if answer is None or not (first or status):
        return status
    return deliver(Job.from_json(options.job.read_text()), answer, options.root, options.name)


def _run_container_worker(options: argparse.Namespace) -> tuple[int, Mapping[str, Any] | None]:
    """The worker's status, and what it answered: of several here, the first that did."""
    try:
        status = worker.main([str(options.job), str(options.result)])
    except worker.Unwritten as lost:
        traceback.print_exc()
        return int("error" in lost.answer), lost.answer
    found = options.result
    return status, json.loads(found.read_text()) if found.exists() else None


def deliver(job: Job, answer: Mapping[str, Any], root: Path, name: str) -> int:
    """Send an answer to the store; an error also to where SageMaker looks for it.

    The status for the container. Whatever keeps it from the store is told after the error.
    """
    words = failure_words(answer["error"]["faults"]) if "error" in answer else ""
    if words and not answer.get("left"):
        tell_failure(root, words)  # first of all: nothing that follows is to hide it
    if is_leaving(words) or answer.get("error", {}).get("class") == "Interrupted":
        return 1  # no answer yet: SageMaker starts a spot job again, and it goes on from there
    try:
        with tempfile.TemporaryDirectory(prefix="handful-") as scratch:
            place = Path(scratch)
            experiment = open_experiment(Path(job.experiment), job.overrides, Silent(), place)
            _send(experiment.store, job_result(name), answer, root)
    except Exception as error:  # noqa: BLE001 - told to SageMaker, whatever it is
        traceback.print_exc()
        if words:
            tell_failure(root, words)
        tell_failure(root, f"the result could not be sent to the store: {_short(error)}")
        return 1
    return int(bool(words))


def _send(store: Store, key: str, answer: Mapping[str, Any], root: Path) -> None:
    data = json.dumps(answer).encode()
    if "error" not in answer:
        store.write(key, data)
    elif answer.get("left"):
        _send_left(store, key, answer, root)
    elif not store.create(key, data) and _read_stored_answer(store, key).get("left"):
        store.write(key, data)  # of several the first is the cause, but for those that only left


def _send_left(store: Store, key: str, answer: Mapping[str, Any], root: Path) -> None:
    """Who has lost the others waits a little for the one that knows why, and repeats its words."""
    until = time.monotonic() + CAUSE_SECONDS
    while time.monotonic() < until:
        cause = _read_stored_answer(store, key)
        if "error" in cause and not cause.get("left"):
            tell_failure(root, failure_words(cause["error"]["faults"]))
            return
        time.sleep(_CAUSE_POLL_SECONDS)
    tell_failure(root, f"{LEFT} others had gone: {failure_words(answer['error']['faults'])}")
    store.create(key, json.dumps(answer).encode())


def _read_stored_answer(store: Store, key: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(store.read(key))
    except Absent:
        return {}
    return found


def _short(error: Exception) -> str:
    return str(error) if isinstance(error, HandfulError) else f"{type(error).__name__}: {error}"


def _exit_on_signal(*_: object) -> None:
    note_signal()
    raise SystemExit(STOPPED)


if __name__ == "__main__":
    listen_in_worker()
    sys.exit(main())
