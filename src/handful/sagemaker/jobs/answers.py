"""What jobs answered: their workers leave it in the experiment's store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from handful import layout
from handful.errors import Absent, StepError
from handful.errors.exceptions import error_from_json
from handful.layout import Layout
from handful.sagemaker.jobs.control import TrialJob
from handful.sagemaker.jobs.requests.names import trial_number
from handful.sagemaker.jobs.requests.ranges import values_of
from handful.storage.base import Store

_WITHOUT_ANSWER = frozenset({"prepare", "reconcile"})
"""These write their record into the store themselves."""


def of_job(store: Store, name: str, task: str) -> Any:
    """What the job's worker returned. Raises the error that it raised."""
    if task in _WITHOUT_ANSWER:
        return {}
    answer = _read_job_answer(store, name)
    if answer is None:
        raise StepError(
            f"the job {name} is done, but left no answer",
            where=f"{store.url}/{layout.job_result(name)}",
            remedy="can its role write to the STORE? Run again to start it anew",
        )
    if "error" in answer:
        raise error_from_json(answer["error"])
    return answer["result"]


def taking(store: Store, place: Layout, task: str) -> bytes:
    """The mark of an answer that is being taken: which record of the step stood at that moment."""
    record = {"record": _record_hash(store, place)} if task == "test" else {}
    return json.dumps(record).encode()


def was_recorded(store: Store, place: Layout, name: str, task: str, mark: bytes) -> bool:
    """Has the answer that was taken with this `mark` become the step's record?

    If not, its driver was killed in between, and it may be taken again, as long as the results
    that it tells of are there. Other tasks but "test" leave records of their own.
    """
    before = json.loads(mark).get("record")
    if task != "test" or before is None or before != _record_hash(store, place):
        return True
    result = (_read_job_answer(store, name) or {}).get("result")
    if result is None:
        return True  # an error is told once
    try:
        for one in (*result["evaluations"], *result["baselines"]):
            store.head(place.predictions(one["model"], one["seed"]))
    except Absent:
        return True
    return False


def _record_hash(store: Store, place: Layout) -> str:
    try:
        return hashlib.sha256(store.read(place.tested_record)).hexdigest()
    except Absent:
        return ""


def of_trials(store: Store, jobs: Sequence[TrialJob]) -> dict[str, Any]:
    """`trials`: of each its `values`, and its `result` or its `error` in words.

    In the order of their numbers, under which they keep their files.
    """
    ordered = sorted(jobs, key=lambda job: trial_number(job.name))
    return {
        "trials": [
            {"values": values_of(job.parameters), **_trial_answer(store, job)} for job in ordered
        ]
    }


def _trial_answer(store: Store, job: TrialJob) -> dict[str, Any]:
    answer = _read_job_answer(store, job.name)
    if answer is not None and "result" in answer:
        return {"result": answer["result"]}
    if answer is not None:
        return {"error": str(error_from_json(answer["error"]))}
    return {"error": job.reason or f"the job {job.name} ended as {job.state} without an answer"}


def _read_job_answer(store: Store, name: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(store.read(layout.job_result(name)))
    except Absent:
        return None
    return found
