"""The protocol of a place that keeps files: a local directory or a prefix of an S3 bucket.

Keys are relative to the store's root, with `/` between the parts, never beginning with one. A
`Source` can only be read, so a type checker proves that nothing writes to production; a `Store`
can be written too.

Every method raises `Absent`, `Denied`, `Archived`, `Unreachable` or `Full` from `handful.errors`
and tells them apart: an access that is denied is never read as an absence. Temporary faults
(throttling, resets, server errors) have been retried before they are raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

if TYPE_CHECKING:
    from upath import UPath

LISTING_SCHEMA = pa.schema(
    [
        ("key", pa.large_string()),
        ("size", pa.int64()),
        ("etag", pa.large_string()),
        ("archived", pa.large_string()),
    ]
)
"""One row an object: key relative to the root, size in bytes, etag, archived.

`etag` changes when the content changes. On S3 it is the object's ETag without quotes; in a local
directory `mtime-<ns>-<size>`, which copies keep. `archived` is the storage class of an object that
has to be restored before it can be read, null for all others.
"""


MARKERS = b"folder_markers"


def markers_left_out(batch: pa.RecordBatch) -> int:
    """How many markers of folders were left out of this batch of a listing."""
    return int((batch.schema.metadata or {}).get(MARKERS, b"0"))


@dataclass(frozen=True)
class Entry:
    """One object: its key, its size in bytes, and the rest of `LISTING_SCHEMA`."""

    key: str
    size: int
    etag: str
    archived: str | None = None
    """As a listing tells it; `head` does not."""


@runtime_checkable
class Source(Protocol):
    """A place whose files can be listed and read."""

    @property
    def url(self) -> str:
        """The root, as a person would write it: `s3://bucket/prefix` or an absolute path."""

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """Every object whose key begins with `prefix`, as batches of `LISTING_SCHEMA`.

        Markers of folders (see `handful.storage.markers`) are left out, and counted (see
        `markers_left_out`). `prefix` is compared as text (`a/b` finds `a/bc`). In no particular
        order. An empty or missing folder gives nothing; a missing bucket or root directory
        raises `Absent`.
        `near` changes nothing but the time it takes: keys, in order, about a page apart in what
        the caller expects to be there, at which a store may begin to read in many places at once.
        """

    def head(self, key: str) -> Entry:
        """The entry of `key`."""

    def read(self, key: str) -> bytes:
        """The whole content of `key`; for small files."""

    def fetch(self, key: str, path: Path) -> None:
        """Write the content of `key` to the local `path`: aside first, then renamed.

        For scratch: whole or absent while this machine runs, but not flushed to its disk.
        """

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        """A local directory that holds everything below the folder `prefix`.

        A local store answers with the directory itself, which must be treated as read-only; S3 is
        downloaded in parallel to a folder below `scratch` that is returned. `Absent` if there is
        nothing below `prefix`.
        """

    def path(self, key: str = "") -> Path | UPath:
        """A pathlib-like path of `key`, for the user's own functions."""


@runtime_checkable
class Store(Source, Protocol):
    """A place that can be written, too. A write is whole or absent, never half."""

    def write(self, key: str, data: bytes) -> None:
        """Put `data` at `key`, replacing what was there."""

    def create(self, key: str, data: bytes) -> bool:
        """Put `data` at `key` only if nothing is there; False if something is."""

    def expect_create(self) -> None:
        """`create` will follow: what the first of them would have to find out is found out now."""

    def send(self, path: Path, key: str) -> None:
        """Put the content of the local file `path` at `key`."""

    def send_tree(self, directory: Path, prefix: str, *, last: str = "") -> None:
        """Put a local directory below the folder `prefix`, replacing everything there.

        Whoever sees the file named `last` (relative to `directory`; the marker) sees the whole
        tree: the old one is removed first, marker first, and the marker is written last.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are absent already are passed over."""

    def delete_tree(self, prefix: str) -> None:
        """Remove everything below the folder `prefix`."""

    def move_tree(self, prefix: str, target: str, *, last: str = "") -> None:
        """Move everything below the folder `prefix` to below the folder `target`.

        Whoever sees the file named `last` (relative to both; the marker) below `target` sees all
        that was moved there.

        What stands there stays: of an equal file (size and etag) only that one is left, and one
        that differs is left in both places. Whoever is killed meanwhile leaves every file in one
        place or in both, and may begin again. Nothing below `prefix`: nothing is done.
        """

    def copy_from(self, source: Source, source_key: str, key: str) -> None:
        """Copy one object of `source` to `key` here, by the fastest way both sides allow.

        Server side for S3 to S3, a byte copy for local to local (with its modification time,
        never a link to the original), streamed otherwise.
        """

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        """Many copies from `source` will follow; `source_key` is one of its objects, of `size`.

        What the first of them would have to find out, while the others wait, is found out now.
        Nothing of it is left here. Raises what a copy would.
        """
