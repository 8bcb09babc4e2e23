"""Moves folders that were copied under another spelling of their id: ID_FORMAT = guid.

An earlier run, under `exact`, has copied `{8F14…}/raw.txt`; now its folder is `8f14…`. It is moved
within the store, by the server or as a rename, instead of being copied from production again. What
copying remembers of the old folder is remembered of the new one, so a file that production has
changed meanwhile is copied all the same.

Killed at any moment, every file stands in the old folder, in the new one, or in both; a rerun goes
on. Only what cannot be told for sure to be the same is left where it was, and told as stale.
process_func runs again on what was moved: the id is among the things that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from handful import layout
from handful.progress import Progress
from handful.steps.reconcile.copying.copies import COPIES, FILE, present
from handful.steps.reconcile.keys.guids import guids, normalize_guid_ids
from handful.steps.reconcile.keys.key_pattern import PAGE, seams
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.snapshot.tables import TableStore


@dataclass(frozen=True)
class FolderMover:
    """Puts the folders of artifacts where the form of their ids has them."""

    table_store: TableStore
    concurrency: int
    progress: Progress

    def move(
        self, files: pl.DataFrame, here: pl.DataFrame, memory: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """`here` and `memory` (see `copies`) by the form of their ids, every folder in its place.

        `files`: what is to be copied; folders of other artifacts stay where they are.
        """
        moves = _moves(files, here)
        known = _normalize_copy_ids(memory, here)
        if moves.is_empty():
            return here, known
        self._move(moves)
        after = present(self.table_store.store, self.progress, seams(known["artifact_id"], PAGE))
        known = _normalize_copy_ids(_with_new_etags(memory, here, after), after)
        # A copy may stand with another etag than before; who is killed now must not forget which.
        self.table_store.save(known, layout.COPIES)
        return after, known

    def _move(self, moves: pl.DataFrame) -> None:
        """One artifact after the other where two folders become one; else many at once."""

        def one(row: tuple[str, list[str]]) -> None:
            new, old = row
            for folder in old:
                self.table_store.store.move_tree(layout.artifact(folder), layout.artifact(new))

        count, rows = moves.height, moves.iter_rows()
        moved = in_threads(one, rows, min(self.concurrency, count))
        for done, (_, _, error) in enumerate(moved, start=1):
            if error is not None:
                raise error
            self.progress.advance("moving folders", done, count, "artifacts")
        self.progress.note(
            f"ID_FORMAT = guid: {count:,} artifacts that were copied under another spelling of "
            "their id have been moved to their new folders; nothing of them is copied again"
        )


def _moves(files: pl.DataFrame, here: pl.DataFrame) -> pl.DataFrame:
    """artifact_id (the new one), old (a sorted list): the folders to move."""
    wanted = files.select("artifact_id").unique()
    return (
        here.select(old=pl.col("artifact_id").unique())
        .with_columns(artifact_id=guids(pl.col("old")))
        .filter(pl.col("old") != pl.col("artifact_id"))
        .join(wanted, on="artifact_id", how="semi")
        .group_by("artifact_id")
        .agg(pl.col("old").sort())
        .sort("artifact_id")
    )


def _with_new_etags(
    memory: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame
) -> pl.DataFrame:
    """`memory` where a copy that stood as it was remembered has the etag that moving gave it."""
    stood = memory.join(before.select(*FILE, "etag"), on=[*FILE, "etag"], how="semi")
    gone = stood.join(after, on=FILE, how="anti")
    arrived = after.join(before, on=FILE, how="anti").select(*FILE, new="etag")
    moved = gone.with_columns(
        old="artifact_id", artifact_id=normalize_guid_ids(pl.col("artifact_id"))
    ).join(arrived, on=FILE)
    others = memory.join(moved.select(artifact_id="old", file="file"), on=FILE, how="anti")
    return pl.concat([moved.with_columns(etag="new").select(COPIES.names()), others])


def _normalize_copy_ids(memory: pl.DataFrame, here: pl.DataFrame) -> pl.DataFrame:
    """`memory` by the form of its ids; of two that become one, what tells of the copy `here`."""
    known = memory.with_columns(artifact_id=normalize_guid_ids(pl.col("artifact_id")))
    tells = here.select(*FILE, "etag", tells=pl.lit(True))
    ranked = known.join(tells, on=[*FILE, "etag"], how="left", maintain_order="left")
    first = ranked.sort("tells", nulls_last=True, maintain_order=True).unique(
        FILE, keep="first", maintain_order=True
    )
    return first.select(COPIES.names()).sort(FILE)
