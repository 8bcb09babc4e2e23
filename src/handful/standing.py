"""What stands in the store: each step's record, and whether it is up to date, with the reason.

A step whose fingerprint still stands is not run again. Nothing here runs a step or writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from handful import fingerprint
from handful.errors import Absent, DataError, UserError
from handful.experiment import Experiment
from handful.records import Reconciled, Record
from handful.step import Records, State, Step


def states(experiment: Experiment, steps: Sequence[Step]) -> list[State]:
    """What `run` would find, step by step; reads the store and changes nothing."""
    records: Records = {}
    found: list[State] = []
    for step in steps:
        if len(records) < len(found):
            kept = kept_record(experiment, step)
            found.append(State(step.name, kept, f"{found[-1].step} has to run first"))
            continue
        state = look(experiment, step, records)
        found.append(state)
        if state.record and state.up_to_date:
            records[step.name] = state.record
    return found


def look(experiment: Experiment, step: Step, records: Records) -> State:
    """Is `step` up to date, given the records of those before it?"""
    kept = kept_record(experiment, step)
    if kept is None:
        return State(step.name, None, "not done yet")
    change = fingerprint.difference(kept.made_from, step.made_from(experiment, records))
    if change:
        return State(step.name, kept, change)
    for key in step.outputs(experiment, kept):
        try:
            experiment.store.head(key)
        except Absent:
            return State(step.name, kept, f"{key} is gone from the store")
    return State(step.name, kept, "")


def as_it_stands(experiment: Experiment, step: Step, records: Records) -> Record:
    state = look(experiment, step, records)
    if state.record is None:
        raise UserError(
            f"{step.name} has not been done yet",
            where=str(experiment.directory),
            remedy=f"run `handful {step.name} {experiment.directory}` first, or `handful run`",
        )
    if state.reason:
        experiment.progress.warn(f"{step.name} is taken as it stands, although {state.reason}")
    return state.record


def kept_record(experiment: Experiment, step: Step) -> Record | None:
    try:
        data = experiment.store.read(step.kept_at(experiment))
    except Absent:
        return None
    try:
        return step.record.from_json(data)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the record of {step.name} cannot be read: {error}",
            where=f"{experiment.store.url}/{step.kept_at(experiment)}",
            remedy="remove that file; the step will be done again",
        ) from error


def told(record: Record) -> str:
    if isinstance(record, Reconciled):
        return f" (production as of {record.snapshot_at}, {age(record.snapshot_at)})"
    return f" (done {age(record.finished_at)})"


def age(moment: str) -> str:
    """How long ago an ISO moment was, as a person says it."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
