"""What jobs answered: their workers leave it in the experiment's store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from handful import layout
from handful.backends.local import error_from_json
from handful.backends.sagemaker.control import TrialJob
from handful.backends.sagemaker.names import trial_number
from handful.backends.sagemaker.ranges import values_of
from handful.errors import Absent, StepError
from handful.storage.base import Store

_WITHOUT_ANSWER = frozenset({"prepare", "reconcile"})
"""These write their record into the store themselves."""


def of_job(store: Store, name: str, task: str) -> Any:
    """What the job's worker returned. Raises the error that it raised."""
    if task in _WITHOUT_ANSWER:
        return {}
    answer = _read(store, name)
    if answer is None:
        raise StepError(
            f"the job {name} is done, but left no answer",
            where=f"{store.url}/{layout.job_result(name)}",
            remedy="can its role write to the STORE? Run again to start it anew",
        )
    if "error" in answer:
        raise error_from_json(dict(answer["error"]))
    return answer["result"]


def of_trials(store: Store, jobs: Sequence[TrialJob]) -> dict[str, Any]:
    """`trials`: of each its `values`, and its `result` or its `error` in words.

    In the order of their numbers, under which they keep their files.
    """
    ordered = sorted(jobs, key=lambda job: trial_number(job.name))
    return {"trials": [{"values": values_of(job.parameters), **_of(store, job)} for job in ordered]}


def _of(store: Store, job: TrialJob) -> dict[str, Any]:
    answer = _read(store, job.name)
    if answer is not None and "result" in answer:
        return {"result": answer["result"]}
    if answer is not None:
        return {"error": str(error_from_json(dict(answer["error"])))}
    return {"error": job.reason or f"the job {job.name} ended as {job.state} without an answer"}


def _read(store: Store, name: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(store.read(layout.job_result(name)))
    except Absent:
        return None
    return found
