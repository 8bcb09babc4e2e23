"""Makes batches of `LABELS_SCHEMA` from the columns of a query."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from handful.errors import DataError, UserError
from handful.labels.base import LABELS_SCHEMA
from handful.labels.columns import Column, as_known, json_objects, nans, texts
from handful.labels.documents import column_of, contents
from handful.labels.reading import Batch, Rows

_LABEL_COLUMN_NAMES = ("artifact_id", "label", "file_hash")
_REQUIRED = ("artifact_id", "label")
_LABEL_BATCH_PLACE = "[production] LABEL_QUERY"


def label_batches(rows: Rows, documents: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The rows as batches of `LABELS_SCHEMA`, and of each of `documents` a column of its contents.

    Raises `DataError` if a column that must be there is missing, or a named one is there twice,
    and `UserError` if there is none for one of `documents`.
    """
    # Closed at once, whatever happens: the connection waits for what still reads from it.
    with closing(rows.batches) as batches, ThreadPoolExecutor(1) as thread:
        columns = _Columns.found(rows.names, documents)
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
    documents: tuple[tuple[int, str], ...]
    """Columns that are files, and these files' names."""

    @classmethod
    def found(cls, names: list[str], documents: Sequence[str] = ()) -> _Columns:
        """`DataError` if a required column is missing or a named one is there twice."""
        lower = [name.lower() for name in names]
        own = {column_of(file).lower() for file in documents}
        twice = [name for name in (*_LABEL_COLUMN_NAMES, *sorted(own)) if lower.count(name) > 1]
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
        files = tuple((_find_document_column(file, names), file) for file in documents)
        taken = {*named, *(index for index, _ in files)}
        others = [(index, name) for index, name in enumerate(names) if index not in taken]
        return cls(named, tuple(_apart(others)), files)

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
        files = {file: contents(columns[index], file) for index, file in self.documents}
        return _record_batch(spelled, files)


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


def with_documents(files: Sequence[str]) -> pa.Schema:
    """`LABELS_SCHEMA` with the contents of these files."""
    return pa.schema([*LABELS_SCHEMA, *(pa.field(file, pa.large_binary()) for file in files)])


def _record_batch(
    columns: Mapping[str, pl.Series], files: Mapping[str, pl.Series]
) -> pa.RecordBatch:
    """pyarrow itself would import pandas to look at a list: 50 MB for nothing."""
    oldest = pl.CompatLevel.oldest()
    series = [*(columns[name] for name in LABELS_SCHEMA.names), *files.values()]
    arrays = [one.to_arrow(compat_level=oldest) for one in series]
    return pa.RecordBatch.from_arrays(arrays, schema=with_documents(tuple(files)))


def _find_document_column(file: str, names: list[str]) -> int:
    lower, column = [name.lower() for name in names], column_of(file)
    if column.lower() in lower:
        return lower.index(column.lower())
    near = difflib.get_close_matches(column.lower(), lower, n=1, cutoff=0.6)
    extension = file.rpartition(".")[2]
    raise UserError(
        f"FILES_URL = none: {file!r} is the column {column!r}, which the query does not give; "
        f"it gives {', '.join(map(repr, names))}",
        where="settings.ini [production] FILES_FROM_PROD",
        remedy=f"perhaps {names[lower.index(near[0])]}.{extension}"
        if near
        else "write <column>.<extension>, or let LABEL_QUERY give that column",
    )


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
