"""Tables between the store and this machine, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.storage.base import Store


def save(experiment: Experiment, table: pl.DataFrame, key: str) -> None:
    """Put `table` at `key` of the store, whole."""
    path = experiment.scratch / "table.parquet"
    table.write_parquet(path, compression="zstd")
    experiment.store.send(path, key)
    path.unlink()


def load(experiment: Experiment, key: str, schema: pl.Schema) -> pl.DataFrame:
    """The table at `key`, or an empty one of `schema` if there is none.

    `DataError` if what is there is no table of that schema.
    """
    path = experiment.scratch / "loaded.parquet"
    try:
        experiment.store.fetch(key, path)
    except Absent:
        return pl.DataFrame(schema=schema)
    try:
        table = pl.read_parquet(path, memory_map=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged(experiment.store, key) from error
    finally:
        path.unlink(missing_ok=True)
    if table.schema != schema:
        raise damaged(experiment.store, key)
    return table


def damaged(store: Store, key: str) -> DataError:
    return DataError(
        "the file cannot be read as what it should be",
        where=f"{store.url}/{key}",
        remedy="remove it; the step will make it again",
    )


class Writer:
    """Writes a large table batch by batch; its schema comes with the first one."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self.rows = 0

    def add(self, batch: pa.RecordBatch | pl.DataFrame) -> None:
        if isinstance(batch, pl.DataFrame):
            for part in batch.to_arrow().cast(self._schema).to_batches():
                self.add(part)
            return
        if batch.num_rows:
            self._writer.write_batch(batch)
            self.rows += batch.num_rows

    def close(self) -> None:
        self._writer.close()


@contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Writer]:
    """A `Writer` that is closed at the end, or whose file is removed when something fails."""
    writer = Writer(path, schema)
    try:
        yield writer
    except BaseException:
        writer.close()
        path.unlink(missing_ok=True)
        raise
    writer.close()
