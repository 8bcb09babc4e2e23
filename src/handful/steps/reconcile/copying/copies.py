"""Copies what is missing or different; what has arrived whole is not copied again.

Whether a copy is the file of the snapshot is told by its size, and by its etag where that can be
compared: between two single-part uploads on S3, and between two local files (copies keep the
modification time; where that does not tell the content, see `same_stamps`). Otherwise
`copies.parquet` remembers with which etag the copy of which source etag arrived; so a production
file that changed, but not in size, is copied again after a refresh.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from handful import layout
from handful.errors import Archived, Full, StoreError
from handful.progress import Progress
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.overwrite_journal import Journal
from handful.steps.reconcile.copying.same_stamps import stamp, tells_more
from handful.steps.reconcile.keys.key_pattern import PAGE, seams
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.snapshot import tables
from handful.storage.base import Source, Store

PRESENT = pl.Schema(
    {"artifact_id": pl.String, "file": pl.String, "size": pl.Int64, "etag": pl.String}
)
"""What is in the store below `data/reconciled_artifacts`."""
COPIES = pl.Schema(
    {"artifact_id": pl.String, "file": pl.String, "source_etag": pl.String, "etag": pl.String}
)
FILE = ["artifact_id", "file"]
TELL_SECONDS = 0.1
"""Between two words about the progress: there may be thousands of copies a second."""
_COPY_TRIAL_FILES = 1_000
_MD5 = "^[0-9a-f]{32}$"


@dataclass
class Delivery:
    """What copying did."""

    copied: int = 0
    bytes: int = 0
    errors: dict[tuple[str, str], StoreError] = field(default_factory=dict)
    """(artifact id, file) → why it could not be copied."""
    contents: list[tuple[str, str, str]] = field(default_factory=list)
    """artifact id, file, and what tells the content of a local copy."""


def present(store: Store, progress: Progress, near: Sequence[str] = ()) -> pl.DataFrame:
    """The destination's listing, as `PRESENT`; `near`: ids about a page of it apart."""
    prefix = f"{layout.ARTIFACTS}/"
    found = [pl.DataFrame(schema={"key": pl.String, "size": pl.Int64, "etag": pl.String})]
    seen = 0
    for batch in store.list(prefix, near=[prefix + seam for seam in near]):
        found.append(pl.DataFrame(pl.from_arrow(batch)).select("key", "size", "etag"))
        seen += batch.num_rows
        progress.advance("listing the store", seen, None, "files")
    progress.advance("listing the store", seen, seen, "files")
    parts = pl.col("key").str.strip_prefix(prefix).str.splitn("/", 2).struct
    listed = pl.concat(found).select(
        parts.field("field_0").alias("artifact_id"),
        parts.field("field_1").alias("file"),
        "size",
        "etag",
    )
    # Some servers may list a key twice (see `handful.storage.parallel_listing`).
    return listed.with_columns(pl.col("file").fill_null("")).unique(FILE, keep="last")


def load_arrived_copies(table_store: tables.TableStore) -> pl.DataFrame:
    """Which copy of which source etag arrived, in earlier runs."""
    return table_store.load(layout.COPIES, COPIES)


def without_copied_archives(table_store: tables.TableStore, files: pl.LazyFrame) -> pl.LazyFrame:
    """The listing, in which a file that was archived after its copy had arrived is as any other.

    Nothing has to be read for it as long as the copy stands; if that is lost, the attempt to copy
    it again says that it is archived.
    """
    if "archived" not in files.collect_schema():
        return files
    arrived = load_arrived_copies(table_store).select(
        *FILE, etag="source_etag", arrived=pl.lit(True)
    )
    known = files.join(arrived.lazy(), on=[*FILE, "etag"], how="left", maintain_order="left")
    still = pl.when(pl.col("arrived").is_null()).then("archived")
    return known.with_columns(archived=still).drop("arrived")


def to_remember(files: pl.DataFrame, here: pl.DataFrame) -> pl.DataFrame:
    """With which etags the verified copies stand: what `load_arrived_copies` gives then."""
    table = files.rename({"etag": "source_etag"}).join(here.drop("size"), on=FILE)
    return table.select(COPIES.names()).sort(FILE)


def standing(store: Store, scratch: Path, progress: Progress) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`present`, quicker for what `load_arrived_copies` gives, and that."""
    memory = load_arrived_copies(tables.TableStore(store, scratch, progress))
    return present(store, progress, seams(memory["artifact_id"], PAGE)), memory


def compare(files: pl.DataFrame, here: pl.DataFrame, memory: pl.DataFrame) -> pl.DataFrame:
    """`files` with what was found: `same`, `doubtful`, `lost`, `size_here`, `etag_here`.

    same: the copy is there, as far as can be told. doubtful: only its etag differs. lost: it had
    arrived in an earlier run, and is no longer as it was.
    """
    joined = files.join(here, on=FILE, how="left", suffix="_here", maintain_order="left").join(
        memory, on=FILE, how="left", suffix="_then", maintain_order="left"
    )
    same_size = (pl.col("size") == pl.col("size_here")).fill_null(False)
    source, copy = pl.col("etag"), pl.col("etag_here")
    comparable = (source.str.contains(_MD5) & copy.str.contains(_MD5)) | (
        source.str.starts_with("mtime-") & copy.str.starts_with("mtime-")
    )
    same_etag = (
        pl.when(copy == pl.col("etag_then"))
        .then(source == pl.col("source_etag"))
        .when(comparable)
        .then(source == copy)
        .when(tells_more(source))
        .then(pl.lit(False))
        .otherwise(pl.lit(True))
    )
    same = same_size & same_etag
    return joined.select(
        *files.columns,
        "size_here",
        "etag_here",
        same=same,
        doubtful=same_size & ~same_etag,
        lost=~same & (pl.col("source_etag") == source).fill_null(False),
    )


def compare_arrived(files: pl.DataFrame, here: pl.DataFrame, memory: pl.DataFrame) -> pl.DataFrame:
    """`compare`, once what is missing or different was copied: time stamps must fit, no more."""
    return compare(
        files.with_columns(etag=stamp(pl.col("etag"))),
        here,
        memory.with_columns(source_etag=stamp(pl.col("source_etag"))),
    )


def try_out(store: Store, source: Source, listing: pl.LazyFrame) -> None:
    """Let the store find out how it can best copy from `source`, before hundreds of copies wait.

    `listing`: key, size; a small one of its first files is used.
    """
    first = listing.select("key", "size").head(_COPY_TRIAL_FILES).collect()
    key, size = first.sort("size", "key").row(0)
    with suppress(StoreError):  # the copies themselves will tell, and be recorded
        store.expect_copies(source, key, size)


def plan(
    files: pl.DataFrame, here: pl.DataFrame, memory: pl.DataFrame, journal: Journal
) -> pl.DataFrame:
    """The files to copy, with what `compare` says of them.

    Those that are missing or different; with OVERWRITE all that the journal does not know.
    """
    compared = compare(files, here, memory)
    if not journal.overwrites:
        return compared.filter(~pl.col("same"))
    done = journal.done.with_columns(done=pl.lit(True))
    again = compared.join(done, on=FILE, how="left", maintain_order="left")
    return again.filter(~pl.col("same") | pl.col("done").is_null()).drop("done")


def tell(progress: Progress, planned: pl.DataFrame, files: pl.DataFrame) -> None:
    """Say what will be copied: nothing, what is missing, or what is to be replaced as well."""
    if planned.is_empty():
        progress.note(f"copies: all {files.height:,} files are there")
        return
    there = planned.filter(pl.col("size_here").is_not_null()).height
    megabytes = int(planned["size"].sum()) / 1e6
    progress.note(
        f"copies: {planned.height:,} of {files.height:,} files "
        f"({megabytes:,.1f} MB); {there:,} of them are there and are replaced"
    )


def note_repairs(planned: pl.DataFrame, delivery: Delivery, troubles: Troubles) -> None:
    """A copy that had arrived in an earlier run, was lost, and is back, is a repair."""
    for artifact_id, file in planned.filter("lost").select(FILE).iter_rows():
        if (artifact_id, file) not in delivery.errors:
            troubles.repair(artifact_id, f"{file} was lost from the store and was fetched again")


@dataclass(frozen=True)
class Copier:
    """Brings files of production into the store."""

    source: Source
    store: Store
    concurrency: int
    troubles: Troubles
    journal: Journal
    progress: Progress

    def copy(self, files: pl.DataFrame) -> Delivery:
        """Copy `files` (artifact_id, file, key, size) into the store.

        A file that cannot be copied is recorded with its cause. Raises `Full` at once, and
        `StepError` when more artifacts have failed than MAX_FAILED allows.
        """
        delivery = Delivery()
        if files.is_empty():
            return delivery
        tables.give_back()
        if "nr" in files.columns:  # documents lie in the order of their rows
            files = files.sort("nr")
        rows = files.select("artifact_id", "file", "key", "size").iter_rows()
        threads = min(self.concurrency, files.height)
        failing: set[str] = set()
        told = began = time.monotonic()
        for done, (row, content, error) in enumerate(
            in_threads(self._copy_one, rows, threads), start=1
        ):
            artifact_id, file, _, size = row
            if error is None:
                if content:
                    delivery.contents.append((artifact_id, file, content))
                delivery.copied += 1
                delivery.bytes += size
                self.journal.add(artifact_id, file)
            elif isinstance(error, Full):
                raise error
            else:
                delivery.errors[artifact_id, file] = error
                if not isinstance(error, Archived):  # that is nobody's failure
                    failing.add(artifact_id)
                    _check_copy_failure_limit(delivery, failing, self.troubles)
            now = time.monotonic()
            if now - told > TELL_SECONDS or done == files.height:
                told = now
                rate = {"MB/s": round(delivery.bytes / 1e6 / max(now - began, 1e-3), 1)}
                self.progress.advance("copying", done, files.height, "files", rate)
        self.journal.save()
        return delivery

    def _copy_one(self, row: tuple[str, str, str, int]) -> str | None:
        artifact_id, file, key, _ = row
        return self.store.copy_from(self.source, key, layout.artifact_file(artifact_id, file))


def _check_copy_failure_limit(delivery: Delivery, failing: set[str], troubles: Troubles) -> None:
    if not troubles.limit.allows(len(failing), troubles.artifacts):
        causes = [f"{file} of '{i}': {error}" for (i, file), error in delivery.errors.items()]
        raise troubles.too_many(len(failing), causes)
