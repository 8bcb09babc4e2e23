"""Label rows that name files (FILE_KEY_COLUMN): which row of an artifact speaks for all of them.

The rows of one artifact that agree on the label are its files. One of them goes through all
that an artifact goes through and ends with its fate; the others say what they are:

    file_row        it names another file of the artifact
    duplicate_row   it names no file, or only files that an earlier row names
    unsafe_name     it names a file that must not be touched

The one that speaks names a file that is copied, if any does; of several the smallest (file_hash,
row). Its artifact is lost if a file that FILES_FROM_PROD names cannot be had.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import polars as pl

from handful.records import Fate
from handful.steps.reconcile.assign_fates import OPEN, give, give_by
from handful.steps.reconcile.keys import key_column
from handful.steps.reconcile.keys.names import Wanted, shown

_OF_FILES = "file_hashes:"


@dataclass(frozen=True)
class Named:
    """What the label rows say of files."""

    column: str
    keys: pl.LazyFrame
    """file_keys.parquet: see `key_column`."""

    def of(self, rows: pl.DataFrame, listing: pl.LazyFrame, wanted: Wanted) -> pl.DataFrame:
        """For every row its files: nr, artifact_id, reference, file, key, fault, why, size, etag,
        wanted."""
        given = key_column.references(rows.select("nr", "artifact_id", "row"), self.column)
        looked = self.keys.rename({"fate": "fault", "reason": "why"}).collect()
        # By what was looked at, not by whose it was: ids may be spelled otherwise by now.
        there = listing.select("key", "size", "etag").unique("key").collect()
        pairs = given.drop("row").join(looked, on="reference", maintain_order="left")
        pairs = pairs.join(there, on="key", how="left", maintain_order="left")
        return pairs.with_columns(wanted=wanted.is_copied())


def files_of(named: pl.DataFrame, rows: pl.DataFrame) -> pl.LazyFrame:
    """The listing of what the open ones of `rows` name."""
    mine = named.join(rows.filter(OPEN), on="nr", how="semi").filter(pl.col("fault").is_null())
    return mine.select(key_column.LISTED).unique(["artifact_id", "key"], maintain_order=True).lazy()


def hash_artifacts(rows: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Make `file_hash` the artifact's where the label rows give one for each file.

    They do if it differs between the rows of any artifact; then the artifact's is taken over
    the (name, hash) pairs of its files, or left to be computed where one is missing.
    """
    hashes = rows.filter(pl.col("label").is_not_null() & pl.col("file_hash").is_not_null())
    of_one = ["artifact_id", "label"]
    if (hashes.group_by(of_one).agg(pl.col("file_hash").n_unique())["file_hash"] <= 1).all():
        return rows
    pairs = (
        named.filter("wanted")
        .join(rows.filter(pl.col("label").is_not_null()).select("nr", "file_hash"), on="nr")
        .select("artifact_id", "file_hash", pair=pl.col("file") + "\n" + pl.col("file_hash"))
        .unique()
        .group_by("artifact_id")
        .agg(pl.col("pair").sort(nulls_last=True), whole=pl.col("file_hash").is_not_null().all())
    )
    digests = [
        _OF_FILES + hashlib.sha256("\n".join(pair).encode()).hexdigest() if whole else None
        for pair, whole in pairs.select("pair", "whole").iter_rows()
    ]
    whole_hash = pairs.select("artifact_id", combined=pl.Series(digests, dtype=pl.String))
    joined = rows.join(whole_hash, on="artifact_id", how="left", maintain_order="left")
    return joined.with_columns(file_hash="combined").drop("combined")


def settle(rows: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """Leave one open row an artifact, and give it what its files already decide."""
    named = named.join(rows.filter(OPEN), on="nr", how="semi")
    ordered = _sort_file_rows(rows.filter(OPEN), named)
    first = ordered.unique("artifact_id", keep="first", maintain_order=True)
    others = ordered.join(first, on="nr", how="anti", maintain_order="left")
    rows = _mark_other_file_rows(rows, ordered, others, named)
    return _by_files(rows, first, named)


def _sort_file_rows(rows: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """The rows, those of one artifact together, the one that speaks for it first."""
    rank = pl.when(~pl.col("wanted")).then(2).when(pl.col("fault").is_not_null()).then(1)
    best = named.group_by("nr").agg(rank=rank.otherwise(0).min())
    order = ["artifact_id", "rank", "file_hash", "row", "nr"]
    return rows.join(best, on="nr", how="left").sort(order, nulls_last=True)


def _mark_other_file_rows(
    rows: pl.DataFrame, ordered: pl.DataFrame, others: pl.DataFrame, named: pl.DataFrame
) -> pl.DataFrame:
    """The fates of the rows that do not speak for their artifact."""
    place = ordered.select("nr").with_row_index("place")
    files = (
        named.join(place, on="nr").sort("place").with_columns(same=pl.coalesce("key", "reference"))
    )
    new = files.unique(["artifact_id", "same"], keep="first", maintain_order=True)
    further = new.group_by("nr", maintain_order=True).agg(pl.col("file").first())
    unsafe = named.filter(pl.col("fault") == Fate.UNSAFE_NAME.value)
    unsafe = unsafe.select("nr", reason="why").unique("nr", keep="first", maintain_order=True)
    rows = give_by(rows, _of(unsafe, others), "nr", Fate.UNSAFE_NAME)
    told = pl.format(
        "it gives {}; another row tells what became of the artifact", shown(pl.col("file"))
    )
    rows = give_by(rows, _of(further.select("nr", reason=told), others), "nr", Fate.FILE_ROW)
    again = named.select("nr", reason=pl.lit("another row gives the same key")).unique("nr")
    rows = give_by(rows, _of(again, others), "nr", Fate.DUPLICATE_ROW)
    bare = others.select(
        "nr", reason=pl.lit("another row has this artifact; this one gives no key")
    )
    return give_by(rows, bare, "nr", Fate.DUPLICATE_ROW)


def _of(verdicts: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return verdicts.join(rows, on="nr", how="semi")


def _by_files(rows: pl.DataFrame, first: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """no_files, unsafe_name, copy_failed, missing_files of the rows that speak for artifacts."""
    rows = give(
        rows,
        ~pl.col("artifact_id").is_in(named["artifact_id"].unique().implode()),
        Fate.NO_FILES,
        pl.lit("FILE_KEY_COLUMN is empty in its label rows: no key is given"),
    )
    own = named.join(first, on="nr", how="semi")
    unsafe = pl.col("fault") == Fate.UNSAFE_NAME.value
    rows = give_by(
        rows,
        _reasons(pl.concat([own.filter(unsafe), named.filter(unsafe & pl.col("wanted"))])),
        "artifact_id",
        Fate.UNSAFE_NAME,
    )
    lost = named.filter("wanted")
    for fate in (Fate.COPY_FAILED, Fate.MISSING_FILES):
        found = _reasons(lost.filter(pl.col("fault") == fate.value))
        if fate == Fate.MISSING_FILES:
            there = named.filter(pl.col("fault").is_null())
            gone = found.join(there, on="artifact_id", how="anti")
            rows = give_by(rows, gone, "artifact_id", Fate.NO_FILES)
        rows = give_by(rows, found, "artifact_id", fate)
    return rows


def _reasons(faults: pl.DataFrame) -> pl.DataFrame:
    """artifact_id, reason: the first of each artifact's, and how many more there are."""
    each = faults.unique(["artifact_id", "reference"]).sort("artifact_id", "file", "reference")
    first = each.group_by("artifact_id", maintain_order=True).agg(
        reason=pl.col("why").first(), more=pl.len() - 1
    )
    more = (
        pl.when(pl.col("more") > 0).then(pl.format(" (and {} more)", "more")).otherwise(pl.lit(""))
    )
    return first.select("artifact_id", reason=pl.col("reason") + more)
