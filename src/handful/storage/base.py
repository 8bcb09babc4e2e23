"""The protocol of a place that keeps files: a local directory or a prefix of an S3 bucket.

Keys are relative to the store's root, with `/` between the parts, never beginning with one. A
`Source` can only be read, so a type checker proves that nothing writes to production; a `Store`
can be written too.

Every method raises `Absent`, `Denied`, `Archived`, `Unreachable` or `Full` from `handful.errors`
and tells them apart: an access that is denied is never read as an absence. Temporary faults
(throttling, resets, server errors) have been retried before they are raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath

MARKERS = b"folder_markers"


def markers_left_out(batch: pa.RecordBatch) -> int:
    """How many markers of folders were left out of this batch of a listing."""
    return int((batch.schema.metadata or {}).get(MARKERS, b"0"))


@dataclass(frozen=True)
class Entry:
    """One object: its key, its size in bytes, and the rest of `columns.LISTING_SCHEMA`."""

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
        """Every object whose key begins with `prefix`, as batches of `columns.LISTING_SCHEMA`.

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

    def fetch(self, key: str, path: Path) -> str | None:
        """Write the content of `key` to the local `path`: aside first, then renamed.

        What it returns tells the content (see `checksums.content_of`); None if nobody looked.

        For scratch: whole or absent while this machine runs, but not flushed to its disk.
        """

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        """Write the content of `key` to the new local file `part`, which nobody else reads yet.

        What it returns is as of `fetch`. Errors of writing name `where`. With `flush` it is on the
        disk then. Its folder exists; nothing is left there on failure.
        """

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        """A local directory that holds everything below the folder `prefix`.

        A local store answers with the directory itself, which must be treated as read-only; S3 is
        downloaded in parallel to a folder below `scratch` that is returned. `Absent` if there is
        nothing below `prefix`.
        """

    def path(self, key: str = "") -> Path | UPath:
        """A pathlib-like path of `key`, for the user's own functions."""


class Fence(Protocol):
    """The token of a lock, and whether it still stands (see `handful.storage.lock`)."""

    @property
    def token(self) -> str:
        """Of whoever holds the lock; another holder has another one."""

    @property
    def key(self) -> str:
        """The holder's file in the lock's folder."""

    @property
    def above(self) -> str:
        """The file of whoever takes the lock over."""

    def to_json(self) -> Mapping[str, Any]:
        """What another process of the holder needs to look for itself (`lock.watched`)."""

    def check(self) -> None:
        """`Locked` if the token no longer stands; asks the store only now and then."""

    def check_now(self) -> None:
        """`check`, asking the store at once."""


@runtime_checkable
class Store(Source, Protocol):
    """A place that can be written, too. A write is whole or absent, never half."""

    @property
    def fence(self) -> Fence | None:
        """Asked before every write; None: anybody may write."""

    def fenced(self, fence: Fence) -> Self:
        """The same place, for whoever holds the lock of `fence`: who lost it gets `Locked`.

        Where the store can, a write that was under way when the lock was lost does not come
        through: a local directory lets nobody take the lock during the last moment of a write
        (see `exclude_writers`), and a server that honours conditions is told what this holder has
        last seen at the key. Copies only `check`: whoever makes them, they are the same.

        Pickled to another process it carries the token, and looks for itself whether that stands.
        """

    def write(self, key: str, data: bytes) -> None:
        """Put `data` at `key`, replacing what was there.

        `data`: the whole content, held in memory; a large file is better sent.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Put `data` at `key` only if nothing is there; False if something is.

        `data`: the whole content.
        """

    def rewrite(self, key: str, change: Callable[[bytes], bytes | None]) -> bool:
        """Put `change(content)` in the place of the content of `key`, of the same length.

        False if `key` is absent, `change` gives None, or somebody else was faster. What is gone is
        not made again; but on a server that ignores conditions it may be, in the moment between
        the look and the put.

        `change` is given the whole content, and gives as many bytes.
        """

    def exclude_writers(self, key: str) -> AbstractContextManager[bool]:
        """Keep those whose fence is the lock's file `key` from writing during the body.

        False if that cannot be had soon, since one of them stands still in the middle of a write.
        Where the store cannot keep them out, nothing is done.
        """

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

    def copy_from(self, source: Source, source_key: str, key: str) -> str | None:
        """Copy one object of `source` to `key` here, by the fastest way both sides allow.

        What it returns tells the content of a local copy; None if it has not passed this machine.

        Server side for S3 to S3, a byte copy for local to local (with its modification time,
        never a link to the original), streamed otherwise.
        """

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        """Many copies from `source` will follow; `source_key` is one of its objects, of `size`.

        What the first of them would have to find out, while the others wait, is found out now.
        Nothing of it is left here. Raises what a copy would.

        `size`: in bytes.
        """
