"""A few real artifacts of production whose files the label rows name: see FILE_KEY_COLUMN."""

from __future__ import annotations

import polars as pl

from handful.errors import DataError
from handful.progress import Progress
from handful.settings import Limit, Settings
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.keys.key_column import files_of, look, references
from handful.steps.reconcile.keys.names import matches
from handful.steps.reconcile.keys.references import name_of
from handful.storage.base import Source

_SOME = Limit(0.5, is_share=True)
"""So many of a small sample may be denied by chance; the run itself counts them by MAX_FAILED."""


def list_referenced_artifacts(
    rows: pl.DataFrame, files: Source, settings: Settings, enough: int, progress: Progress
) -> pl.DataFrame:
    """artifact_id, file, key, size, etag of artifacts that have all of FILES_FROM_PROD.

    `rows`: label rows that can be used. Looks at the files of `enough` artifacts, and no more.
    `DataError` if there are candidates, and none of them is whole.
    """
    production = settings.production
    given = references(rows, production.FILE_KEY_COLUMN or "")
    wanted = [matches(pl.col("file"), name) for name in production.FILES_FROM_PROD]
    names = pl.Series([name_of(one) for one in given["reference"]], dtype=pl.String)
    given = given.with_columns(file=names).filter(pl.any_horizontal(wanted))
    has_all = [one.any().over("artifact_id") for one in wanted]
    turn = pl.int_range(pl.len()).over("label")
    ids = (
        given.filter(pl.all_horizontal(has_all))
        .unique("artifact_id", keep="first", maintain_order=True)
        .sort(turn, "label", "artifact_id")
        .head(enough)
    )
    named = given.join(ids, on="artifact_id", how="semi").select("artifact_id", "reference")
    if named.is_empty():
        return pl.DataFrame(schema={"artifact_id": pl.String, "key": pl.String})
    looks = look(files, named, Troubles(_SOME, ids.height), settings, progress)
    found = named.join(looks, on="reference")
    whole = named.join(found.filter(pl.col("fate").is_not_null()), on="artifact_id", how="anti")
    if whole.is_empty():
        reasons = found["reason"].drop_nulls().unique().sort().head(3)
        raise DataError(
            f"none of {ids.height:,} artifacts that were looked at is whole:"
            + "".join(f"\n  {reason}" for reason in reasons),
            where=f"[production] FILES_URL = {files.url}",
            remedy="compare the column that FILE_KEY_COLUMN names with FILES_URL and FILE_BUCKETS",
        )
    return files_of(whole, looks)
