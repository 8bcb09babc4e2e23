"""The files' side of matching: what production holds for each artifact, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from handful.records import Fate
from handful.steps.reconcile.assign_fates import give, give_by, join_some
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID
from handful.steps.reconcile.keys.key_pattern import NAMES
from handful.steps.reconcile.keys.names import Wanted, file_fault, matches, shown
from handful.steps.reconcile.snapshot.file_rows import Named


@dataclass(frozen=True)
class Listing:
    """The keys of production that KEY_PATTERN fits."""

    files: pl.LazyFrame
    """artifact_id, file, key, size, etag, and `NAMES` where KEY_PATTERN has other names."""
    two_ways: bool
    """Are there keys that stand for files of two artifacts?"""
    named: Named | None = None
    """What the label rows say of files, if they name them (FILE_KEY_COLUMN)."""
    of_rows: bool = False
    """Are they documents of the label rows (FILES_URL = none)? Then `files` has `nr`, too."""


RESTORE = pl.lit("restore it, wait until it can be read, then --refresh")
_VERDICTS = {"artifact_id": pl.String, "reason": pl.String}
_ODD = r"[^\x00-\x7f]"


def look(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Per artifact id of the listing: `copied` files, and whether it `has_<n>` each needed name.

    And the smallest of its spellings (`original_id`), where ids are in another form than the keys.
    """
    is_copied = wanted.is_copied()
    has = {
        f"has_{n}": (is_copied & matches(pl.col("file"), name)).any()
        for n, name in enumerate(wanted.from_production)
    }
    if ORIGINAL_ID in listing.files.collect_schema():
        has[ORIGINAL_ID] = pl.col(ORIGINAL_ID).min()
    return (
        listing.files.group_by("artifact_id")
        .agg(copied=is_copied.sum(), **has)
        .collect(engine="streaming")
    )


def files_of(listing: Listing, wanted: Wanted, rows: pl.DataFrame) -> pl.DataFrame:
    """The files to copy for the artifacts of `rows`, sorted by artifact and name."""
    ids = rows.select("artifact_id").lazy()
    files = listing.files.filter(wanted.is_copied()).join(ids, on="artifact_id", how="semi")
    files = files.drop(ORIGINAL_ID, strict=False)
    found = files.sort("artifact_id", "file").collect(engine="streaming")
    # Should a bucket list one key twice, it is copied once (if the two agree; else `_two_keys`).
    again = pl.struct("artifact_id", "key") == pl.struct("artifact_id", "key").shift()
    return found.filter(~again.fill_null(False)).drop(NAMES, strict=False)


def files_side(
    rows: pl.DataFrame, listing: Listing, seen: pl.DataFrame, wanted: Wanted
) -> pl.DataFrame:
    """The fates that depend on files: from no_files to archived."""
    joined = rows.join(seen, on="artifact_id", how="left", maintain_order="left", suffix="_seen")
    if listing.of_rows:  # a row without a document lacks that file
        joined = joined.with_columns(pl.col("copied").fill_null(0))
    joined = give(
        joined,
        pl.col("copied").is_null(),
        Fate.NO_FILES,
        pl.lit("no file of this artifact is in the file store"),
    )
    joined = give_by(joined, _ambiguous(listing, wanted), "artifact_id", Fate.AMBIGUOUS_KEY)
    joined = give_by(joined, _badly_named(listing, wanted), "artifact_id", Fate.UNSAFE_NAME)
    missing = pl.concat_str(
        [
            pl.when(pl.col(f"has_{n}")).then(None).otherwise(pl.lit(f"'{name}'"))
            for n, name in enumerate(wanted.from_production)
        ]
        or [pl.lit("")],
        separator=", ",
        ignore_nulls=True,
    )
    joined = give(joined, missing != "", Fate.MISSING_FILES, pl.lit("production lacks ") + missing)
    none = "production has none of FILES_FROM_PROD: " + ", ".join(f"'{n}'" for n in wanted.copied)
    joined = give(joined, pl.col("copied") == 0, Fate.MISSING_FILES, pl.lit(none))
    joined = give_by(
        joined, _find_archived_artifacts(listing, wanted), "artifact_id", Fate.ARCHIVED
    )
    return joined.select(rows.columns)


def _find_archived_artifacts(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Artifacts with a file to copy that has to be restored before: artifact_id, reason."""
    if "archived" not in listing.files.collect_schema():
        return pl.DataFrame(schema=_VERDICTS)
    found = (
        listing.files.filter(pl.col("archived").is_not_null() & wanted.is_copied())
        .select("artifact_id", "file", "archived")
        .collect(engine="streaming")
    )
    first = found.sort("artifact_id", "file").group_by("artifact_id", maintain_order=True).first()
    reason = pl.format(
        "the file {} is archived ({}): {}", shown(pl.col("file")), "archived", RESTORE
    )
    return first.select("artifact_id", reason=reason)


def _badly_named(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Artifacts with a file to copy whose name cannot be trusted: artifact_id, reason."""
    fault = file_fault(pl.col("file"))
    found = (
        listing.files.filter(wanted.is_copied())
        .select("artifact_id", "file", fault=fault)
        .filter(pl.col("fault").is_not_null())
        .collect(engine="streaming")
    )
    first = found.sort("artifact_id", "file").group_by("artifact_id", maintain_order=True).first()
    named = pl.lit("the file ") + shown(pl.col("file")) + " " + pl.col("fault")
    return first.select("artifact_id", reason=named)


def _ambiguous(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Artifacts with two keys for one file, or one key for two artifacts: artifact_id, reason."""
    found = [_two_keys(listing, wanted), _two_ways(listing, wanted)]
    return pl.concat(found).unique("artifact_id", keep="first", maintain_order=True)


def _two_keys(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Names that are one to a person and to some file systems, but two to the bucket.

    Two keys that KEY_PATTERN reads as one file (by `*/{artifact_id}/{file}`: `05/ID/a`, `06/ID/a`),
    a key that was listed twice, differently, two Unicode forms of one file's name; or ID_FORMAT
    made one artifact of two folders. Ids that only look alike are two artifacts: see `file_system`.
    """
    is_copied = wanted.is_copied()
    # A name in another Unicode form than FILES_FROM_PROD's is a rival of one that fits it.
    rival = _is_odd("file") & wanted.is_copied("composed")
    mine = listing.files.with_columns(composed=_artifact_name_nfc("file")).filter(is_copied | rival)
    same = pl.struct("artifact_id", "composed").hash()
    hashes = mine.select(same=same).collect(engine="streaming")["same"]
    twice = hashes.filter(hashes.is_duplicated()).unique()
    if twice.is_empty():
        return pl.DataFrame(schema=_VERDICTS)
    suspects = (
        mine.with_columns(same=same, is_copied=is_copied)
        .join(pl.LazyFrame({"same": twice}), on="same", how="semi")
        .unique(["artifact_id", "file", "key", "size", "etag"])
        .collect()
    )
    pairs = (
        suspects.sort("artifact_id", "key")
        .group_by("artifact_id", "composed", maintain_order=True)
        .agg("key", "is_copied")
        .filter((pl.col("key").list.len() > 1) & pl.col("is_copied").list.any())
    )
    reason = pl.lit("two keys stand for one file: ") + join_some("key", 2)
    found = pairs.select("artifact_id", reason=reason).sort("artifact_id", "reason")
    return found.unique("artifact_id", keep="first", maintain_order=True)


def _two_ways(listing: Listing, wanted: Wanted) -> pl.DataFrame:
    """Keys that KEY_PATTERN reads as files of two labelled artifacts."""
    if not listing.two_ways:
        return pl.DataFrame(schema=_VERDICTS)
    hashes = listing.files.select(pl.col("key").hash()).collect(engine="streaming")["key"]
    twice = hashes.filter(hashes.is_duplicated()).unique()
    if twice.is_empty():
        return pl.DataFrame(schema=_VERDICTS)
    readings = (
        listing.files.with_columns(same=pl.col("key").hash(), is_copied=wanted.is_copied())
        .join(pl.LazyFrame({"same": twice}), on="same", how="semi")
        .collect()
        .sort("key", "artifact_id")
        .group_by("key", maintain_order=True)
        .agg(pl.col("artifact_id").unique(maintain_order=True), "is_copied")
        .filter((pl.col("artifact_id").list.len() > 1) & pl.col("is_copied").list.any())
    )
    reason = (
        pl.lit("the key ")
        + shown(pl.col("key"))
        + pl.lit(" can be read as a file of ")
        + join_some("artifact_id", 4)
    )
    return _by_artifact(readings.with_columns(reason=reason))


def _by_artifact(groups: pl.DataFrame) -> pl.DataFrame:
    rows = (
        groups.select("artifact_id", "reason").explode("artifact_id").sort("artifact_id", "reason")
    )
    return rows.unique("artifact_id", keep="first", maintain_order=True)


def _is_odd(column: str) -> pl.Expr:
    return pl.col(column).str.contains(_ODD)


def _artifact_name_nfc(column: str) -> pl.Expr:
    """The name in one Unicode form."""
    return (
        pl.when(_is_odd(column)).then(pl.col(column).str.normalize("NFC")).otherwise(pl.col(column))
    )
