"""What stands in the store: each step's record, and whether it is up to date, with the reason.

A step whose fingerprint still stands is not run again. Nothing here runs a step or writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from handful import layout
from handful.errors import Absent, Damaged, DataError, HandfulError, UserError
from handful.experiment import fingerprint
from handful.experiment.context import Experiment
from handful.experiment.step_files import check_files
from handful.files import checksums
from handful.files.checksums import Files
from handful.pipeline.step import Records, State, Step
from handful.records import Reconciled, Record
from handful.records.moments import age, seconds_since
from handful.storage.base import Store
from handful.storage.checked import CheckedStore
from handful.storage.lock import EXPIRES, Holder, holders
from handful.system.machine import is_alive


def states(experiment: Experiment, steps: Sequence[Step], *, verify: bool = False) -> list[State]:
    """What `run` would find, step by step; reads the store and changes nothing.

    `verify`: compare the content of every file that a record names, not its size alone.
    """
    records: Records = {}
    found: list[State] = []
    for step in steps:
        if found and not found[-1].up_to_date:
            state = _behind(experiment, step, found, records, verify=verify)
        else:
            state = look(experiment, step, records, verify=verify)
        found.append(state)
        if state.record:
            records[step.name] = state.record
    return found


def look(experiment: Experiment, step: Step, records: Records, *, verify: bool = False) -> State:
    """Is `step` up to date, given the records of those before it?"""
    try:
        kept = load_step_record(experiment.store, step.kept_at(experiment), step)
    except Damaged as error:
        return State(step.name, None, (), (error,))
    if kept is None:
        return State(step.name, None, ("not done yet",))
    reasons = fingerprint.differences(kept.made_from, step.made_from(experiment, records))
    outputs, told = step.outputs(experiment, kept), experiment.progress if verify else None
    gone, damage = check_files(experiment.store, kept, outputs, verify=told)
    reasons += [f"{key} is gone from the store" for key in gone]
    reasons += step.again(experiment, kept)
    return State(step.name, kept, tuple(reasons), tuple(damage))


def _behind(
    experiment: Experiment,
    step: Step,
    before: Sequence[State],
    records: Records,
    *,
    verify: bool,
) -> State:
    """A step that waits for another, and what else is known to have changed for it.

    What those before it will hand on is not known yet; they are taken as they stand.
    """
    first = (f"{before[-1].step} has to run first",)
    try:
        own = State(
            step.name, load_step_record(experiment.store, step.kept_at(experiment), step), ()
        )
    except Damaged as error:
        own = State(step.name, None, (), (error,))
    if own.record and len(records) == len(before):
        # What cannot be told now is told when it is this step's turn.
        with suppress(HandfulError):
            own = look(experiment, step, records, verify=verify)
    return replace(own, reasons=first + own.reasons)


def in_progress(experiment: Experiment, steps: Sequence[Step]) -> dict[str, list[str]]:
    """Step → who is at work on it, since when; also who was, and died of it. Only reads."""
    found: dict[str, list[str]] = {}
    for folder in dict.fromkeys(step.locked_at(experiment) for step in steps):
        names = [step.name for step in steps if step.locked_at(experiment) == folder]
        for holder in find_holders(experiment.store, folder):
            words = re.findall(r"\w+", holder.doing)
            # The lock of a folder that nobody knows the words of: its first step's.
            step = next((word for word in words if word in names), names[0])
            found.setdefault(step, []).append(_at_work(holder))
    return found


def find_holders(store: Store, folder: str) -> list[Holder]:
    try:
        return holders(store, folder)
    except Absent:  # there is no store yet
        return []


def _at_work(holder: Holder) -> str:
    who = f"process {holder.process.pid} on {holder.host}"
    began, alive = f"began {age(holder.since)}", is_alive(holder.process)
    if alive is False:
        return f"cut off: {who} is gone ({began}); the same command goes on where it was"
    if alive is None and seconds_since(holder.beat) > EXPIRES:
        return f"perhaps cut off: {who} ({began}) was last heard of {age(holder.beat)}"
    share = ", ".join(re.findall(r"worker \d+ of \d+", holder.doing))
    return f"in progress: {who}{', ' + share if share else ''} ({began})"


def as_it_stands(
    experiment: Experiment,
    step: Step,
    records: Records,
    *,
    judged: bool = False,
    verify: bool = False,
) -> Record:
    """The record of `step`, with a warning if something has changed since.

    `judged`: somebody has looked already, who knows more than the settings here, such as the driver
    of a job. `UserError` if there is no record, `Damaged` if a file of the step is.
    """
    state = (
        State(step.name, load_step_record(experiment.store, step.kept_at(experiment), step), ())
        if judged
        else look(experiment, step, records, verify=verify)
    )
    state.check()
    if state.record is None:
        raise UserError(
            f"{step.name} has not been done yet",
            where=str(experiment.directory),
            remedy=f"run `handful {step.name} {experiment.directory}` first, or `handful run`",
        )
    if state.reason:
        experiment.progress.warn(f"{step.name} is taken as it stands, although {state.reason}")
    return state.record


def load_step_record(store: Store, key: str, step: Step) -> Record | None:
    try:
        data = store.read(key)
    except Absent:
        return None
    try:
        return step.record.from_json(data)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the record of {step.name} cannot be read: {error}",
            where=f"{store.url}/{key}",
            remedy="remove that file; the step will be done again",
        ) from error


def begin(experiment: Experiment, step: Step, *, again: bool) -> Files:
    """What the step's record says of its files, which `step` is about to make anew.

    `again`: it is made anew, whatever stands there; else `Damaged` for a record that is.
    """
    key, store = step.kept_at(experiment), experiment.store
    try:
        kept = load_step_record(store, key, step)
    except Damaged:
        if not again or not isinstance(store, CheckedStore):
            raise
        store.distrust(key)
        if step.record is Reconciled:  # nobody knows any more how these were written
            store.delete(layout.RECONCILE_MEMORY)
        store.delete([key])  # its workers would ask it, too
        return {}
    if kept is None or not isinstance(store, CheckedStore):
        return {}
    gone, _ = check_files(store, replace(kept, files={}), step.outputs(experiment, kept))
    store.overlook(gone)
    return checksums.from_json(kept.files)


def told(record: Record) -> str:
    if isinstance(record, Reconciled):
        return f" (production as of {record.snapshot_at}, {age(record.snapshot_at)})"
    return f" (done {age(record.finished_at)})"
