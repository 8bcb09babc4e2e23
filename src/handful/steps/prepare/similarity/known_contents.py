"""What reconcile left of each artifact's files: who reads them compares.

In a local store by content (checksums.parquet), where they are encoded; in a bucket by the ETags of
its listing (copies.parquet), since a body that was changed on its way is noticed where it arrives.
A store of an earlier build says nothing of it, and is taken as it is.
"""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handful import layout
from handful.errors import Absent, Damaged
from handful.files import checksums
from handful.steps.prepare.encoding.instance import Instance
from handful.storage.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

Contents = Mapping[str, Mapping[str, str]]
"""Artifact id → file name → its content, as `checksums.content_of` tells it."""
_TELLS = r"^[0-9a-f]{32}(-\d+)?$"
"""An ETag that changes with the content alone, and with the number of parts that it came in."""
_PARTS = r"-(\d+)$"


class KnownContents:
    """Of a local store: the content of every file, as reconcile left it."""

    def __init__(self, store: Store) -> None:
        columns = ["artifact_id", "file", "content"]
        self._table = _read_contents_table(store, layout.CHECKSUMS, columns)
        self._ids = _Column(self._table.column("artifact_id")) if self._table else None

    def between(self, first: str, last: str) -> Contents:
        """Of the artifacts from `first` to `last`, in the order of their ids."""
        if self._table is None or self._ids is None:
            return {}
        begin, end = bisect_left(self._ids, first), bisect_right(self._ids, last)
        part = self._table.slice(begin, end - begin)
        found: dict[str, dict[str, str]] = {}
        columns = [part.column(name).to_pylist() for name in part.column_names]
        for artifact_id, file, content in zip(*columns, strict=True):
            found.setdefault(artifact_id, {})[file] = content
        return found


class _Column(Sequence[Any]):
    """A column as a sequence, of which a few values are looked at."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column.combine_chunks()

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        return self._column[place].as_py()


class KnownEtags:
    """Of a bucket: the ETag of every copy, as reconcile left it."""

    def __init__(self, store: Store, remedy: str) -> None:
        self._url, self._remedy = store.url, remedy
        table = _read_contents_table(store, layout.COPIES, ["artifact_id", "file", "etag"])
        self._known: Any = None
        if table is not None:
            import polars as pl

            self._known = pl.DataFrame(pl.from_arrow(table)).select(
                then="etag",
                key=pl.concat_str(pl.lit(layout.ARTIFACTS), "artifact_id", "file", separator="/"),
            )

    def check(self, batch: pa.RecordBatch) -> None:
        """`Damaged` if an object of this part of the listing is not what was copied."""
        if self._known is None:
            return
        import polars as pl

        here = pl.DataFrame(pl.from_arrow(batch)).select("key", "etag")
        both = here.join(self._known, on="key")
        # Whoever moved the store, here from a disk or in other parts, changed no content by that.
        alike = [pl.col(name).str.extract(_PARTS).fill_null("") for name in ("etag", "then")]
        told = [pl.col(name).str.contains(_TELLS) for name in ("etag", "then")]
        other = both.filter(*told, alike[0] == alike[1], pl.col("etag") != pl.col("then"))
        if other.height:
            key, more = str(other["key"][0]), other.height - 1
            words = f" ({more:,} more files, too)" if more else ""
            what = f"it is not what reconcile copied{words}"
            raise build_artifact_damage(f"{self._url}/{key}", what, self._remedy)


def check_contents(
    instances: Sequence[Instance], contents: Contents, but: Container[str], remedy: str
) -> None:
    """`Damaged` for a file that is not what reconcile left; artifacts in `but` are passed over."""
    for instance in instances:
        known = contents.get(instance.id)
        if known is None or instance.id in but:
            continue
        for path in instance.paths():
            name = path.as_posix().rpartition(f"/{instance.id}/")[2]
            expected = known.get(name)
            if expected and checksums.content_of(path, expected) != expected:
                raise build_artifact_damage(str(path), "it is not what reconcile left", remedy)


def build_artifact_damage(where: str, what: str, remedy: str) -> Damaged:
    """The error for a file of an artifact."""
    return Damaged(f"is damaged: {what}", where=where, remedy=remedy)


def _read_contents_table(store: Store, key: str, columns: list[str]) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(io.BytesIO(store.read(key)), columns=columns, read_dictionary=["file"])
    except Absent:
        return None
