"""Tables between the store and this machine, as Parquet."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from handful.errors import Absent, Damaged, DataError, Full
from handful.progress import Progress
from handful.steps.reconcile.pool import in_threads
from handful.storage.base import Store

ROWS_TOGETHER = 100_000
"""Rows of one row group: small ones cost whoever reads them."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAYS_NO_ROOM = re.compile(rf"(?:os error|errno) (?:{'|'.join(map(str, sorted(_NO_ROOM)))})\b")
"""polars and pyarrow put the number into their words."""


@dataclass(frozen=True)
class TableStore:
    """The store, as a place for the step's own tables."""

    store: Store
    scratch: Path
    """A local directory that they pass through."""
    progress: Progress

    def save(self, table: pl.DataFrame, key: str) -> None:
        """Put `table` at `key` of the store, whole."""
        path = self.scratch / key.rsplit("/", 1)[-1]
        try:
            with on_this_machine(path):
                table.write_parquet(path, compression="zstd")
            self.store.send(path, key)
        finally:
            path.unlink(missing_ok=True)

    def load(self, key: str, schema: pl.Schema) -> pl.DataFrame:
        """The table at `key`, or an empty one of `schema` if there is none.

        `DataError` if what is there is no table of that schema.
        """
        path = self.scratch / f"loaded-{key.rsplit('/', 1)[-1]}"
        try:
            self.store.fetch(key, path)
        except Absent:
            return pl.DataFrame(schema=schema)
        except Damaged as error:  # this step's own memory: without it there is more to do
            self.progress.warn(f"{error.fault.where} {error.fault.what}; it is made again")
            self.store.delete([key])
            return pl.DataFrame(schema=schema)
        try:
            table = pl.read_parquet(path, memory_map=False)
            if table.schema != schema:
                raise pl.exceptions.SchemaError("the columns are others")
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                "the file cannot be read as what it should be",
                where=f"{self.store.url}/{key}",
                remedy="remove it; the step will make it again",
            ) from error
        finally:
            path.unlink(missing_ok=True)
        return table


@contextmanager
def on_this_machine(path: Path) -> Iterator[None]:
    """Turn a scratch folder that has no room into `Full`; it is the machine's, not the store's."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        if getattr(error, "errno", None) not in _NO_ROOM and not _SAYS_NO_ROOM.search(str(error)):
            raise
        raise Full(
            "no room is left for this step's own files",
            where=str(path.parent),
            remedy="free some room there, or let TMPDIR name another folder",
        ) from error


def together(*writes: Callable[[], None]) -> None:
    """Do several small writes at once: a distant store answers each after a while."""
    for _, _, error in in_threads(lambda write: write(), writes, len(writes)):
        if error is not None:
            raise error


def give_back() -> None:
    """Return the memory that reading and writing tables took, before something that takes long."""
    pa.default_memory_pool().release_unused()


class Writer:
    """Writes a large table batch by batch, in a thread while the next rows are made."""

    def __init__(self, path: Path, schema: pa.Schema, part_bytes: int = 0) -> None:
        """`part_bytes`: of large values, so many are written together, and nothing is told of
        their order, or looked for that is twice."""
        options = {"use_dictionary": False, "write_statistics": False} if part_bytes else {}
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", **options)
        self._part_bytes = part_bytes
        self._bytes_waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="table-writer")
        self._writing: Future[None] | None = None
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._rows_waiting = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch | pl.DataFrame) -> None:
        if isinstance(batch, pl.DataFrame):
            # `oldest` has the schema's own types, so nothing is cast (see `storage.columns`).
            for part in batch.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches():
                self.add(part)
            return
        if not batch.num_rows:
            return
        self._waiting.append(batch)
        self._rows_waiting += batch.num_rows
        self.rows += batch.num_rows
        if self._part_bytes:
            self._bytes_waiting += batch.nbytes
        if self._rows_waiting >= ROWS_TOGETHER or self._bytes_waiting > self._part_bytes:
            self._flush()

    def close(self) -> None:
        """Write what is left; raises what any write raised."""
        try:
            self._wait()
            self._write(self._waiting)  # mostly all there is: no thread is needed for it
        finally:
            self._thread.shutdown()
            self._writer.close()

    def _flush(self) -> None:
        waiting, self._waiting, self._rows_waiting = self._waiting, [], 0
        self._bytes_waiting = 0
        self._wait()
        self._writing = self._thread.submit(self._write, waiting)

    def _write(self, batches: list[pa.RecordBatch]) -> None:
        if batches:
            table = pa.Table.from_batches(batches, self._schema)
            rows = None
            if self._part_bytes:
                rows = max(1, table.num_rows * self._part_bytes // max(table.nbytes, 1))
            self._writer.write_table(table, row_group_size=rows)

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            writing.result()


@contextmanager
def writing(path: Path, schema: pa.Schema, *, part_bytes: int = 0) -> Iterator[Writer]:
    """A `Writer` that is closed at the end, or whose file is removed when something fails."""
    with on_this_machine(path):
        writer = Writer(path, schema, part_bytes)
        try:
            yield writer
            writer.close()
        except BaseException:
            with suppress(OSError):  # the first error counts
                writer.close()
            path.unlink(missing_ok=True)
            raise
