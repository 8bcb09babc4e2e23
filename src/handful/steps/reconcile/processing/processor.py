"""What a worker of process_func does: one artifact after the other, whatever the function does."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import polars as pl

from handful import layout
from handful.errors import HandfulError, OutOfResources, StepError, StoreError
from handful.errors.exceptions import (
    describe_exception,
    is_from_outside,
    original,
    shortage_at_work,
    signals_heard,
)
from handful.settings import Settings
from handful.steps.reconcile.keys.names import file_fault
from handful.steps.reconcile.snapshot.contents import sha256
from handful.storage.base import Entry, Store
from handful.system.processes import signal_name
from handful.user_functions.load import Functions
from handful.user_functions.workers.messages import Desk, Done, Loss

LAST_LINES = 8
"""How much of a traceback the ledger keeps."""
_SAID = 20


@dataclass(frozen=True)
class Artifact:
    """What process_func gets as `artifact`."""

    id: str
    label: str
    file_hash: str | None
    row: Mapping[str, Any]
    """All columns of its label row."""


@dataclass(frozen=True)
class Place:
    """What a worker needs, once."""

    directory: Path
    settings: Settings
    store: Store
    scratch: Path


@dataclass(frozen=True)
class Task:
    """One artifact to process: a `Work` of the workers that run process_func."""

    artifact_id: str
    label: str
    file_hash: str | None
    row: str
    """JSON: the label row's other columns."""
    files: tuple[str, ...]
    """The files that were copied."""
    patience: float
    """PROCESS_TIMEOUT, in seconds."""
    losses: int = 0

    @property
    def folder(self) -> str:
        return f"{layout.artifact(self.artifact_id)}/"

    def do(self, desk: Desk) -> Result:
        functions = desk.functions
        desk.gauge.begin(0, 1)
        result = process(desk.beside, functions, self, others_went_well=bool(desk.warm))
        if not result.failure:
            desk.warm.add("process_func")
        return result

    def without(self, in_hand: range, loss: Loss) -> Self | Done:
        if loss.is_late:
            what = f"process_func took longer than PROCESS_TIMEOUT = {self.patience:g} s "
            return Done(Result(failure=f"{what}and was stopped", is_cut_off=True))
        name = f"signal {-loss.status} ({signal_name(-loss.status)})"
        how = name if loss.status < 0 else f"status {loss.status}"
        memory = "; signal 9 often means that memory ran out" if loss.status == -9 else ""
        if not loss.is_ready:
            raise StepError(
                f"a worker of process_func ended with {how} while it loaded functions.py{memory}",
                where="functions.py",
                remedy=f"its last words:\n{loss.last_words}"
                if loss.last_words
                else "lower [reconcile] NUM_PROCESSES, "
                "or look for what ends processes in functions.py and on this machine",
            )
        if not in_hand:
            return replace(self, losses=self.losses + 1)
        failure = f"process_func ended its process with {how}{memory}"
        return Done(Result(failure=failure, is_cut_off=True))


@dataclass(frozen=True)
class Made:
    """One file that process_func wrote."""

    file: str
    size: int
    etag: str
    content: str
    """The etag if it tells the content, else the content's sha256."""


@dataclass(frozen=True)
class Result:
    """What became of a task: `failure` is empty if it went well."""

    made: tuple[Made, ...] = ()
    failure: str = ""
    said: tuple[str, ...] = ()
    """The last lines that process_func printed."""
    is_cut_off: bool = False
    """Did its process end, so that what it had made is still there?"""


@dataclass
class _Folder:
    """An artifact's files before and after."""

    store: Store
    task: Task
    before: dict[str, Entry] = field(default_factory=dict)

    def look(self) -> dict[str, Entry]:
        """File name → entry with the full key."""
        return {
            row["key"].removeprefix(self.task.folder): Entry(**row)
            for batch in self.store.list(self.task.folder)
            for row in batch.to_pylist()
        }


def process(
    place: Place, functions: Functions, task: Task, *, others_went_well: bool = True
) -> Result:
    """Run process_func on one artifact; whatever it raises becomes a failure.

    But `OutOfResources` or `Full` is raised for what the machine lacks.
    """
    folder = _Folder(place.store, task)
    said = io.StringIO()
    heard = signals_heard()
    try:
        if place.store.fence is not None:
            place.store.fence.check()
        folder.before = folder.look()
        # What an earlier function or a killed run left must not pass for this run's work.
        remove_others(place.store, task, folder.before)
        with redirect_stdout(said), redirect_stderr(said):
            _call(place, functions, task)
        made = _list_processor_files(place, folder)
        return Result(made, "", _last(said.getvalue()))
    except OutOfResources:
        clean(place.store, task)
        raise
    except HandfulError as error:
        failure = str(error)
    except BaseException as error:  # the user's code; sys.exit, too, is a failure
        if is_from_outside(error, heard):
            raise
        short = shortage_at_work(error, others_went_well=others_went_well)
        if short:
            clean(place.store, task)
            raise short from error
        failure = _describe_processor_error(original(error), place.directory)
    clean(place.store, task)
    return Result((), place.settings.hide(failure), _last(said.getvalue()))


def remove_others(store: Store, task: Task, found: Mapping[str, Entry]) -> None:
    """Remove everything from the artifact's folder but its copies."""
    others = [entry.key for name, entry in found.items() if name not in task.files]
    if others:
        store.delete(others)


def clean(store: Store, task: Task) -> None:
    """Remove what a failed process_func made; if a name cannot be trusted, the whole folder."""
    try:
        remove_others(store, task, _Folder(store, task).look())
    except StoreError:
        store.delete_tree(task.folder)


def _call(place: Place, functions: Functions, task: Task) -> None:
    row = {
        "artifact_id": task.artifact_id,
        "label": task.label,
        "file_hash": task.file_hash,
        **json.loads(task.row),
    }
    functions.call(
        "process_func",
        artifact=Artifact(task.artifact_id, task.label, task.file_hash, row),
        files=list(task.files),
        artifact_path=place.store.path(layout.artifact(task.artifact_id)),
        experiment_path=place.store.path(),
        overwrite=place.settings.reconcile.OVERWRITE,
        settings=place.settings,
    )


def _list_processor_files(place: Place, folder: _Folder) -> tuple[Made, ...]:
    """The files that process_func left; `StoreError` if it touched a copy or chose a bad name."""
    after = folder.look()
    for name in folder.task.files:
        old, new = folder.before.get(name), after.get(name)
        if old is not None and old != new:
            how = "removed" if new is None else "changed"
            raise StoreError(
                f"process_func {how} {name}, which is a copy of production's",
                remedy="write another file instead",
            )
    names = sorted(name for name in after if name not in folder.task.files)
    faults = pl.DataFrame({"file": names}, {"file": pl.String}).select(
        "file", fault=file_fault(pl.col("file"))
    )
    for name, fault in faults.iter_rows():
        if fault:
            raise StoreError(f"process_func wrote a file whose name {fault}: {name!r}")
    return tuple(_describe_processor_file(place, name, after[name]) for name in names)


def _describe_processor_file(place: Place, name: str, entry: Entry) -> Made:
    by_time = entry.etag.startswith("mtime-") or not entry.etag
    content = sha256(place.store, entry.key, entry.size, place.scratch) if by_time else entry.etag
    return Made(name, entry.size, entry.etag, content)


def _describe_processor_error(error: BaseException, directory: Path) -> str:
    """The error, the user's line that it came from, and the end of the traceback."""
    try:
        return _format_processor_traceback(error, directory)
    except BaseException:  # noqa: BLE001 - its own class may have trouble with it
        return f"process_func failed: {describe_exception(error)}"


def _format_processor_traceback(error: BaseException, directory: Path) -> str:
    told = traceback.TracebackException.from_exception(error)
    ours = str(Path(__file__).parents[3])
    frames = [frame for frame in told.stack if not frame.filename.startswith(ours)]
    users = [f for f in frames if Path(f.filename).is_relative_to(directory)]
    place = f" in {Path(users[-1].filename).name}:{users[-1].lineno}" if users else ""
    told.stack = traceback.StackSummary.from_list(frames)
    lines = "".join(told.format()).strip().splitlines()[-LAST_LINES:]
    return f"process_func failed{place}: {describe_exception(error)}\n" + "\n".join(lines)


def _last(text: str) -> tuple[str, ...]:
    return tuple(text.splitlines()[-_SAID:])
