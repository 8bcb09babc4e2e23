"""Looks at what really is in the store, mends what is missing, and looks again.

Every kept artifact must have every file that was to be copied, with the size (and, where it can be
compared, the etag) of the snapshot, and every file of FILES_ON_RESEARCH. What is missing is copied
again, or made again by process_func; what cannot be mended takes the artifact's `kept` away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from handful.errors import Absent, Archived, DataError, StoreError
from handful.records import Fate
from handful.steps.reconcile.copying.copies import (
    COPIES,
    FILE,
    Copier,
    Delivery,
    compare_arrived,
    present,
    to_remember,
)
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.keys.key_pattern import PAGE, seams
from handful.steps.reconcile.keys.names import Wanted, matches, quote_names
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.processing.process import Processing
from handful.storage.base import Entry

Errors = Mapping[tuple[str, str], StoreError]
"""(artifact id, file) → why it could not be copied."""
_HEADS = 64
_NOTHING_MADE = pl.Schema(
    {
        "artifact_id": pl.String,
        "file": pl.String,
        "size": pl.Int64,
        "etag": pl.String,
        "content": pl.String,
    }
)


@dataclass(frozen=True)
class Verified:
    """What stands in the store."""

    here: pl.DataFrame
    """The destination's listing: artifact_id, file, size, etag."""
    made: pl.DataFrame
    """artifact_id, file, size, etag, content: what process_func made."""
    repaired: int
    """Files that were copied again."""
    contents: list[tuple[str, str, str]] = field(default_factory=list)
    """See `copies.Delivery`: of all that was copied, the last one counts."""
    copies: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COPIES))
    """See `copies.to_remember`."""


@dataclass(frozen=True)
class Verifier:
    """Compares the store with what it should hold."""

    copier: Copier
    files: pl.DataFrame
    """Of the artifacts that matching kept: artifact_id, file, key, size, etag."""
    wanted: Wanted
    memory: pl.DataFrame
    """See `copies.load_arrived_copies`."""
    processing: Processing | None
    """None: there is no process_func."""
    troubles: Troubles
    stop_on_missing: bool
    """ON_MISSING_FILES = stop."""

    def verify(self, delivery: Delivery) -> Verified:
        """Look, mend, look again; failures go to `troubles`.

        `StepError` when more artifacts failed than MAX_FAILED allows.
        """
        near = self._near()
        here = present(self.copier.store, self.copier.progress, near)
        wrong = self._wrong(here, delivery.errors)
        unmade = self._unmade(here)
        mended = Delivery()
        if wrong.height or unmade.height:
            self.copier.progress.note(
                f"verification: {wrong.height:,} files to fetch again, "
                f"{unmade.height:,} artifacts to process again"
            )
            mended = self.copier.copy(wrong)
            self._process_again(unmade, wrong, mended.errors)
            here = present(self.copier.store, self.copier.progress, near)
            self._judge(wrong, unmade, here, mended.errors)
        self.troubles.check()
        made = self.processing.made() if self.processing else pl.DataFrame(schema=_NOTHING_MADE)
        copies = to_remember(self._of_sound(self.files), here)
        contents = [*delivery.contents, *mended.contents]
        return Verified(here, made, mended.copied, contents, copies)

    def _near(self) -> list[str]:
        """Artifacts about a page of the store's listing apart."""
        made = self.processing.made().height if self.processing else 0
        return seams(
            self.files["artifact_id"], PAGE * self.files.height // (self.files.height + made)
        )

    def _of_sound(self, table: pl.DataFrame) -> pl.DataFrame:
        """The rows of artifacts that have not failed."""
        ids = list(self.troubles.failed)
        failed = pl.DataFrame({"artifact_id": ids}, {"artifact_id": pl.String})
        return table.join(failed, on="artifact_id", how="anti", maintain_order="left")

    def _wrong(self, here: pl.DataFrame, errors: Errors) -> pl.DataFrame:
        """Files that are missing, different or not copied, after a thought about doubtful etags."""
        found = compare_arrived(self._of_sound(self.files), here, self.memory)
        unsure = _pairs(errors).with_columns(failed=pl.lit(True))
        found = found.join(unsure, on=FILE, how="left", maintain_order="left")
        found = found.filter(~pl.col("same") | pl.col("failed"))
        doubtful = found.filter(pl.col("doubtful") & pl.col("failed").is_null())
        # Some buckets give the same content another etag (KMS does). If production still shows
        # the etag of the snapshot, then what was copied just now is what was listed.
        sure = [
            (str(row["artifact_id"]), str(row["file"]))
            for row, entry in self._heads(doubtful)
            if entry and (entry.size, entry.etag) == (row["size"], row["etag"])
        ]
        return found.join(_pairs(sure), on=FILE, how="anti", maintain_order="left")

    def _unmade(self, here: pl.DataFrame) -> pl.DataFrame:
        """artifact_id, missing (a list): artifacts that lack what process_func makes."""
        if self.processing is None:
            return pl.DataFrame(schema={"artifact_id": pl.String, "missing": pl.List(pl.String)})
        lost = self.processing.lost(here)
        names = pl.concat([self.files.select(FILE), self.processing.made().select(FILE)])
        names = names.join(lost, on=FILE, how="anti")
        ids = self._of_sound(self.files.select("artifact_id").unique())
        lacking = [lost.rename({"file": "missing"})]
        for pattern in self.wanted.after_process:
            have = names.filter(matches(pl.col("file"), pattern))
            without = ids.join(have, on="artifact_id", how="anti")
            lacking.append(without.select("artifact_id", missing=pl.lit(pattern)))
        return (
            self._of_sound(pl.concat(lacking))
            .group_by("artifact_id")
            .agg(pl.col("missing").unique().sort())
            .sort("artifact_id")
        )

    def _process_again(self, unmade: pl.DataFrame, wrong: pl.DataFrame, errors: Errors) -> None:
        """process_func for what it left out, and where a file was wrong when it ran."""
        if self.processing is None:
            return
        ids = pl.concat([unmade.select("artifact_id"), wrong.select("artifact_id")]).unique()
        ids = ids.join(_pairs(errors), on="artifact_id", how="anti")
        self.processing.run(self.processing.tasks_of(self._of_sound(ids)), self.troubles)

    def _judge(
        self,
        wrong: pl.DataFrame,
        unmade: pl.DataFrame,
        here: pl.DataFrame,
        errors: Errors,
    ) -> None:
        """After the second look: what was repaired, and what still lacks."""
        found = self._wrong(here, errors)
        still = {(row["artifact_id"], row["file"]): row for row in found.iter_rows(named=True)}
        for artifact_id, file in wrong.select(FILE).iter_rows():
            if (artifact_id, file) in still:
                row = still[artifact_id, file]
                fate, reason = self._why(row, errors.get((artifact_id, file)))
                note = self.troubles.drop if fate is Fate.ARCHIVED else self.troubles.fail
                note(artifact_id, fate, reason)
            else:
                self.troubles.repair(artifact_id, f"{file} was fetched again")
        lacking = dict(self._unmade(here).iter_rows())
        refetched = set(wrong["artifact_id"])
        for artifact_id, missing in unmade.iter_rows():
            if artifact_id in self.troubles.failed:
                continue
            if artifact_id in lacking:
                self._lacks(artifact_id, lacking[artifact_id])
            elif artifact_id not in refetched:
                self.troubles.repair(artifact_id, f"{', '.join(missing)} was made again")
        self._stop_where_told()

    def _lacks(self, artifact_id: str, missing: list[str]) -> None:
        """Nobody made what FILES_ON_RESEARCH wants: whose fault is it?"""
        named = ", ".join(f"'{name}'" for name in missing)
        if all(self.wanted.may_be_copied(name) for name in missing):
            reason = f"production lacks {named}, and process_func did not make it"
            self.troubles.drop(artifact_id, Fate.MISSING_FILES, reason)
        else:
            reason = f"process_func ran, but did not make {named}"
            self.troubles.fail(artifact_id, Fate.PROCESS_FAILED, reason)

    def _stop_where_told(self) -> None:
        """What matching could not know yet: process_func might have made the file."""
        dropped = sorted(self.troubles.dropped)
        if dropped and self.stop_on_missing:
            first = dropped[0]
            raise DataError(
                f"{len(dropped):,} artifacts lack files: {quote_names(dropped)}; of the first: "
                f"{self.troubles.failed[first][1]}",
                where="settings.ini [reconcile] ON_MISSING_FILES",
                remedy="restore the files, or set ON_MISSING_FILES = drop",
            )

    def _why(self, row: dict[str, object], error: StoreError | None) -> tuple[Fate, str]:
        """Why a file could not be brought: gone, changed, refused, or cut short."""
        file = row["file"]
        if isinstance(error, Absent):
            return Fate.MISSING_FILES, f"{file} is gone from production since the snapshot"
        if isinstance(error, Archived):
            return Fate.ARCHIVED, f"the file {file} {error.fault.what}: {error.fault.remedy}"
        if error is not None:
            return Fate.COPY_FAILED, f"{file} could not be copied: {error}"
        entry = self._head(row)
        if entry and (entry.size, entry.etag) != (row["size"], row["etag"]):
            return Fate.COPY_FAILED, (
                f"{file} changed in production since the snapshot "
                f"({row['size']} bytes then, {entry.size} now); --refresh takes it anew"
            )
        if row["size_here"] is None:
            return Fate.COPY_FAILED, f"{file} was copied, but is not in the store"
        return Fate.COPY_FAILED, (
            f"{file} has {row['size_here']} bytes in the store, not {row['size']}"
        )

    def _head(self, row: dict[str, object]) -> Entry | None:
        try:
            return self.copier.source.head(str(row["key"]))
        except StoreError:
            return None

    def _heads(self, files: pl.DataFrame) -> list[tuple[dict[str, object], Entry | None]]:
        rows = files.iter_rows(named=True)
        threads = min(_HEADS, files.height)
        return [(row, entry) for row, entry, _ in in_threads(self._head, rows, threads)]


def _pairs(pairs: Iterable[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), {"artifact_id": pl.String, "file": pl.String}, orient="row")
