"""ID_FORMAT = guid: one spelling for a GUID, however the database or the bucket writes it.

What is a GUID, and what its form, says `guids`.

The snapshot keeps what production wrote: the form is taken when labels and files are matched, so
production need not be asked again when ID_FORMAT changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from handful.settings import Settings
from handful.steps.reconcile.assign_fates import join_some
from handful.steps.reconcile.keys.guids import FORM, normalize_guid_ids
from handful.steps.reconcile.keys.names import quote_names
from handful.steps.reconcile.snapshot import tables

ORIGINAL_ID = "original_id"
"""The column, under `guid` alone, that holds an id as the database or the bucket wrote it."""
_ID_FORMAT_EXAMPLES = 3
_SPELLINGS = 3


def is_guid(settings: Settings) -> bool:
    """Does the experiment ask for GUIDs in one form?"""
    return settings.production.ID_FORMAT == "guid"


def normalize_rows(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Label rows by the form of their ids, with `ORIGINAL_ID`; as they are under `exact`."""
    if not is_guid(settings):
        return rows
    artifact_id = pl.col("artifact_id")
    return rows.with_columns(normalize_guid_ids(artifact_id), artifact_id.alias(ORIGINAL_ID))


def normalize_listing(files: pl.LazyFrame, settings: Settings, scratch: Path) -> pl.LazyFrame:
    """The listing by the form of its ids, with `ORIGINAL_ID`; as it is under `exact`.

    Written down once, since it is read several times.
    """
    if not is_guid(settings):
        return files
    path = scratch / "normalized-listing.parquet"
    artifact_id = pl.col("artifact_id")
    with tables.on_this_machine(path):
        files.with_columns(
            normalize_guid_ids(artifact_id), artifact_id.alias(ORIGINAL_ID)
        ).sink_parquet(path)
    return pl.scan_parquet(path)


def describe(rows: pl.DataFrame, listing: pl.LazyFrame) -> list[str]:
    """What a person should know of normalized label rows and listing; nothing under `exact`."""
    if ORIGINAL_ID not in rows.columns:
        return []
    ids = rows["artifact_id"].drop_nulls().unique()
    others = ids.filter(~ids.str.contains(FORM)).sort()
    told = []
    if others.len():
        told.append(
            f"ID_FORMAT = guid: {others.len():,} of {ids.len():,} ids are no GUIDs and stay as "
            f"they are: {quote_names(others, _ID_FORMAT_EXAMPLES)}"
        )
    joined = _in_several_spellings(rows.lazy())
    if joined.height:
        told.append(
            f"ID_FORMAT = guid: {joined.height:,} GUIDs are written in several ways in the label "
            f"rows, such as {quote_names(joined['spellings'][0], _SPELLINGS)}: their rows are "
            "duplicate_row or conflict, by their labels"
        )
    folders = _in_several_spellings(listing)
    if folders.height:
        told.append(
            f"ID_FORMAT = guid: {folders.height:,} artifacts have files under several spellings, "
            f"such as {quote_names(folders['spellings'][0], _SPELLINGS)}: their files are taken "
            "together, and where two have one name the artifact is ambiguous_key"
        )
    return told


def name_spellings(rows: pl.DataFrame, fates: Iterable[str]) -> pl.DataFrame:
    """Reasons of `fates` name the spellings, where an artifact's label rows have several."""
    if ORIGINAL_ID not in rows.columns:
        return rows
    several = _in_several_spellings(rows.lazy())
    if several.is_empty():
        return rows
    words = pl.lit(" (its id is written ") + join_some("spellings", _SPELLINGS) + pl.lit(")")
    named = several.select("artifact_id", spelled=words)
    joined = rows.join(named, on="artifact_id", how="left", maintain_order="left")
    hit = pl.col("fate").is_in(list(fates)) & pl.col("spelled").is_not_null()
    reason = pl.when(hit).then(pl.col("reason") + pl.col("spelled")).otherwise(pl.col("reason"))
    return joined.with_columns(reason=reason).drop("spelled")


def _in_several_spellings(table: pl.LazyFrame) -> pl.DataFrame:
    """artifact_id, spellings (a sorted list): of ids that are written in more than one way."""
    odd = table.filter(pl.col("artifact_id") != pl.col(ORIGINAL_ID)).select("artifact_id").unique()
    return (
        table.join(odd, on="artifact_id", how="semi")
        .group_by("artifact_id")
        .agg(spellings=pl.col(ORIGINAL_ID).unique().sort())
        .filter(pl.col("spellings").list.len() > 1)
        .sort("artifact_id")
        .collect(engine="streaming")
    )
