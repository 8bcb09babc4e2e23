"""Label rows from any database that SQLAlchemy can talk to, streamed and never written to."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from handful.errors import DataError
from handful.labels.base import LABELS_SCHEMA
from handful.labels.values import as_json, as_text
from handful.progress import Progress, Silent

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult

BATCH = 10_000
_NAMED = ("artifact_id", "label", "file_hash")
_REQUIRED = ("artifact_id", "label")
_WHERE = "[production] LABEL_QUERY"


@dataclass(frozen=True)
class DatabaseLabels:
    """The rows of `query` on the database at the SQLAlchemy URL `url`.

    Columns are found by name, whatever their case. The query is looked at before it is sent, and
    the connection may not write, see `handful.labels.statements` and
    `handful.labels.connection`; its transaction is rolled back at the end.
    """

    url: str = field(repr=False)
    query: str
    progress: Progress = field(default_factory=Silent, repr=False, compare=False)
    scratch: Path | None = field(default=None, repr=False, compare=False)
    """A folder on this machine, for private copies and a database's temporary files."""

    def rows(self) -> Iterator[pa.RecordBatch]:
        from sqlalchemy.exc import DBAPIError

        from handful.labels.connection import connected_read_only, parsed
        from handful.labels.failures import translated
        from handful.labels.statements import check_statement

        url = parsed(self.url)
        check_statement(self.query, url, self.progress)
        connected = False
        try:
            with connected_read_only(url, self.progress, self.scratch) as connection:
                connected = True
                yield from _batches(_executed(connection, self.query))
        except DBAPIError as error:
            # The cause is left out: drivers may put the whole connection string into theirs.
            raise translated(error, url, connected=connected) from None


def _executed(connection: Connection, query: str) -> CursorResult[Any]:
    """The open result of `query`, exactly as written: no `:name` or `%` in it is interpreted."""
    options: dict[str, Any] = {"no_parameters": True, "yield_per": BATCH}
    # A trailing semicolon has no place in the cursor that a server declares for the query.
    result = connection.exec_driver_sql(query.strip().rstrip(";"), execution_options=options)
    if not result.returns_rows:
        raise DataError("the query returns no rows", where=_WHERE, remedy="write a SELECT")
    return result


def _batches(result: CursorResult[Any]) -> Iterator[pa.RecordBatch]:
    columns = _Columns.found(list(result.keys()))
    for rows in result.partitions(BATCH):
        yield columns.batch(rows)


@dataclass(frozen=True)
class _Columns:
    """Where the named columns stand in a row, and the names of the others."""

    named: tuple[int | None, ...]
    others: tuple[tuple[int, str], ...]

    @classmethod
    def found(cls, names: list[str]) -> _Columns:
        """`DataError` if a required column is missing or a named one is there twice."""
        lower = [name.lower() for name in names]
        twice = [name for name in _NAMED if lower.count(name) > 1]
        if twice:
            raise DataError(
                f"the query gives the column {twice[0]!r} {lower.count(twice[0])} times",
                where=_WHERE,
                remedy="name the columns one by one instead of *",
            )
        missing = [name for name in _REQUIRED if name not in lower]
        if missing:
            raise _missing(missing, names)
        named = tuple(lower.index(name) if name in lower else None for name in _NAMED)
        others = [(index, name) for index, name in enumerate(names) if index not in named]
        return cls(named, tuple(_apart(others)))

    def batch(self, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
        texts = [
            pa.nulls(len(rows), pa.large_string())
            if index is None
            else _texts([as_text(row[index]) for row in rows])
            for index in self.named
        ]
        row = _texts([self._row(row) for row in rows])
        return pa.RecordBatch.from_arrays([*texts, row], schema=LABELS_SCHEMA)

    def _row(self, row: Sequence[Any]) -> str:
        return as_json({name: row[index] for index, name in self.others})


def _texts(values: list[str | None]) -> pa.Array:
    """A column. pyarrow itself would import pandas to look at a list: 50 MB for nothing."""
    import polars as pl

    return pl.Series(values, dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.oldest())


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
        where=_WHERE,
        remedy=f"perhaps {', '.join(hints)}" if hints else "give the columns these names with AS",
    )
