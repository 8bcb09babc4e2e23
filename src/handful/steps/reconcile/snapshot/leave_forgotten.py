"""What production gives of forgotten documents is left out before anything of it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from handful.experiment.forgotten import ForgottenList
from handful.files.parquet_rows import change_parquet, without_values
from handful.records import Fate
from handful.steps.reconcile.snapshot.fetch import Taken


def leave_forgotten_out(taken: Taken, forgotten: ForgottenList | None) -> Taken:
    """`taken` without rows and files of forgotten documents; files are written anew beside."""
    if forgotten is None or not forgotten.names:
        return taken
    paths = [path for path in (taken.labels, taken.listing, taken.file_keys) if path]
    ids = forgotten.of(one for path in paths for one in _ids_in(path))
    if not ids:
        return taken
    numbers = renumbered_rows(taken.labels, ids)
    labels, label_rows = _without_ids(taken.labels, ids, None)
    listing, keys = _without_ids(taken.listing, ids, numbers)
    file_keys = taken.file_keys and _without_ids(taken.file_keys, ids, numbers)[0]
    documents = taken.documents and _without_ids(taken.documents, ids, numbers)[0]
    return replace(
        taken,
        labels=labels,
        listing=listing,
        label_rows=label_rows,
        keys=keys,
        file_keys=file_keys,
        documents=documents,
    )


def renumbered_rows(labels: Path, ids: list[str]) -> pl.Series:
    """Number of a label row → its number when the rows of `ids` are gone; null for those."""
    found = pl.read_parquet(labels, columns=["artifact_id"])["artifact_id"]
    stays = ~found.is_in(ids).fill_null(False)
    numbers = stays.cum_sum().cast(pl.Int64) - 1
    return pl.select(pl.when(stays).then(numbers)).to_series().cast(pl.UInt32)


def renumber(table: pa.Table, numbers: pl.Series | None) -> pa.Table:
    """`table` with the new numbers of its label rows, if it has any (`nr`)."""
    if numbers is None or "nr" not in table.column_names or not table.num_rows:
        return table
    place = table.column_names.index("nr")
    old = pl.Series(table["nr"].to_pylist(), dtype=pl.UInt32)
    new = numbers.gather(old).to_arrow().cast(table.schema.field("nr").type)
    return table.set_column(place, table.schema.field("nr"), new)


def forgotten_ledger_rows(forgotten: ForgottenList | None, like: pl.DataFrame) -> pl.DataFrame:
    """A ledger row for each forgotten document, with the columns of `like`."""
    names = sorted(forgotten.names) if forgotten else []
    nothing: list[list[str]] = [[] for _ in names]
    told = pl.DataFrame(
        {
            "artifact_id": names,
            "fate": [Fate.FORGOTTEN.value] * len(names),
            "reason": ["forgotten, as asked: the id is an HMAC"] * len(names),
            "files": nothing,
            "files_made": nothing,
            "repaired": [False] * len(names),
            "row": ["{}"] * len(names),
        }
    )
    columns = {
        name: pl.col(name).cast(kind) if name in told.columns else pl.lit(None, kind).alias(name)
        for name, kind in like.schema.items()
    }
    return told.select(**columns)


def _ids_in(path: Path) -> Iterator[str | None]:
    if "artifact_id" in pq.read_schema(path).names:
        yield from pl.read_parquet(path, columns=["artifact_id"])["artifact_id"].unique()


def _without_ids(path: Path, ids: list[str], numbers: pl.Series | None) -> tuple[Path, int]:
    target = path.with_name(f"left-{path.name}")
    rows = change_parquet(
        path, target, lambda table: renumber(without_values(table, "artifact_id", ids), numbers)
    )
    path.unlink()
    return target, rows
