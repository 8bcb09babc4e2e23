"""Tables between the store and this machine, as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.steps.reconcile.pool import in_threads
from handful.storage.base import Store


def save(experiment: Experiment, table: pl.DataFrame, key: str) -> None:
    """Put `table` at `key` of the store, whole."""
    path = experiment.scratch / key.rsplit("/", 1)[-1]
    table.write_parquet(path, compression="zstd")
    experiment.store.send(path, key)
    path.unlink()


def together(*writes: Callable[[], None]) -> None:
    """Do several small writes at once: a distant store answers each after a while."""
    for _, _, error in in_threads(lambda write: write(), writes, len(writes)):
        if error is not None:
            raise error


def load(experiment: Experiment, key: str, schema: pl.Schema) -> pl.DataFrame:
    """The table at `key`, or an empty one of `schema` if there is none.

    `DataError` if what is there is no table of that schema.
    """
    path = experiment.scratch / f"loaded-{key.rsplit('/', 1)[-1]}"
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


ROWS_TOGETHER = 100_000
"""Rows of one row group: small ones cost whoever reads them."""


class Writer:
    """Writes a large table batch by batch."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._rows_waiting = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch | pl.DataFrame) -> None:
        if isinstance(batch, pl.DataFrame):
            for part in batch.to_arrow().cast(self._schema).to_batches():
                self.add(part)
            return
        if not batch.num_rows:
            return
        self._waiting.append(batch)
        self._rows_waiting += batch.num_rows
        self.rows += batch.num_rows
        if self._rows_waiting >= ROWS_TOGETHER:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows_waiting = [], 0


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
