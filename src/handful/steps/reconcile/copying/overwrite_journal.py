"""Remembers what an OVERWRITE has done again, so that an interrupted one goes on where it was.

    overwriting/begun.json       of which snapshot; another one starts over
    overwriting/<n>.parquet      artifact_id, file: copied again; file "": processed again

A copy that was made again looks like the one before, so only a journal can tell. It is written
every few seconds: what a kill costs is copied once more. The end of the step removes it.
"""

from __future__ import annotations

import json
import time

import polars as pl

from handful import layout
from handful.errors import Absent
from handful.progress import Progress
from handful.steps.reconcile.snapshot.tables import TableStore

SAVE_SECONDS = 5.0
_DONE = pl.Schema({"artifact_id": pl.String, "file": pl.String})
_BEGUN = f"{layout.OVERWRITING}/begun.json"
PROCESSED = ""
"""Stands for process_func in the column `file`."""


class Journal:
    """What this OVERWRITE has done, in this run and in those that were interrupted."""

    def __init__(
        self, table_store: TableStore, progress: Progress, snapshot: str, *, overwrites: bool
    ) -> None:
        """`snapshot`: the moment of the one that is copied; `overwrites`: OVERWRITE."""
        self._table_store, self._store = table_store, table_store.store
        self.overwrites = overwrites
        self._rows: list[tuple[str, str]] = []
        self._saved = time.monotonic()
        self._parts = 0
        self.done = pl.DataFrame(schema=_DONE)
        """Of the interrupted runs: artifact_id, file."""
        if not overwrites:
            return
        if self._read_journal_snapshot() == snapshot:
            self._resume(progress)
        else:
            self._store.delete_tree(layout.OVERWRITING)
            self._store.write(_BEGUN, json.dumps({"snapshot": snapshot}).encode())

    def note(self, artifact_id: str, file: str) -> None:
        """It is done; without OVERWRITE nobody will ask."""
        if self.overwrites:
            self._rows.append((artifact_id, file))

    def add(self, artifact_id: str, file: str) -> None:
        """`note`, and write down from time to time."""
        self.note(artifact_id, file)
        if self._rows and time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write down what was noted."""
        if not self._rows:
            return
        table = pl.DataFrame(self._rows, _DONE, orient="row")
        self._table_store.save(table, f"{layout.OVERWRITING}/{self._parts}.parquet")
        self._parts += 1
        self._rows = []
        self._saved = time.monotonic()

    def end(self) -> None:
        """Everything is done: the next OVERWRITE begins anew."""
        if not self.overwrites:
            return  # what an interrupted one did stays true, should it ever go on
        # The mark goes first: without it the rest means nothing.
        self._store.delete([_BEGUN])
        self._store.delete_tree(layout.OVERWRITING)

    def _read_journal_snapshot(self) -> str | None:
        try:
            return str(json.loads(self._store.read(_BEGUN))["snapshot"])
        except (Absent, ValueError, KeyError, TypeError):
            return None  # none, or damaged: copying again from the start is never wrong

    def _resume(self, progress: Progress) -> None:
        found = [self.done]
        while True:
            key = f"{layout.OVERWRITING}/{self._parts}.parquet"
            part = self._table_store.load(key, _DONE)
            if part.is_empty():
                break
            found.append(part)
            self._parts += 1
        self.done = pl.concat(found).unique()
        progress.note(
            f"OVERWRITE goes on: {self.done.height:,} files and artifacts were done before"
        )
