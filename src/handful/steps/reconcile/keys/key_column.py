"""Takes production by FILE_KEY_COLUMN: no listing, but one look at each file that a row names.

What these looks found is kept beside the snapshot's other two tables, so that production need not
be asked again:

    listing.parquet      what is there, as any listing shows it: each key of an artifact once
    file_keys.parquet    reference (what the database says), file, key, and for what cannot be had
                         its fate and reason

A look that nobody answers ends the step and keeps nothing. A look that is denied costs the
artifact, up to MAX_FAILED of them: it is never taken for an absence.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from handful.errors import Absent, DataError, Full, StoreError, Unreachable
from handful.labels.base import LabelSource
from handful.progress import Progress
from handful.records import Fate
from handful.settings import Settings
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.keys.names import quote_names
from handful.steps.reconcile.keys.references import Resolver, name_of, resolver, without_query
from handful.steps.reconcile.pool import in_threads
from handful.storage.base import Source

LISTED = ["artifact_id", "file", "key", "size", "etag"]
MADE_FROM = "[production] FILE_KEY_COLUMN"
THREADS = 128
"""Looks at once, unless COPY_CONCURRENCY is less: 3,700 a second where each takes 30 ms. S3 allows
5,500 for a prefix."""
_TOGETHER = 50_000
"""Looks that are held as Python's, which take ten times as much room as a table's."""
_TELL_SECONDS = 0.1
_FILE_KEY_COLUMN_PLACE = "settings.ini [production] FILE_KEY_COLUMN"


class Look(NamedTuple):
    """What one look found."""

    reference: str
    """What the database says."""
    file: str
    key: str | None = None
    fate: str | None = None
    """None: it is there."""
    reason: str | None = None
    size: int | None = None
    etag: str | None = None


LOOKS = pl.Schema({name: pl.Int64 if name == "size" else pl.String for name in Look._fields})
KEPT = list(Look._fields[:5])
"""The columns of file_keys.parquet."""


@dataclass(frozen=True)
class Found:
    """What the looks found."""

    listing: pl.DataFrame
    keys: pl.DataFrame
    """`KEPT`: every reference once."""


@dataclass
class Watched:
    """The label rows as they pass, and what they say of files."""

    labels: LabelSource
    column: str
    seen: list[pl.DataFrame] = field(default_factory=list)

    def rows(self) -> Iterator[pa.RecordBatch]:
        for batch in self.labels.rows():
            columns = ("artifact_id", "row")
            table = pl.DataFrame({name: pl.Series(batch.column(name)) for name in columns})
            named = table.filter(pl.col("artifact_id").is_not_null())
            # Of nothing but its first row a batch can tell that it has no such column.
            found = references(named if named.height else table, self.column)
            self.seen.append(found.select("artifact_id", "reference").drop_nulls())
            yield batch

    def references(self) -> pl.DataFrame:
        """artifact_id, reference: each pair once, in order. `DataError` if there is none."""
        found = pl.concat(self.seen).unique().sort("artifact_id", "reference")
        if found.is_empty():
            raise DataError(
                f"the column {self.column!r} is empty in every label row that has an id",
                where=_FILE_KEY_COLUMN_PLACE,
                remedy="let LABEL_QUERY give the key of each file there",
            )
        return found


def references(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """`rows`, which have a `row`, once for each file that `column` names there: `reference`.

    A text is one, a list (or the JSON of one) as many as it holds; NULL and blanks are none.
    `DataError` if the rows have no such column.
    """
    if rows.is_empty():
        return rows.with_columns(reference=pl.lit(None, pl.String))
    name = _find_key_column_name(rows["row"][0], column)
    told = rows.with_columns(reference=pl.col("row").str.json_path_match(f"$['{name}']"))
    told = told.filter(pl.col("reference").str.strip_chars() != "")
    is_list = pl.col("reference").str.starts_with("[")
    lists = told.filter(is_list)
    items = pl.Series([_items(text) for text in lists["reference"]], dtype=pl.List(pl.String))
    many = lists.with_columns(reference=items).explode("reference")
    return pl.concat([told.filter(~is_list), many.filter(pl.col("reference").is_not_null())])


def take_named(files: Source, watched: Watched, settings: Settings, progress: Progress) -> Found:
    """Look at every file that the label rows name.

    `DataError` if none of them can be had; `StepError` if too many looks fail.
    """
    named = watched.references()
    artifacts = named["artifact_id"].n_unique()
    troubles = Troubles(settings.reconcile.MAX_FAILED, artifacts)
    looks = look(files, named, troubles, settings, progress)
    _check_some(looks, files.url)
    return Found(files_of(named, looks), looks.select(KEPT).sort("reference"))


def files_of(named: pl.DataFrame, looks: pl.DataFrame) -> pl.DataFrame:
    """`LISTED`: whatever `named` (artifact_id, reference) led to and is there, in order."""
    there = named.join(looks.filter(pl.col("fate").is_null()), on="reference")
    return there.select(LISTED).unique(["artifact_id", "key"]).sort("artifact_id", "key")


def look(
    files: Source, named: pl.DataFrame, troubles: Troubles, settings: Settings, progress: Progress
) -> pl.DataFrame:
    """`Look`, for every reference of `named`: artifact_id, reference.

    Raises what nobody answered, and `StepError` when MAX_FAILED does not allow so many failures.
    """
    resolve = resolver_of(settings, files)
    todo = named["reference"].unique()
    tables_found = [pl.DataFrame(schema=LOOKS)]
    found: list[Look] = []
    failed: list[Look] = []
    told = time.monotonic()
    threads = min(THREADS, settings.reconcile.COPY_CONCURRENCY, todo.len())
    looks = in_threads(
        lambda reference: _look_up_file_key(resolve, files, reference), todo, threads
    )
    for done, (_, one, error) in enumerate(looks, start=1):
        if error is not None or one is None:
            raise error or TypeError("a look gives something")
        found.append(one)
        if len(found) >= _TOGETHER:
            tables_found.append(pl.DataFrame(found, LOOKS, orient="row"))
            found = []
        if one.fate == Fate.COPY_FAILED:
            failed.append(one)
            if len(failed) & (len(failed) - 1) == 0:  # not after each of a million
                _stop_if_too_many(failed, named, troubles)
        if time.monotonic() - told > _TELL_SECONDS or done == todo.len():
            told = time.monotonic()
            progress.advance("looking at files", done, todo.len(), "files")
    _stop_if_too_many(failed, named, troubles)
    return pl.concat([*tables_found, pl.DataFrame(found, LOOKS, orient="row")])


def resolver_of(settings: Settings, files: Source) -> Resolver:
    production = settings.production
    return resolver(files.url, production.FILE_BUCKETS, production.S3_ENDPOINT_URL)


def _look_up_file_key(resolve: Resolver, files: Source, reference: str) -> Look:
    """What is not allowed is not looked at."""
    resolved = resolve.resolve(reference)
    said = f"the key {quote_names([without_query(reference)])}"
    if resolved.fault:
        return _fault(reference, None, Fate.UNSAFE_NAME, f"{said} {resolved.fault}")
    key = resolved.key
    try:
        entry = files.head(key)
    except Absent:
        return _fault(reference, key, Fate.MISSING_FILES, f"{said} names no file that is there")
    except (Unreachable, Full):
        raise
    except StoreError as error:
        reason = f"{said} could not be looked at: {' '.join(str(error).split())}"
        return _fault(reference, key, Fate.COPY_FAILED, reason)
    name = key.rpartition("/")[2]
    return Look(reference, name, key, size=entry.size, etag=entry.etag)


def _fault(reference: str, key: str | None, fate: Fate, reason: str) -> Look:
    file = name_of(reference) if key is None else key.rpartition("/")[2]
    return Look(reference, file, key, fate.value, reason)


def _stop_if_too_many(failed: list[Look], named: pl.DataFrame, troubles: Troubles) -> None:
    if not failed:
        return
    lost = pl.DataFrame({"reference": [one.reference for one in failed]})
    count = named.join(lost, on="reference", how="semi")["artifact_id"].n_unique()
    if not troubles.limit.allows(count, troubles.artifacts):
        raise troubles.too_many(count, [str(one.reason) for one in failed])


def _check_some(looks: pl.DataFrame, url: str) -> None:
    if looks["fate"].null_count():
        return
    reasons = looks.sort("reference")["reason"].head(3).to_list()
    raise DataError(
        f"none of the {looks.height:,} keys that the label rows give can be used:"
        + "".join(f"\n  {reason}" for reason in reasons),
        where=f"[production] FILES_URL = {url}",
        remedy="a key begins at FILES_URL; one of another bucket is s3://bucket/key, and "
        "FILE_BUCKETS lists the bucket",
    )


def told(keys: pl.LazyFrame, made_from: Mapping[str, str]) -> dict[str, Any]:
    """For summary.json: what became of the keys, and what cannot be known."""
    fates = dict(keys.group_by("fate").len().collect().iter_rows())
    return {
        "total": sum(fates.values()),
        "given_by_column": made_from[MADE_FROM],
        "found": fates.get(None, 0),
        "unsafe": fates.get(Fate.UNSAFE_NAME.value, 0),
        "absent": fates.get(Fate.MISSING_FILES.value, 0),
        "not_looked_at": fates.get(Fate.COPY_FAILED.value, 0),
        "no_label_row": NOT_KNOWN,
    }


NOT_KNOWN = (
    "cannot be known: FILE_KEY_COLUMN names the files and nothing is listed, so artifacts that no "
    "label row names are not seen"
)


def _find_key_column_name(row: str, column: str) -> str:
    """The column's name as the rows spell it: exactly so, or else in another case."""
    names = list(json.loads(row))
    if column in names:
        return column
    same = [name for name in names if name.lower() == column.lower()]
    if len(same) == 1 and not set("'\"\\") & set(same[0]):
        return str(same[0])
    near = difflib.get_close_matches(column, names, n=1)
    raise DataError(
        f"the query gives no column {column!r} beside the artifact's id and label; it gives "
        f"{quote_names(names) or 'none'}",
        where=_FILE_KEY_COLUMN_PLACE,
        remedy=f"is it {near[0]!r}?" if near else f"let LABEL_QUERY give it: … AS {column}",
    )


def _items(text: str) -> Iterable[str]:
    """What a JSON list holds; the text itself if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    if not isinstance(found, list):
        return [text]
    texts = [one if isinstance(one, str) else json.dumps(one) for one in found if one is not None]
    return [one for one in texts if one.strip()]
