"""A Parquet file written anew with some rows gone or changed, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def change_parquet(source: Path, target: Path, change: Callable[[pa.Table], pa.Table]) -> int:
    """Write `change` of each row group of `source` to `target`, schema and metadata as they were.

    Returns the number of rows written.
    """
    import pyarrow.parquet as pq

    rows = 0
    with (
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(target, file.schema_arrow, compression="zstd") as writer,
    ):
        for number in range(file.num_row_groups):
            table = change(file.read_row_group(number))
            rows += table.num_rows
            if table.num_rows:
                writer.write_table(table)
    return rows


def without_values(table: pa.Table, column: str, values: Collection[str]) -> pa.Table:
    """The rows whose `column` is none of `values`; all if there is no such column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in table.column_names or not table.num_rows:
        return table
    texts = pa.array(sorted(values), pa.large_string())
    return table.filter(pc.invert(pc.is_in(table[column].cast(pa.large_string()), texts)))
