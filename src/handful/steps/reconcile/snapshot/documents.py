"""Documents of the label rows (FILES_URL = none): set aside as they come, and listed like files.

    documents.parquet    the contents, in the order of the rows
    listing.parquet      as of files, and `nr`, the number of the label row; line for line the same

A document's key is `<artifact id>/<file>`, so that two snapshots can be compared. Where the rows of
an artifact give several contents for one file, the hash of each stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from handful.errors import DataError
from handful.labels.base import LABELS_SCHEMA, LabelSource
from handful.steps.reconcile.assign_fates import OPEN
from handful.steps.reconcile.keys.names import shown
from handful.steps.reconcile.snapshot import tables
from handful.storage.row_files import DOCUMENTS_SCHEMA, PART_BYTES, etag_of

_ONE_FILE = ["artifact_id", "file"]


@dataclass
class Apart:
    """Label rows without their documents, which are written down meanwhile."""

    labels: LabelSource
    documents: tables.Writer
    listing: tables.Writer
    columns: list[str]
    """Of the listing."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        before = 0
        for batch in self.labels.rows():
            self._set_aside(batch, before)
            before += batch.num_rows
            yield batch.select(LABELS_SCHEMA.names)

    def _set_aside(self, batch: pa.RecordBatch, before: int) -> None:
        files = [name for name in batch.schema.names if name not in LABELS_SCHEMA.names]
        rows = pl.DataFrame(pl.from_arrow(batch.select(["artifact_id", *files])))
        rows = rows.with_row_index("nr", before)
        found = pl.concat(
            rows.select("nr", "artifact_id", file=pl.lit(file), content=file) for file in files
        )
        # A row without an id is nobody's.
        found = found.drop_nulls(["artifact_id", "content"]).sort("nr", maintain_order=True)
        etags = pl.Series([etag_of(one) for one in found["content"]], dtype=pl.String)
        listed = found.with_columns(
            key=pl.concat_str(*_ONE_FILE, separator="/"),
            size=pl.col("content").bin.size().cast(pl.Int64),
            etag=etags,
        )
        self.listing.add(listed.select(self.columns))
        self.documents.add(found.select(DOCUMENTS_SCHEMA.names))


@contextmanager
def set_apart(
    labels: LabelSource, documents: Path, listing: Path, files_schema: pa.Schema
) -> Iterator[Apart]:
    """Label rows that leave their documents, and the listing of them, at these places.

    `DataError` if there is not one.
    """
    schema = pa.schema([*files_schema, DOCUMENTS_SCHEMA.field("nr")])
    with (
        tables.writing(documents, DOCUMENTS_SCHEMA, part_bytes=PART_BYTES) as contents,
        tables.writing(listing, schema) as listed,
    ):
        yield Apart(labels, contents, listed, schema.names)
        if not listed.rows:
            raise DataError(
                "the columns of FILES_FROM_PROD are NULL in every label row",
                where="settings.ini [production] FILES_FROM_PROD",
                remedy="name columns that hold the documents, as <column>.<extension>",
            )
    _tell_twins_apart(listing)


def _tell_twins_apart(path: Path) -> None:
    """Give the contents that are one file of one artifact keys of their own; mostly none is."""
    listing = pl.scan_parquet(path)
    contents = listing.group_by(_ONE_FILE).agg(contents=pl.col("etag").n_unique())
    twins = contents.filter(pl.col("contents") > 1).collect(engine="streaming")
    if twins.is_empty():
        return
    told = path.with_suffix(".told")
    own_key = pl.concat_str("key", "etag", separator="@")
    with tables.on_this_machine(path):
        listing.join(twins.lazy(), on=_ONE_FILE, how="left", maintain_order="left").with_columns(
            key=pl.when(pl.col("contents").is_not_null()).then(own_key).otherwise("key")
        ).drop("contents").sink_parquet(told, compression="zstd")
        told.replace(path)


def of_open_rows(listing: pl.LazyFrame, rows: pl.DataFrame) -> pl.LazyFrame:
    """The documents of rows whose fate is open, the same content of one file once."""
    mine = listing.join(rows.filter(OPEN).select("nr").lazy(), on="nr", how="semi")
    same = [*_ONE_FILE, "size", "etag"]
    return mine.sort("nr").unique(same, keep="first", maintain_order=True)


def find_contradicting_rows(listing: pl.LazyFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Artifacts whose open rows give different documents: artifact_id, reason.

    A file that one row gives and another leaves out is a difference, too: nobody puts an artifact
    together from the halves of two rows. A row that gives no document at all says nothing.
    """
    several = rows.filter(OPEN).filter(pl.col("artifact_id").is_duplicated())
    ids = several.select("nr", "artifact_id").lazy()  # in one form, should they be GUIDs
    given = listing.drop("artifact_id").join(ids, on="nr")
    given = given.with_columns(rows=pl.col("nr").n_unique().over("artifact_id"))
    differing = (
        given.group_by(_ONE_FILE)
        .agg(
            pl.col("rows").first(), givers=pl.col("nr").n_unique(), etags=pl.col("etag").n_unique()
        )
        .filter((pl.col("etags") > 1) | (pl.col("givers") < pl.col("rows")))
        .sort(_ONE_FILE)
        .unique("artifact_id", keep="first", maintain_order=True)
    )
    reason = pl.lit("its label rows give different documents as ") + shown(pl.col("file"))
    return differing.select("artifact_id", reason=reason).collect()
