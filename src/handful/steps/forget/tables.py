"""Parquet files and Arrow datasets of the store without the rows of forgotten documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from handful.experiment.forgotten import ForgottenList
from handful.files.parquet_rows import change_parquet, without_values
from handful.records import Fate
from handful.steps.forget.targets import INSTEAD, Targets
from handful.steps.reconcile.snapshot.leave_forgotten import forgotten_ledger_rows, renumber

if TYPE_CHECKING:
    import pyarrow as pa

_ID_COLUMNS = ("artifact_id", "original_id")
_TEXT_COLUMNS = ("reason", "error", "traceback", "group", "family")


def forget_in_parquet(
    source: Path, target: Path, targets: Targets, numbers: pl.Series | None = None
) -> None:
    """Write `source` to `target` without their rows; texts of other rows name nobody then.

    `numbers`: label row → its new number, for tables that name rows so.
    """

    def change(table: pa.Table) -> pa.Table:
        for column in _ID_COLUMNS:
            table = without_values(table, column, targets.ids)
        table = without_values(table, "key", targets.keys)
        return _unmention(renumber(table, numbers), targets)

    change_parquet(source, target, change)


def forget_in_ledger(
    source: Path, target: Path, targets: Targets, forgotten: ForgottenList
) -> None:
    """The ledger without their rows, and one row with the HMAC of each instead."""
    table = pl.read_parquet(source)
    fates = pl.col("fate") == Fate.FORGOTTEN.value
    stays = ~pl.col("artifact_id").is_in(list(targets.ids)).fill_null(value=False)
    rows = table.filter(stays & ~fates)
    said = [
        targets.without(one) if one and targets.mentions.search(one) else one
        for one in rows["reason"]
    ]
    rows = rows.with_columns(reason=pl.Series(said, dtype=pl.String))
    pl.concat([rows, forgotten_ledger_rows(forgotten, rows)]).write_parquet(
        target, compression="zstd"
    )


def forget_in_splits(source: Path, target: Path, targets: Targets) -> None:
    """splits.parquet without their rows; a group that was named by one is named by its smallest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = without_values(pq.read_table(source), "artifact_id", targets.ids)
    groups, ids = table["group"].to_pylist(), table["artifact_id"].to_pylist()
    smallest: dict[str, str] = {}
    for group, one in zip(groups, ids, strict=True):
        smallest[group] = min(smallest.get(group, one), one)
    named = [smallest[group] if group in targets.ids else group for group in groups]
    place = table.column_names.index("group")
    field = table.schema.field("group")
    table = table.set_column(place, field, pa.array(named, field.type))
    pq.write_table(_unmention(table, targets), target)


def forget_in_arrow(source: Path, target: Path, targets: Targets) -> None:
    """Write an Arrow file of a dataset to `target` without their rows."""
    import pyarrow as pa

    with (
        pa.memory_map(str(source)) as file,
        pa.ipc.open_stream(file) as stream,
        pa.ipc.new_stream(str(target), stream.schema) as writer,
    ):
        for batch in stream:
            table = pa.Table.from_batches([batch])
            left = without_values(table, "artifact_id", targets.ids)
            if left.num_rows:
                writer.write_table(left.combine_chunks())


def _unmention(table: pa.Table, targets: Targets) -> pa.Table:
    import pyarrow as pa

    for column in _TEXT_COLUMNS:
        if column not in table.column_names:
            continue
        before = table[column].to_pylist()
        after = [
            INSTEAD
            if one in targets.ids
            else (targets.without(one) if isinstance(one, str) else one)
            for one in before
        ]
        if after != before:
            place, field = table.column_names.index(column), table.schema.field(column)
            table = table.set_column(place, field, pa.array(after, field.type))
    return table


def names_one(
    source: Path, targets: Targets, numbers: pl.Series | None, *, arrow: bool = False
) -> bool:
    """Would the table be another without them? What would not is left byte for byte."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if arrow:
        with pa.memory_map(str(source)) as file, pa.ipc.open_stream(file) as stream:
            return any(
                without_values(table, "artifact_id", targets.ids).num_rows != table.num_rows
                for table in (pa.Table.from_batches([batch]) for batch in stream)
            )
    with pq.ParquetFile(source) as file:
        if numbers is not None and "nr" in file.schema_arrow.names:
            return True
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            left = table
            for column in _ID_COLUMNS:
                left = without_values(left, column, targets.ids)
            left = without_values(left, "key", targets.keys)
            if left.num_rows != table.num_rows or _unmention(left, targets) is not left:
                return True
    return False


def count_arrow_rows(data: bytes) -> int:
    """Rows of an Arrow file; `data`: the whole of it."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        return sum(batch.num_rows for batch in stream)
