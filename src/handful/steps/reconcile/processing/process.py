"""Runs process_func on the artifacts that need it, and remembers for which inputs it has run.

`processed.parquet` keeps, per artifact, the hash of the function with all that it names and of the
`[user]` settings, the hash of its inputs (label, row, files of production), and what it made. An
artifact for which all of this still stands is not processed again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from handful import layout
from handful.progress import Progress
from handful.records import Fate
from handful.settings import Settings, Usage, list_settings_read_beside
from handful.steps.reconcile.copying.copies import FILE, Delivery
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.overwrite_journal import PROCESSED as PROCESSED_AGAIN
from handful.steps.reconcile.copying.overwrite_journal import Journal
from handful.steps.reconcile.matching import Matched
from handful.steps.reconcile.processing.processor import Place, Result, Task, clean
from handful.steps.reconcile.snapshot.tables import TableStore
from handful.system.machine import cores
from handful.user_functions.workers.messages import Setup
from handful.user_functions.workers.pool import Workers

_MADE = pl.Struct({"file": pl.String, "size": pl.Int64, "etag": pl.String, "content": pl.String})
PROCESSED = pl.Schema(
    [
        ("artifact_id", pl.String),
        ("function", pl.String),
        ("inputs", pl.String),
        ("made", pl.List(_MADE)),
    ]
)
SAVE_SECONDS = 30.0
"""How much work a kill may cost."""
MOST_NOTES = 50


@dataclass(frozen=True)
class FunctionKey:
    """What process_func is: its sources, and the settings that it reads."""

    now: str
    before: str
    """The same as builds told it that counted all of `[user]`, and nothing else."""


def function_key(function_hash: str, settings: Settings, usage: Usage) -> FunctionKey:
    users = sorted(settings.user.values.items())
    every = [f"{name}={value!r}" for name, value in users]
    read = [f"{name}={value!r}" for name, value in users if usage.reads("user", name)]
    beside = list_settings_read_beside(settings, usage)
    read += [f"{entry}={text!r}" for entry, text in sorted(beside.items())]
    now, before = (
        hashlib.sha256("\n".join([function_hash, *lines]).encode()).hexdigest()
        for lines in (read, every)
    )
    return FunctionKey(now, before)


def inputs_of(matched: Matched) -> pl.DataFrame:
    """One task a row: artifact_id, label, file_hash, row, files, and the hash `inputs` of all."""
    kept = matched.rows.filter(pl.col("fate") == Fate.KEPT.value)
    described = pl.concat_str("file", pl.col("size").cast(pl.String), "etag", separator="\n")
    listed = (
        matched.files.sort(FILE)
        .group_by("artifact_id", maintain_order=True)
        .agg(pl.col("file").alias("files"), text=described.str.join("\n\n"))
    )
    tasks = kept.select("artifact_id", "label", "file_hash", "row").join(listed, on="artifact_id")
    text = pl.concat_str(
        "label", pl.col("file_hash").fill_null(""), "row", "text", separator="\n\n\n"
    )
    digests = [hashlib.sha256(t.encode()).hexdigest() for t in tasks.select(t=text)["t"]]
    return tasks.drop("text").with_columns(inputs=pl.Series(digests, dtype=pl.String))


def list_process_func_files(processed: pl.DataFrame) -> pl.DataFrame:
    """artifact_id, file, size, etag, content: one row a file that process_func made."""
    rows = processed.select("artifact_id", "made").explode("made", empty_as_null=False)
    return rows.unnest("made")


class Processing:
    """process_func over the kept artifacts of one run."""

    def __init__(
        self,
        place: Place,
        function: FunctionKey,
        tasks: pl.DataFrame,
        journal: Journal,
        progress: Progress,
    ) -> None:
        """`function`: see `function_key`; `tasks`: see `inputs_of`."""
        self._place, self._journal, self._progress = place, journal, progress
        self._table_store = TableStore(place.store, place.scratch, progress)
        self._function = function.now
        self._tasks = tasks
        known = self._table_store.load(layout.PROCESSED, PROCESSED)
        self._known = known.with_columns(pl.col("function").replace(function.before, function.now))
        self._fresh: list[dict[str, object]] = []
        self._notes = 0

    @property
    def processed(self) -> pl.DataFrame:
        """What is known to have run, as `PROCESSED`: the latest run of each artifact."""
        return pl.concat([self._known, pl.DataFrame(self._fresh, PROCESSED)]).unique(
            "artifact_id", keep="last", maintain_order=True
        )

    def valid(self) -> pl.DataFrame:
        """Those of `processed` that were made by this function from these inputs."""
        now = self._tasks.select("artifact_id", "inputs")
        same = self.processed.filter(pl.col("function") == self._function)
        return same.join(now, on=["artifact_id", "inputs"], how="semi")

    def made(self) -> pl.DataFrame:
        return list_process_func_files(self.valid())

    def lost(self, here: pl.DataFrame) -> pl.DataFrame:
        """Files that process_func has made and that no longer stand: artifact_id, file."""
        expected = self.made()
        return expected.join(here, on=[*FILE, "size", "etag"], how="anti").select(FILE)

    def needed(self, here: pl.DataFrame) -> pl.DataFrame:
        """The tasks that have to run: artifacts whose outputs do not stand."""
        standing = self.valid().join(self.lost(here), on="artifact_id", how="anti")
        if self._journal.overwrites:
            again = self._journal.done.filter(pl.col("file") == PROCESSED_AGAIN)
            standing = standing.join(again, on="artifact_id", how="semi")
        return self._tasks.join(standing, on="artifact_id", how="anti", maintain_order="left")

    def run_where_needed(self, here: pl.DataFrame, delivery: Delivery, troubles: Troubles) -> None:
        """Run what is needed after copying; an artifact that lacks a copy waits for its repair.

        `here` is the destination as it was before copying.
        """
        for artifact_id, file in self.lost(here).iter_rows():
            troubles.repair(artifact_id, f"{file} was lost from the store and was made again")
        failed = pl.DataFrame(
            {"artifact_id": sorted({artifact_id for artifact_id, _ in delivery.errors})},
            {"artifact_id": pl.String},
        )
        self.run(self.needed(here).join(failed, on="artifact_id", how="anti"), troubles)

    def tasks_of(self, ids: pl.DataFrame) -> pl.DataFrame:
        """The tasks of some artifacts, whether or not they need to run."""
        return self._tasks.join(ids, on="artifact_id", how="semi", maintain_order="left")

    def run(self, tasks: pl.DataFrame, troubles: Troubles) -> None:
        """Run process_func on `tasks`, some of `inputs_of`.

        A failure is recorded; `StepError` when there are more than MAX_FAILED allows.
        """
        if tasks.is_empty():
            return
        place = self._place
        settings = place.settings.reconcile
        setup = Setup(place.directory, place.settings, (), beside=place, step="reconcile")
        count = min(settings.NUM_PROCESSES or cores(), tasks.height)
        inputs = dict(tasks.select("artifact_id", "inputs").iter_rows())
        saved = time.monotonic()
        try:
            with Workers(setup, place.scratch, count, one_thread=False) as workers:
                works = _tasks(tasks, settings.PROCESS_TIMEOUT)
                for done, (task, result) in enumerate(workers.run(works), start=1):
                    if result.is_cut_off:
                        clean(place.store, task)
                    self._note(task, result)
                    self._record(task.artifact_id, inputs[task.artifact_id], result, troubles)
                    self._progress.advance("process_func", done, tasks.height, "artifacts")
                    if time.monotonic() - saved > SAVE_SECONDS:
                        self._save()
                        saved = time.monotonic()
        finally:
            self._save()

    def _record(self, artifact_id: str, inputs: str, result: Result, troubles: Troubles) -> None:
        if result.failure:
            troubles.fail(artifact_id, Fate.PROCESS_FAILED, result.failure)
            troubles.check()
            return
        made = [
            {"file": m.file, "size": m.size, "etag": m.etag, "content": m.content}
            for m in result.made
        ]
        self._fresh.append(
            {
                "artifact_id": artifact_id,
                "function": self._function,
                "inputs": inputs,
                "made": made,
            }
        )

    def _save(self) -> None:
        if self._fresh:
            for row in self._fresh:
                self._journal.note(str(row["artifact_id"]), PROCESSED_AGAIN)
            self._known = self.processed.sort("artifact_id")
            self._fresh = []
            self._table_store.save(self._known, layout.PROCESSED)
            # Only now may an interrupted OVERWRITE believe that they have run.
            self._journal.save()

    def _note(self, task: Task, result: Result) -> None:
        for line in result.said:
            self._notes += 1
            if self._notes <= MOST_NOTES:
                self._progress.note(f"process_func of {task.artifact_id}: {line}")
            elif self._notes == MOST_NOTES + 1:
                self._progress.note("process_func prints on; it is no longer shown")


def _tasks(tasks: pl.DataFrame, patience: float) -> Iterator[Task]:
    columns = ["artifact_id", "label", "file_hash", "row", "files"]
    for artifact_id, label, file_hash, row, files in tasks.select(columns).iter_rows():
        yield Task(artifact_id, label, file_hash, row, tuple(files), patience)
