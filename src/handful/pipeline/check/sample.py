"""A few real artifacts of production, found without reading all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from handful.errors import DataError
from handful.labels.base import LabelSource
from handful.labels.batches import with_documents
from handful.pipeline.check.named import list_referenced_artifacts
from handful.progress import Progress
from handful.settings import Settings
from handful.steps.reconcile.keys import pattern_hint
from handful.steps.reconcile.keys.guids import normalize_guid_ids
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID, is_guid, normalize_rows
from handful.steps.reconcile.keys.key_pattern import KeyPattern
from handful.steps.reconcile.keys.names import id_fault, matches
from handful.steps.reconcile.keys.pattern_hint import KeySample
from handful.storage.base import Entry, Source
from handful.storage.columns import LISTING_SCHEMA

if TYPE_CHECKING:
    from upath import UPath

LABEL_ROWS = 20_000
"""How many label rows are read, at most."""
LABEL_BYTES = 256 * 1024 * 1024
"""Of these, at most: they may hold documents."""
LISTED_KEYS = 200_000
"""How many keys are listed, at most."""
SPARE = 3
"""How many times as many artifacts are taken as are wanted: some may be duplicates."""


@dataclass(frozen=True)
class Sample:
    """Label rows and files of a few artifacts."""

    rows: pa.Table
    """`LABELS_SCHEMA`, and the documents that are columns of the query."""
    listing: pa.Table
    """`LISTING_SCHEMA`"""
    artifacts: int
    labelled: int = 0
    """How many artifacts the label rows name that were read and can be used."""
    is_bounded: bool = False
    """Are there more label rows than were read?"""


def take_sample(
    settings: Settings, progress: Progress, labels: LabelSource, files: Source, artifacts: int
) -> Sample:
    """At least `artifacts` complete artifacts of two labels or more.

    `DataError` if the first rows and keys of production hold too few of them.
    """
    read, is_bounded = _first_rows(labels)
    first = normalize_rows(read, settings)
    labelled = first.filter(_usable())["artifact_id"].n_unique()
    seen = _Seen()
    by_column = bool(settings.production.FILE_KEY_COLUMN)
    documents = settings.production.FILES_FROM_PROD if settings.production.holds_documents else ()
    if documents:
        whole = _usable() & pl.all_horizontal(pl.col(name).is_not_null() for name in documents)
        found = first = first.filter(whole)
    elif by_column:
        usable = first.filter(_usable())
        found = list_referenced_artifacts(usable, files, settings, artifacts * SPARE * 10, progress)
    else:
        found = _complete_artifacts(settings, first, files, artifacts * SPARE, seen)
    chosen = _balance_sample_labels(first.filter(_usable()), found, artifacts * SPARE)
    if chosen["artifact_id"].n_unique() < artifacts or chosen["label"].n_unique() < 2:
        raise _too_few(settings, files, first, chosen, seen)
    kept = found.filter(pl.col("artifact_id").is_in(chosen["artifact_id"].implode()))
    if by_column:  # each row of an artifact names files of it
        kept_ids = pl.col("artifact_id").is_in(chosen["artifact_id"].implode())
        chosen = first.filter(kept_ids & _usable())
    schema = with_documents(documents)
    rows = chosen.select(schema.names).to_arrow().cast(schema)
    if documents:
        labelled = first.filter(_usable())["artifact_id"].n_unique()
        nothing = LISTING_SCHEMA.empty_table()
        return Sample(rows, nothing, rows.num_rows, labelled, is_bounded)
    kept = kept.with_columns(archived=pl.lit(None, pl.String))
    listing = kept.select(LISTING_SCHEMA.names).to_arrow().cast(LISTING_SCHEMA)
    return Sample(rows, listing, chosen["artifact_id"].n_unique(), labelled, is_bounded)


@dataclass
class _Seen:
    """What was looked at to find them."""

    keys: int = 0
    fitting: int = 0
    some: KeySample = field(default_factory=KeySample)


def _too_few(
    settings: Settings,
    files: Source,
    rows: pl.DataFrame,
    chosen: pl.DataFrame,
    seen: _Seen,
) -> DataError:
    column = settings.production.FILE_KEY_COLUMN
    names = settings.production.FILES_FROM_PROD
    few = (
        f"only {chosen['artifact_id'].n_unique()} artifacts of {chosen['label'].n_unique()} labels "
        "have a label and all of FILES_FROM_PROD"
    )
    where = f"[production] FILES_URL = {files.url}"
    if settings.production.holds_documents:
        return DataError(
            f"among the first label rows {few}",
            where="settings.ini [production] FILES_FROM_PROD",
            remedy=f"are the columns of {', '.join(names)} filled, and is there more than a label?",
        )
    if column:
        return DataError(
            f"among {rows.height:,} label rows {few}",
            where=where,
            remedy=f"compare the column {column} with the keys of the file store",
        )
    pattern = settings.production.KEY_PATTERN
    ids = rows.filter(_usable()).select("artifact_id").unique()
    some = seen.some.keys or pattern_hint.first_keys(files)
    return DataError(
        f"among {rows.height:,} label rows and {seen.keys:,} files, of which {seen.fitting:,} fit "
        f"KEY_PATTERN {pattern!r}, {few}; " + pattern_hint.examples(ids, some),
        where=where,
        remedy=pattern_hint.remedy(pattern, some, ids["artifact_id"])
        or "compare the ids of LABEL_QUERY with the keys of FILES_URL and KEY_PATTERN",
    )


def _first_rows(labels: LabelSource) -> tuple[pl.DataFrame, bool]:
    """Label rows, and whether there may be more of them."""
    batches, count, size, is_bounded = [], 0, 0, False
    for batch in labels.rows():
        batches.append(batch)
        count += batch.num_rows
        size += batch.nbytes
        if count >= LABEL_ROWS or size >= LABEL_BYTES:
            is_bounded = True
            break
    if not count:
        where = "[production] LABEL_QUERY"
        raise DataError("the label query gives no row", where=where, remedy="run it by hand")
    table = pl.from_arrow(pa.Table.from_batches(batches))
    if not isinstance(table, pl.DataFrame):
        raise TypeError("label rows are a table")
    return table, is_bounded


def _usable() -> pl.Expr:
    """Rows whose label counts: one label, and an id that can be trusted."""
    one_label = pl.col("label").n_unique().over("artifact_id") == 1
    is_ordinary = id_fault(pl.col("artifact_id")).is_null() & pl.col("kept_as_text").is_null()
    return pl.col("label").is_not_null() & is_ordinary & one_label


def _complete_artifacts(
    settings: Settings, rows: pl.DataFrame, files: Source, enough: int, seen: _Seen
) -> pl.DataFrame:
    """artifact_id, file, key, size, etag of artifacts that have all of FILES_FROM_PROD."""
    production = settings.production
    pattern = KeyPattern.of(production.KEY_PATTERN)
    usable = rows.filter(_usable())
    ids = usable.select("artifact_id").unique()
    as_written = ORIGINAL_ID if ORIGINAL_ID in usable.columns else "artifact_id"
    known = usable.select(artifact_id=as_written).unique()
    wanted = [matches(pl.col("file"), name) for name in production.FILES_FROM_PROD]
    parts: list[pl.DataFrame] = []
    complete = pl.DataFrame()
    for batch in files.list(pattern.folder):
        keys = pl.from_arrow(batch)
        if not isinstance(keys, pl.DataFrame):
            raise TypeError("a listing is a table")
        readings = pattern.read(keys, known)
        read = readings.files
        if is_guid(settings):
            read = read.with_columns(normalize_guid_ids(pl.col("artifact_id")))
        readable = keys.filter(pl.col("archived").is_null()).select("key")
        read = read.join(ids, on="artifact_id", how="semi").join(readable, on="key", how="semi")
        parts.append(read.filter(pl.any_horizontal(wanted)))
        seen.keys += keys.height
        seen.fitting += keys.height - readings.unmatched
        seen.some.add(keys["key"])
        together = pl.concat(parts)
        has_all = [expression.any().over("artifact_id") for expression in wanted]
        complete = together.filter(pl.all_horizontal(has_all))
        if complete["artifact_id"].n_unique() >= enough * 10 or seen.keys >= LISTED_KEYS:
            break
    if complete.is_empty():
        return pl.DataFrame(schema={"artifact_id": pl.String, "key": pl.String})
    return complete


def _balance_sample_labels(rows: pl.DataFrame, found: pl.DataFrame, enough: int) -> pl.DataFrame:
    """Label rows of `enough` artifacts, spread over the labels."""
    rows = rows.unique("artifact_id", keep="first", maintain_order=True)
    rows = rows.join(found.select("artifact_id").unique(), on="artifact_id", how="semi")
    turn = pl.int_range(pl.len()).over("label")
    return rows.sort(turn, "label", "artifact_id").head(enough)


@dataclass(frozen=True)
class Rows:
    """The label rows of a sample, as a `LabelSource`."""

    table: pa.Table

    def rows(self) -> Iterator[pa.RecordBatch]:
        yield from self.table.to_batches()


@dataclass(frozen=True)
class Chosen:
    """A source that lists the files of a sample only, and reads them from the real one."""

    source: Source
    listing: pa.Table

    @property
    def url(self) -> str:
        return self.source.url

    def list(
        self,
        prefix: str = "",
        *,
        near: Sequence[str] = (),  # noqa: ARG002 - the protocol's
    ) -> Iterator[pa.RecordBatch]:
        starts = pc.starts_with(self.listing["key"], pattern=prefix)
        yield from self.listing.filter(starts).to_batches()

    def head(self, key: str) -> Entry:
        return self.source.head(key)

    def read(self, key: str) -> bytes:
        return self.source.read(key)

    def fetch(self, key: str, path: Path) -> str | None:
        return self.source.fetch(key, path)

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        return self.source.download(key, part, where, flush=flush)

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        return self.source.fetch_tree(prefix, scratch)

    def path(self, key: str = "") -> Path | UPath:
        return self.source.path(key)
