"""Takes production to this machine: all label rows, and all keys that KEY_PATTERN fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from handful.errors import DataError
from handful.labels.base import LABELS_SCHEMA, LabelSource
from handful.progress import Progress
from handful.settings import Settings
from handful.steps.reconcile.keys import key_column
from handful.steps.reconcile.keys.key_names import check_apart
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.steps.reconcile.keys.pattern_hint import KeySample, no_file, no_key_fits
from handful.steps.reconcile.snapshot import tables
from handful.steps.reconcile.snapshot.documents import set_apart
from handful.storage.base import Source, markers_left_out

FILES_SCHEMA = pa.schema(
    [
        ("artifact_id", pa.large_string()),
        ("file", pa.large_string()),
        ("key", pa.large_string()),
        ("size", pa.int64()),
        ("etag", pa.large_string()),
    ]
)
"""`listing.parquet`: one row a key of production, and what it stands for; a struct `names` follows
where KEY_PATTERN has names of the user's, and `archived` (see `LISTING_SCHEMA`) where any is."""

KEYS_TOGETHER = 10_000
"""Keys that are read at once."""


@dataclass(frozen=True)
class Taken:
    """What production gave."""

    labels: Path
    listing: Path
    label_rows: int
    keys: int
    unmatched: int
    two_ways: int
    folder_markers: int = 0
    """Objects that stand for a folder, and were left out."""
    file_keys: Path | None = None
    """See `key_column`."""
    documents: Path | None = None
    """See `documents`."""


def take(
    labels: LabelSource, files: Source, settings: Settings, scratch: Path, progress: Progress
) -> Taken:
    """Ask production for everything; nothing is kept in the store yet.

    `DataError` if there is no label row, no key, or no key that KEY_PATTERN fits; with
    FILE_KEY_COLUMN, if the rows name no file that can be had; with FILES_URL = none, if they hold
    no document.
    """
    label_file = scratch / "taken-labels.parquet"
    listing_file = scratch / "taken-listing.parquet"
    production = settings.production
    if production.holds_documents:
        documents = scratch / "taken-documents.parquet"
        with set_apart(labels, documents, listing_file, FILES_SCHEMA) as apart:
            rows, _ = _take_labels(apart, label_file, progress)
        keys = apart.listing.rows
        return Taken(label_file, listing_file, rows, keys, 0, 0, documents=documents)
    if production.FILE_KEY_COLUMN:
        watched = key_column.Watched(labels, production.FILE_KEY_COLUMN)
        rows, _ = _take_labels(watched, label_file, progress)
        found = key_column.take_named(files, watched, settings, progress)
        with tables.writing(listing_file, FILES_SCHEMA) as writer:
            writer.add(found.listing)
        keys_file = scratch / "taken-file-keys.parquet"
        with tables.on_this_machine(keys_file):
            found.keys.write_parquet(keys_file, compression="zstd")
        return Taken(label_file, listing_file, rows, writer.rows, 0, 0, file_keys=keys_file)
    rows, known = _take_labels(labels, label_file, progress)
    check_apart(label_file, production.KEY_PATTERN)
    counts = _take_listing(files, production.KEY_PATTERN, listing_file, known, progress)
    return Taken(label_file, listing_file, rows, *counts)


def _take_labels(labels: LabelSource, path: Path, progress: Progress) -> tuple[int, pl.DataFrame]:
    """Rows written, and their artifact ids, each once."""
    ids = [pl.Series("artifact_id", [], pl.String)]
    with tables.writing(path, LABELS_SCHEMA) as writer:
        for batch in labels.rows():
            writer.add(batch)
            # As a frame: a Series of Arrow's own array has polars import pyarrow.compute, 9 MB.
            frame = pl.DataFrame(pl.from_arrow(batch.select(["artifact_id"])))
            ids.append(frame["artifact_id"].drop_nulls().unique())
            progress.advance("label rows", writer.rows, None, "rows")
    progress.advance("label rows", writer.rows, writer.rows, "rows")
    if not writer.rows:
        raise DataError(
            "the query gives no label rows",
            where="settings.ini [production] LABEL_QUERY",
            remedy="run the query in the database's own client; is it the right database?",
        )
    return writer.rows, pl.concat(ids).unique().to_frame()


def _take_listing(
    files: Source, pattern_text: str, path: Path, known: pl.DataFrame, progress: Progress
) -> tuple[int, int, int, int]:
    """Rows written, keys that do not fit, that can be read in two ways, and folders' markers."""
    pattern = KeyPattern.of(pattern_text)
    seen = unmatched = two_ways = folder_markers = 0
    examples = KeySample()
    archived = [pl.DataFrame(schema={"key": pl.String, "archived": pl.String})]
    with tables.writing(path, pattern.schema(FILES_SCHEMA)) as writer:
        for batches in _batch_listing_pages(
            files.list(pattern.folder, near=pattern.near(known)), progress
        ):
            keys = pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])
            read = pattern.read(keys, known)
            writer.add(read.files)
            archived.append(keys.filter(pl.col("archived").is_not_null()).select("key", "archived"))
            folder_markers += sum(map(markers_left_out, batches))
            seen += keys.height
            unmatched += read.unmatched
            two_ways += read.two_ways
            examples.add(keys["key"])
    progress.advance("listing", seen, seen, "keys")
    where = f"{files.url.rstrip('/')}/{pattern.folder}"
    if not seen:
        raise no_file(files, pattern_text, known, where)
    if not writer.rows:
        raise no_key_fits(pattern_text, examples, known, seen, where)
    _note_archived(path, pl.concat(archived))
    return writer.rows, unmatched, two_ways, folder_markers


def _batch_listing_pages(
    listing: Iterable[pa.RecordBatch], progress: Progress
) -> Iterator[list[pa.RecordBatch]]:
    """Pages of a listing, some at a time: a pattern reads ten thousand keys as soon as a page."""
    waiting: list[pa.RecordBatch] = []
    seen = waiting_keys = 0
    for batch in listing:
        waiting.append(batch)
        seen += batch.num_rows
        waiting_keys += batch.num_rows
        progress.advance("listing", seen, None, "keys")
        if waiting_keys >= KEYS_TOGETHER:
            yield waiting
            waiting, waiting_keys = [], 0
    if waiting:
        yield waiting


def _note_archived(path: Path, archived: pl.DataFrame) -> None:
    """Add to the listing at `path` which of its files are archived; mostly there are none."""
    if archived.is_empty():
        return
    noted = path.with_suffix(".noted")
    with tables.on_this_machine(path):
        listing = pl.scan_parquet(path).join(
            archived.unique("key").lazy(), on="key", how="left", maintain_order="left"
        )
        listing.sink_parquet(noted, compression="zstd")
        noted.replace(path)
