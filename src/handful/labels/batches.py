"""Makes batches of `LABELS_SCHEMA` from the columns of a query."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from handful.errors import DataError
from handful.labels.base import LABELS_SCHEMA
from handful.labels.columns import Column, as_known, json_objects, nans, texts
from handful.labels.reading import Batch, Rows

_LABEL_COLUMN_NAMES = ("artifact_id", "label", "file_hash")
_REQUIRED = ("artifact_id", "label")
_LABEL_BATCH_PLACE = "[production] LABEL_QUERY"


def label_batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    """The rows as batches of `LABELS_SCHEMA`.

    Raises `DataError` if a column that must be there is missing, or a named one is there twice.
    """
    # Closed at once, whatever happens: the connection waits for what still reads from it.
    with closing(rows.batches) as batches, ThreadPoolExecutor(1) as thread:
        columns = _Columns.found(rows.names)
        before: Future[pa.RecordBatch] | None = None
        for batch in batches:
            now = thread.submit(columns.batch, batch)  # spelled while the next one is read
            if before:
                yield before.result()
            before = now
        if before:
            yield before.result()


@dataclass(frozen=True)
class _Columns:
    """Where the named columns stand in a row, and the names of the others."""

    named: tuple[int | None, ...]
    others: tuple[tuple[int, str], ...]

    @classmethod
    def found(cls, names: list[str]) -> _Columns:
        """`DataError` if a required column is missing or a named one is there twice."""
        lower = [name.lower() for name in names]
        twice = [name for name in _LABEL_COLUMN_NAMES if lower.count(name) > 1]
        if twice:
            raise DataError(
                f"the query gives the column {twice[0]!r} {lower.count(twice[0])} times",
                where=_LABEL_BATCH_PLACE,
                remedy="name the columns one by one instead of *",
            )
        missing = [name for name in _REQUIRED if name not in lower]
        if missing:
            raise _missing(missing, names)
        named = tuple(lower.index(name) if name in lower else None for name in _LABEL_COLUMN_NAMES)
        others = [(index, name) for index, name in enumerate(names) if index not in named]
        return cls(named, tuple(_apart(others)))

    def batch(self, batch: Batch) -> pa.RecordBatch:
        columns = [as_known(column) for column in batch()]
        size = len(columns[0])
        spelled: dict[str, pl.Series] = {}
        strange: dict[str, pl.Series] = {}
        for name, index in zip(_LABEL_COLUMN_NAMES, self.named, strict=True):
            spelled[name], found = (
                (pl.repeat(None, size, dtype=pl.String, eager=True), None)
                if index is None
                else texts(columns[index])
            )
            if found is not None:
                strange[name] = found
        if self.named[1] is not None:
            spelled["label"] = _without_nans(spelled["label"], columns[self.named[1]])
        spelled["row"] = json_objects({name: columns[index] for index, name in self.others}, size)
        spelled["kept_as_text"] = _list_strange_columns(strange, size)
        return _record_batch(spelled)


def _without_nans(labels: pl.Series, column: Column) -> pl.Series:
    """A number that is none is no label."""
    where = nans(column)
    return labels.scatter(pl.Series(where).arg_true(), None) if any(where) else labels


def _list_strange_columns(strange: Mapping[str, pl.Series], size: int) -> pl.Series:
    """Which of the named columns holds a value that stands as the database's own text."""
    if not strange:
        return pl.repeat(None, size, dtype=pl.String, eager=True)
    told = [pl.when(pl.col(name)).then(pl.lit(name)) for name in strange]
    joined = pl.concat_str(told, separator=",", ignore_nulls=True)
    return pl.DataFrame(strange).select(v=pl.when(joined != "").then(joined))["v"]


def _record_batch(columns: Mapping[str, pl.Series]) -> pa.RecordBatch:
    """pyarrow itself would import pandas to look at a list: 50 MB for nothing."""
    oldest = pl.CompatLevel.oldest()
    arrays = [columns[name].to_arrow(compat_level=oldest) for name in LABELS_SCHEMA.names]
    return pa.RecordBatch.from_arrays(arrays, schema=LABELS_SCHEMA)


def _apart(columns: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The columns, with a number behind a name that is there already (`name_2`)."""
    seen: set[str] = set()
    for index, name in columns:
        own, count = name, 1
        while own in seen:
            count += 1
            own = f"{name}_{count}"
        seen.add(own)
        yield index, own


def _missing(missing: list[str], names: list[str]) -> DataError:
    nearest = {
        name: difflib.get_close_matches(name, [n.lower() for n in names], n=1, cutoff=0.3)
        for name in missing
    }
    hints = [
        f"SELECT {names[[n.lower() for n in names].index(near[0])]} AS {name}"
        for name, near in nearest.items()
        if near
    ]
    return DataError(
        f"the query gives no column {' and no column '.join(map(repr, missing))}; "
        f"it gives {', '.join(names) or 'none'}",
        where=_LABEL_BATCH_PLACE,
        remedy=f"perhaps {', '.join(hints)}" if hints else "give the columns these names with AS",
    )
