"""Documents that came with the label rows (FILES_URL = none), as a `Source` like any other.

They lie in one Parquet file, which is opened when the first one is read: mostly all have been
copied long ago. Some megabytes of it are held at once; whoever reads in the order of the rows reads
every part once.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa

from handful.errors import Absent, Damaged, StoreError
from handful.files import checksums
from handful.storage import atomic_write
from handful.storage.base import Entry
from handful.storage.columns import LISTING_SCHEMA, as_listing
from handful.storage.transfer_budget import TRANSFERS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow.parquet as pq

DOCUMENTS_SCHEMA = pa.schema(
    [
        ("nr", pa.uint32()),
        ("artifact_id", pa.large_string()),
        ("file", pa.large_string()),
        ("content", pa.large_binary()),
    ]
)
"""One row a document: the number of its label row, from 0, and what it is."""
PART_BYTES = 4 * 1024 * 1024
"""Of documents that are written, and read, together."""
_PARTS_HELD = 4
_READING_PLACE = "the documents of the label rows"


def etag_of(content: bytes | memoryview) -> str:
    """MD5, as the ETag of an object on S3: what tells the content of a document."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class RowFiles:
    """The documents of a snapshot; without one, of none."""

    def __init__(
        self, listing: Path | None = None, bring: Callable[[], Path] | None = None
    ) -> None:
        """`listing`: a Parquet file with key, size and etag of every document, in the order of the
        rows; `bring` says where they lie, as `DOCUMENTS_SCHEMA`, and is asked once."""
        self._listing = listing
        self._bring = bring
        self._lock = threading.Lock()
        self._index: _Index | None = None
        self._documents: _Documents | None = None

    @property
    def url(self) -> str:
        return "none"

    def list(
        self,
        prefix: str = "",
        *,
        near: Sequence[str] = (),  # noqa: ARG002 - the protocol's
    ) -> Iterator[pa.RecordBatch]:
        import polars as pl

        if self._listing is not None:
            chosen = self._opened().listing.filter(pl.col("key").str.starts_with(prefix))
            archived = pl.lit(None, pl.String).alias("archived")
            whole = chosen.unique("key").with_columns(archived)
            yield as_listing(whole.select(LISTING_SCHEMA.names))

    def head(self, key: str) -> Entry:
        return self._found(key)[0]

    def read(self, key: str) -> bytes:
        entry, place = self._found(key)
        with self._lock:
            if self._documents is None:
                if self._bring is None:
                    raise _absent(key)
                self._documents = _Documents.open(self._bring())
            content = self._documents.content(place)
        if etag_of(content) != entry.etag:
            raise Damaged(
                "is not what the snapshot says of it",
                where=_place_of(key),
                remedy="take production anew: `handful reconcile --refresh`",
            )
        return content

    def fetch(self, key: str, path: Path) -> str | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(atomic_write.name())
        content = self.download(key, part, str(path), flush=False)
        atomic_write.move_part_into_place(part, path, str(path))
        return content

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:  # noqa: ARG002 - a flush too many does no harm
        with TRANSFERS.taken(self.head(key).size):
            content = self.read(key)
            atomic_write.write_flushed_file(part, content, where)
        digest = checksums.QuickHash()
        digest.update(content)
        return str(digest)

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:  # noqa: ARG002 - the protocol's
        self._has_no_path(prefix)

    def path(self, key: str = "") -> Path:
        self._has_no_path(key)

    def _has_no_path(self, key: str) -> NoReturn:
        raise StoreError(
            "is a column of the label rows, and has no path",
            where=_place_of(key),
            remedy="read the copy in the store",
        )

    def _found(self, key: str) -> tuple[Entry, int]:
        place = self._opened().place(key) if self._listing else None
        if place is None:
            raise _absent(key)
        size, etag = self._opened().listing.select("size", "etag").row(place)
        return Entry(key, size, etag), place

    def _opened(self) -> _Index:
        import polars as pl

        with self._lock:
            if self._index is None:
                if self._listing is None:
                    raise _absent("")
                columns = ["key", "size", "etag"]
                self._index = _Index(pl.read_parquet(self._listing, columns=columns))
            return self._index


def _place_of(key: str) -> str:
    return f"{_READING_PLACE}: {key!r}"


def _absent(key: str) -> Absent:
    return Absent("is not among them", where=_place_of(key))


class _Index:
    """Where each key stands: twelve bytes a key, where a dictionary would take two hundred."""

    def __init__(self, listing: pl.DataFrame) -> None:
        import numpy as np

        self.listing = listing
        self._keys = listing["key"]
        hashes = np.fromiter(map(hash, self._keys), np.int64, len(self._keys))
        self._order = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._hashes = hashes[self._order]

    def place(self, key: str) -> int | None:
        """The first row with this key."""
        own = hash(key)
        at = int(self._hashes.searchsorted(own))
        while at < len(self._hashes) and self._hashes[at] == own:
            place = int(self._order[at])
            if self._keys[place] == key:
                return place
            at += 1
        return None


class _Documents:
    """The Parquet file, part by part. For one thread at a time."""

    def __init__(self, file: pq.ParquetFile, ends: Sequence[int]) -> None:
        self._file = file
        self._ends = ends
        """The number of documents up to the end of each part."""
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> _Documents:
        import pyarrow.parquet as pq

        with _undamaged():
            file = pq.ParquetFile(path)
        parts = range(file.metadata.num_row_groups)
        return cls(file, list(accumulate(file.metadata.row_group(n).num_rows for n in parts)))

    def content(self, place: int) -> bytes:
        part = bisect_right(self._ends, place)
        if part == len(self._ends):
            raise _damaged()
        held = self._held.get(part)
        if held is None:
            with _undamaged():
                held = self._file.read_row_group(part, columns=["content"]).column(0)
            self._held[part] = held
            if len(self._held) > _PARTS_HELD:
                self._held.popitem(last=False)
        before = self._ends[part - 1] if part else 0
        content: bytes = held[place - before].as_py()
        return content


@contextmanager
def _undamaged() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise _damaged() from error


def _damaged() -> Damaged:
    return Damaged("are damaged", where=_READING_PLACE, remedy="take production anew: --refresh")
