"""Labels ⨝ files: every label row and every artifact gets one fate, and a reason.

Fates are given in this order; what has one keeps it.

    a label row   unsafe_name     its artifact id cannot be the name of a folder
                  no_label        its label is NULL or blank
                  conflict        its artifact, or its file_hash, has another label, too
                  duplicate_row   its artifact has an earlier row with the same label
                  file_row        … and this one names another file (see `file_rows`)
    the one row   no_files        no key of production belongs to the artifact
    left of an    ambiguous_key   two keys stand for one of its files, or one key for two artifacts
    artifact      unsafe_name     a file that would be copied has a name that cannot be trusted
                  missing_files   production lacks a file that it must give
                  archived        a file has to be restored before it can be read
                  conflict        by the hash of its files, where the row gives no file_hash
                  duplicate       the same hash and label: the smallest artifact id survives
                  kept            (copying and process_func may still take this away)
    an artifact   unsafe_name     its id cannot be the name of a folder
    without row   no_label_row

A conflict takes all labelled rows of the artifacts that it touches: nobody picks one. Of the rows
of one artifact that agree on the label, the smallest (file_hash, row) stays; of duplicates, the
smallest id among those that could be used: never whichever came first.

What Python sees here are columns; no row is looped over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from handful.errors import DataError
from handful.records import Fate
from handful.settings import Settings
from handful.steps.reconcile import artifacts
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.assign_fates import OPEN, give, give_by, join_some
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID, name_spellings
from handful.steps.reconcile.keys.key_names import add_names
from handful.steps.reconcile.keys.names import Wanted, id_fault, quote_names, row_fault, shown
from handful.steps.reconcile.snapshot import file_rows
from handful.steps.reconcile.snapshot.contents import Hasher, Hashes
from handful.steps.reconcile.snapshot.documents import find_contradicting_rows, of_open_rows

EXAMPLES = 5
_FEW = 4
"""How many labels or ids a reason names."""


@dataclass(frozen=True)
class Matched:
    """The ledger as it stands before the first copy."""

    rows: pl.DataFrame
    """nr, artifact_id, label, label_source, file_hash, fate, reason, row, and under ID_FORMAT =
    guid original_id: label rows in the snapshot's order, then the artifacts that have none, by
    id."""
    files: pl.DataFrame
    """What kept artifacts are copied with: artifact_id, file, key, size, etag, perhaps nr."""


def match(
    rows: pl.DataFrame, listing: Listing, wanted: Wanted, settings: Settings, hashes: Hasher
) -> Matched:
    """Give every label row and every artifact its fate.

    Args:
        rows: label rows: artifact_id, label, label_source, file_hash, row, perhaps original_id.
        listing: the files of production.
        hashes: computes hashes for artifacts whose row has none.

    Raises:
        DataError: labels contradict each other, or files are missing, and the settings say stop.
    """
    rows = _label_side(rows)
    if listing.named:
        named = listing.named.of(rows, listing.files, wanted)
        rows = _conflicts(file_rows.hash_artifacts(rows, named))
        listing = replace(listing, files=file_rows.files_of(named, rows))
        rows = file_rows.settle(rows, named)
    else:
        rows = _conflicts(rows)
        contradicting = None
        if listing.of_rows:
            contradicting = find_contradicting_rows(listing.files, rows)
            listing = replace(listing, files=of_open_rows(listing.files, rows))
        rows = _duplicate_rows(rows)
        if contradicting is not None:
            rows = give_by(rows, contradicting, "artifact_id", Fate.AMBIGUOUS_KEY)
    seen = artifacts.look(listing, wanted)
    rows = artifacts.files_side(rows, listing, seen, wanted)
    files = artifacts.files_of(listing, wanted, rows.filter(OPEN))
    rows = _fill_file_hashes(rows, files, hashes)
    rows = _conflicts(rows, computed=True)
    rows = _duplicates(rows)
    rows = give(rows, pl.lit(True), Fate.KEPT, pl.lit(""))
    rows = name_spellings(rows, (Fate.CONFLICT, Fate.DUPLICATE_ROW, Fate.FILE_ROW))
    _stop_where_told(rows, settings)
    files = files.join(rows.filter(pl.col("fate") == Fate.KEPT), on="artifact_id", how="semi")
    every = pl.concat([rows, _without_row(rows, seen)])
    return Matched(add_names(every, listing, wanted), files)


def _label_side(rows: pl.DataFrame) -> pl.DataFrame:
    blank_hash = pl.col("file_hash").str.strip_chars() == ""
    rows = rows.with_row_index("nr").with_columns(
        file_hash=pl.when(blank_hash).then(None).otherwise(pl.col("file_hash")),
        fate=pl.lit(None, pl.String),
        reason=pl.lit(None, pl.String),
    )
    fault = row_fault(rows)
    rows = give(rows, fault.is_not_null(), Fate.UNSAFE_NAME, fault)
    rows = give(rows, ~_has_match_label(), Fate.NO_LABEL, pl.lit("the label is empty"))
    order = ["nr", "artifact_id", "label", "label_source", "file_hash", "fate", "reason", "row"]
    return rows.select(order + [name for name in rows.columns if name == ORIGINAL_ID])


def _has_match_label() -> pl.Expr:
    return pl.col("label").is_not_null() & (pl.col("label").str.strip_chars() != "")


def _conflicts(rows: pl.DataFrame, *, computed: bool = False) -> pl.DataFrame:
    """Conflicts by id and by file_hash; when `computed`, by the hashes of open rows only."""
    # Rows with an unsafe id count as witnesses: their label contradicts all the same.
    witnesses = rows.filter(OPEN) if computed else rows.filter(_has_match_label())
    by_id = (
        witnesses.filter(pl.col("artifact_id").is_duplicated())
        .group_by("artifact_id")
        .agg(_distinct("label"))
        .filter(pl.col("label").list.len() > 1)
        .select("artifact_id", reason=pl.lit("the artifact has the labels ") + _few("label"))
    )
    by_hash = (
        witnesses.filter(pl.col("file_hash").is_not_null() & pl.col("file_hash").is_duplicated())
        .group_by("file_hash")
        .agg(_distinct("label"), _distinct("artifact_id").alias("ids"))
        .filter(pl.col("label").list.len() > 1)
        .with_columns(
            reason=pl.lit("the same content has the labels ")
            + _few("label")
            + pl.lit(": artifacts ")
            + _few("ids")
        )
    )
    touched = (
        witnesses.join(by_hash, on="file_hash", suffix="_c")
        .sort("artifact_id", "file_hash")
        .unique("artifact_id", keep="first", maintain_order=True)
        .select("artifact_id", reason="reason_c")
    )
    both = pl.concat([by_id, touched]).unique("artifact_id", keep="first", maintain_order=True)
    return give_by(rows, both, "artifact_id", Fate.CONFLICT)


def _distinct(column: str) -> pl.Expr:
    return pl.col(column).drop_nulls().unique().sort()


def _few(column: str) -> pl.Expr:
    """The first few of a list column, quoted, and how many more there are."""
    more = pl.col(column).list.len().cast(pl.Int64) - _FEW
    return join_some(column, _FEW) + pl.when(more > 0).then(
        pl.format(" and {} more", more)
    ).otherwise(pl.lit(""))


def _duplicate_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Of the open rows of one artifact, which agree on the label, all but the smallest."""
    several = rows.filter(OPEN).filter(pl.col("artifact_id").is_duplicated())
    ordered = several.sort("artifact_id", "file_hash", "row", "nr", nulls_last=True)
    first = ordered.group_by("artifact_id", maintain_order=True).first()
    others = ordered.join(first.select("nr"), on="nr", how="anti").join(
        first.select("artifact_id", kept_hash="file_hash"), on="artifact_id"
    )
    same = pl.col("file_hash").eq_missing(pl.col("kept_hash"))
    said = pl.col("file_hash").fill_null("none")
    told = pl.format(
        "another row has this artifact and label; this one says file_hash {}, that one {}",
        said,
        pl.col("kept_hash").fill_null("none"),
    )
    reason = pl.when(same).then(pl.lit("another row says the same")).otherwise(told)
    return give_by(rows, others.select("nr", reason=reason), "nr", Fate.DUPLICATE_ROW)


def _fill_file_hashes(rows: pl.DataFrame, files: pl.DataFrame, hashes: Hasher) -> pl.DataFrame:
    """Fill the file_hash of open rows that have none."""
    without = rows.filter(OPEN & pl.col("file_hash").is_null())
    if without.is_empty():
        return rows
    computed: Hashes = hashes(files.join(without, on="artifact_id", how="semi"))
    found = computed.found.rename({"file_hash": "computed"})
    rows = rows.join(found, on="artifact_id", how="left", maintain_order="left").with_columns(
        file_hash=pl.when(OPEN).then(pl.coalesce("file_hash", "computed")).otherwise("file_hash")
    )
    rows = rows.drop("computed")
    for lost, fate, words in (
        (computed.absent, Fate.MISSING_FILES, "gone from production since the listing: "),
        (computed.failed, Fate.COPY_FAILED, ""),
    ):
        verdicts = pl.DataFrame(
            {"artifact_id": list(lost), "reason": [words + why for why in lost.values()]},
            {"artifact_id": pl.String, "reason": pl.String},
        )
        rows = give_by(rows, verdicts, "artifact_id", fate)
    return rows


def _duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    candidates = rows.filter(OPEN & pl.col("file_hash").is_not_null())
    several = candidates.filter(pl.struct("file_hash", "label").is_duplicated())
    smallest = several.group_by("file_hash", "label").agg(survivor=pl.col("artifact_id").min())
    others = several.join(smallest, on=["file_hash", "label"]).filter(
        pl.col("artifact_id") != pl.col("survivor")
    )
    reason = pl.lit("the same content and label as artifact ") + shown(pl.col("survivor"))
    return give_by(rows, others.select("nr", reason=reason), "nr", Fate.DUPLICATE)


def _without_row(rows: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """Ledger rows for the artifacts of production that no label row names."""
    spelled = seen.select(name for name in seen.columns if name in ("artifact_id", ORIGINAL_ID))
    ids = spelled.join(rows, on="artifact_id", how="anti").sort("artifact_id")
    if ORIGINAL_ID in rows.columns and ORIGINAL_ID not in ids.columns:
        ids = ids.with_columns(pl.lit(None, pl.String).alias(ORIGINAL_ID))
    fault = id_fault(pl.col("artifact_id"))
    none = pl.lit("no label row names this artifact")
    bare = ids.with_columns(
        nr=pl.lit(None, pl.UInt32),
        label=pl.lit(None, pl.String),
        label_source=pl.lit(None, pl.String),
        file_hash=pl.lit(None, pl.String),
        fate=pl.when(fault.is_null())
        .then(pl.lit(Fate.NO_LABEL_ROW.value))
        .otherwise(pl.lit(Fate.UNSAFE_NAME.value)),
        reason=pl.coalesce(fault, none),
        row=pl.lit("{}"),
    )
    return bare.select(pl.col(name).cast(kind) for name, kind in rows.schema.items())


def _stop_where_told(rows: pl.DataFrame, settings: Settings) -> None:
    for key, fates, what, remedy in (
        (
            "ON_LABEL_CONFLICT",
            (Fate.CONFLICT,),
            "label rows contradict each other",
            "correct the labels, name the right ones in LABEL_OVERRIDES, "
            "or set ON_LABEL_CONFLICT = drop",
        ),
        (
            "ON_MISSING_FILES",
            (Fate.NO_FILES, Fate.MISSING_FILES, Fate.ARCHIVED),
            "label rows belong to artifacts that lack files",
            "restore the files, or set ON_MISSING_FILES = drop",
        ),
    ):
        if getattr(settings.reconcile, key) != "stop":
            continue
        found = rows.filter(pl.col("fate").is_in([fate.value for fate in fates]))
        if found.height:
            examples = "".join(
                f"\n  {quote_names([row['artifact_id']])}: {row['reason']}"
                for row in found.unique("artifact_id", maintain_order=True)
                .head(EXAMPLES)
                .to_dicts()
            )
            raise DataError(
                f"{found.height:,} {what}:{examples}",
                where=f"settings.ini [reconcile] {key}",
                remedy=remedy,
            )
