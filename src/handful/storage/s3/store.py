"""A prefix of an S3 bucket as a store.

A put is whole or absent by S3's own promise; large files go in parts, which become visible
together (what an interrupted upload leaves is invisible, but paid for: give the bucket a lifecycle
rule that aborts incomplete uploads). See `create_fallback` for `create`, and
`copy` for copies.

Under a lock (see `Store.fenced`) each put carries a condition where the server honours it: what
this holder has last read, written or deleted at the key is what it replaces. A put of somebody who
lost the lock, however late it arrives, then finds that another has written there. Copies carry
none, and what goes in parts becomes visible after one more look at the lock.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from handful.errors import Absent
from handful.storage import retry, tree
from handful.storage.base import Fence, Source
from handful.storage.keys import folder
from handful.storage.local.oserrors import reading
from handful.storage.local.store import LocalSource
from handful.storage.rate_limit import Pace
from handful.storage.s3 import create_fallback
from handful.storage.s3.copy import NoCopyInParts, ServerCopy
from handful.storage.s3.session import Access
from handful.storage.s3.source import S3Source
from handful.storage.s3.stream import put_streamed, stream_memory_bytes
from handful.storage.several import resolve_holding_source
from handful.storage.transfer_budget import TRANSFERS

if TYPE_CHECKING:
    from obstore import PutMode, PutResult

PART = 16 * 1024 * 1024
"""Bytes a part; files up to this size go in one request."""
MAX_PARTS = 9_000
PARTS_AT_ONCE = 4
DELETE_AT_ONCE = 1_000


class S3Store(S3Source):
    """Reads and writes below a prefix of a bucket; the bucket must exist."""

    def __init__(
        self, bucket: str, prefix: str, access: Access | None = None, kms_key: str | None = None
    ) -> None:
        super().__init__(bucket, prefix, access, kms_key)
        self.fence: Fence | None = None
        self._seen: dict[str, str | None] = {}
        """Under a lock: key → the ETag that was last seen there; None: nothing was."""
        self._copies: dict[str, ServerCopy] = {}
        self._conditional: bool | None = None
        self._matching = False
        """Does the server honour If-Match? Known when `_conditional` is."""
        self._pace = Pace()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(
            state, _seen={}, _copies={}, _conditional=None, _pace=Pace(), _lock=threading.Lock()
        )

    def fenced(self, fence: Fence) -> Self:
        # Not `copy.copy`, which would forget, as pickling does, what was found out of the server.
        mine = object.__new__(type(self))
        vars(mine).update(vars(self), fence=fence, _seen={})
        return mine

    def read(self, key: str) -> bytes:
        if self.fence is None:
            return super().read(key)
        try:
            data, etag = self._read(key)
        except Absent:
            self._seen[key] = None
            raise
        self._seen[key] = etag
        return data

    def _read(self, key: str) -> tuple[bytes, str | None]:
        """Content and ETag, as the server writes it."""

        def once() -> tuple[bytes, str | None]:
            result = self._open_object(key)
            return b"".join(self._arriving(result, key)), result.meta["e_tag"]

        return retry.again(once)

    def write(self, key: str, data: bytes) -> None:
        self._learn(key)
        self._check()
        if self.fence is not None and key in self._seen:
            self._replace(key, data, self._seen[key])
            return
        with self._asking(key):
            self._put(key, data)

    def _learn(self, key: str) -> None:
        """See what stands at `key`, which this holder has not seen yet; before the last look at the
        lock, so that whoever slept until then is found out by that."""
        import obstore

        if self.fence is None or key in self._seen or not self._is_honoured(key):
            return
        full = self.full(key)
        try:
            found = self._call_with_retry(
                key, lambda: obstore.head(self.clients.bucket_store(), full)
            )
        except Absent:
            self._seen[key] = None
        else:
            self._seen[key] = found["e_tag"]

    def _put(self, key: str, data: bytes, mode: PutMode = "overwrite") -> PutResult:
        import obstore

        store, full = self.clients.bucket_store(), self.full(key)
        return obstore.put(store, full, data, chunk_size=PART, mode=mode)

    def _replace(self, key: str, data: bytes, seen: str | None) -> None:
        """Put `data` in the place of what was seen at `key`, as long as the lock is held."""
        if self.fence is None:
            raise ValueError("only who holds a lock puts over what it has seen")
        if not self._is_honoured(seen):
            self.fence.check_now()
            with self._asking(key):
                self._seen[key] = self._put(key, data)["e_tag"]
            return
        mode: PutMode = "create" if seen is None else {"e_tag": seen}

        def put() -> PutResult | None:
            try:
                return self._put(key, data, mode)
            except create_fallback.conflicts():
                return None

        done = self._call_with_retry(key, put)
        if done is None:
            # Of whom: of a taker; else of one that has lost the lock, or our own whose answer was.
            self.fence.check_now()
            with self._asking(key):
                done = self._put(key, data)
        self._seen[key] = done["e_tag"]

    def _is_honoured(self, seen: str | None) -> bool:
        return self._call_with_retry("", self._honours_conditions) and (
            seen is None or self._matching
        )

    def rewrite(self, key: str, change: Callable[[bytes], bytes | None]) -> bool:
        try:
            old, etag = self._read(key)
        except Absent:
            return False
        new = change(old)
        if new is None:
            return False
        matching = bool(etag) and self._is_honoured(etag)
        mode: PutMode = {"e_tag": etag} if matching else "overwrite"

        def put() -> bool:
            try:
                self._put(key, new, mode)
            except create_fallback.conflicts():
                return False
            return True

        return self._call_with_retry(key, put)

    @contextmanager
    def exclude_writers(self, key: str) -> Iterator[bool]:  # noqa: ARG002 - the protocol's
        """Nobody can be kept out; the conditions of their puts do it."""
        yield True

    def create(self, key: str, data: bytes) -> bool:
        """As in the protocol; by `create_fallback` where a put knows no condition.

        When the answer to a put that succeeded is lost, the repeated one finds it there: False.
        So let `data` say who wrote it, and look before believing that somebody else was first.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        full = self.full(key)
        self._check()

        def put_if_absent() -> bool:
            store = self.clients.bucket_store()
            if not self._honours_conditions():
                return create_fallback.create_by_claim(self.clients, self._root, full, data)
            try:
                obstore.put(store, full, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return self._call_with_retry(key, put_if_absent)

    def expect_create(self) -> None:
        self._call_with_retry("", self._honours_conditions)

    def _honours_conditions(self) -> bool:
        with self._lock:
            if self._conditional is None:
                found = create_fallback.probe_put_conditions(self.clients, self._root)
                self._conditional, self._matching = found.create, found.match
            return self._conditional

    def send(self, path: Path, key: str) -> None:
        self._learn(key)
        self._check()
        if self.fence is not None and key in self._seen:
            self._send_over(path, key, self._seen[key], self.fence)
        else:
            self._send(path, key)

    def _send(self, path: Path, key: str) -> None:
        import obstore

        full = self.full(key)
        with reading(str(path)), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
        part = _part_bytes(size)
        with TRANSFERS.taken(min(size, part * PARTS_AT_ONCE)), self._asking(key):
            obstore.put(
                self.clients.bucket_store(),
                full,
                path,
                chunk_size=part,
                max_concurrency=PARTS_AT_ONCE,
            )

    def send_tree(self, directory: Path, prefix: str, *, last: str = "") -> None:
        self._check()
        below = folder(prefix, self.url)
        names = tree.names(directory, last)
        if last:
            self.delete([below + last])
            names.remove(last)
        self.delete_tree(prefix)
        tree.each(lambda name: self._send_new(directory / name, below + name), names)
        if last:
            self._send_new(directory / last, below + last)

    def _send_new(self, path: Path, key: str) -> None:
        """`send` to where nothing is, as this holder has just seen to."""
        self._check()
        if self.fence is None:
            self._send(path, key)
        else:
            self._send_over(path, key, None, self.fence)

    def _send_over(self, path: Path, key: str, seen: str | None, fence: Fence) -> None:
        """`send` in the place of what was seen at `key`."""
        with reading(str(path)):
            size = path.stat().st_size
        if size <= PART:
            with TRANSFERS.taken(size):
                with reading(str(path)):
                    data = path.read_bytes()
                self._replace(key, data, seen)
        else:
            with TRANSFERS.taken(PART * PARTS_AT_ONCE):
                self._send_large(path, key, fence)
                self._seen.pop(key, None)

    def _send_large(self, path: Path, key: str, fence: Fence) -> None:
        """In parts, which may take long; they become visible together, after one more look."""
        import obstore

        full, part = self.full(key), _part_bytes(path.stat().st_size)
        with self._asking(key):
            writer = obstore.open_writer(
                self.clients.bucket_store(),
                full,
                buffer_size=part,
                max_concurrency=PARTS_AT_ONCE,
            )
        with reading(str(path)), path.open("rb") as file:
            while piece := file.read(part):
                with self._asking(key):
                    writer.write(piece)
        fence.check_now()
        with self._asking(key):
            writer.close()

    def _check(self) -> None:
        if self.fence is not None:
            self.fence.check()

    def delete(self, keys: Iterable[str]) -> None:
        rest = iter(keys)
        while batch := list(islice(rest, DELETE_AT_ONCE)):
            self._check()
            full = [self.full(key) for key in batch]
            self._call_with_retry(
                batch[0] if len(batch) == 1 else "", partial(self.clients.deleter.delete, full)
            )
            if self.fence is not None and len(batch) <= _REMEMBERED:
                self._seen |= dict.fromkeys(batch)

    def delete_tree(self, prefix: str) -> None:
        self._check()
        below = folder(prefix, self.url)
        self.delete(key for batch in self.list(below) for key in batch.column("key").to_pylist())

    def move_tree(self, prefix: str, target: str, *, last: str = "") -> None:
        self._check()
        below, beyond = folder(prefix, self.url), folder(target, self.url)
        there = {key.removeprefix(beyond): told for key, *told in self._entries(beyond)}
        moved = []
        for key, *told in sorted(self._entries(below), key=lambda entry: entry[0] == below + last):
            name = key.removeprefix(below)
            if name not in there:
                self.copy_from(self, key, beyond + name)
            if there.get(name, told) == told:
                moved.append(key)
        # The marker goes first: nobody shall find it with half of the rest.
        self.delete(key for key in moved if key == below + last)
        self.delete(key for key in moved if key != below + last)

    def _entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        for batch in self.list(prefix):
            yield from zip(*(batch.column(n).to_pylist() for n in batch.schema.names), strict=True)

    def copy_from(self, source: Source, source_key: str, key: str) -> str | None:
        self._check()
        source, source_key = resolve_holding_source(source, source_key)
        if isinstance(source, S3Source):
            if source.clients.access == self.clients.access:
                copy, original = self._server_copy(source).copy, source.full(source_key)
                try:
                    self._pace.keep(partial(copy, original, self.full(key)))
                except NoCopyInParts:
                    self._stream_from(source, source_key, key)
            else:
                self._stream_from(source, source_key, key)
        elif isinstance(source, LocalSource):
            self._send(source.file(source_key), key)
        else:
            with tempfile.TemporaryDirectory(prefix="handful-") as scratch:
                path = Path(scratch) / "file"
                source.fetch(source_key, path)
                self._send(path, key)
        return None  # its ETag tells its content

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        source, source_key = resolve_holding_source(source, source_key)
        if isinstance(source, S3Source) and source.clients.access == self.clients.access:
            probe = create_fallback.probe_key(self._root)
            with self._asking(""):
                self._server_copy(source).try_out(source.full(source_key), size, probe)

    def _server_copy(self, source: S3Source) -> ServerCopy:
        known = self._copies.get(source.bucket)
        if known is not None:
            return known
        with self._lock:
            found = self._copies.get(source.bucket)
            if found is None:
                found = self._copies[source.bucket] = ServerCopy(source.clients, self.clients)
            return found

    def _stream_from(self, source: S3Source, source_key: str, key: str) -> None:
        """Through this machine, piece by piece: no one principal may read there and write here."""

        full, size = self.full(key), source.head(source_key).size
        part = _part_bytes(size)
        with TRANSFERS.taken(min(2 * size, stream_memory_bytes(part))):
            if size <= PART:
                data = source.read(source_key)
                with self._asking(key):
                    self._put(key, data)
                return
            retry.again(
                lambda: put_streamed(
                    self.clients, full, source.body(source_key), part, self._where(key)
                )
            )


def _part_bytes(size: int) -> int:
    """Large enough that an object has no more parts than S3 allows."""
    return max(PART, size // MAX_PARTS + 1)


_NOT_PICKLED = {"_seen", "_copies", "_conditional", "_pace", "_lock"}
_REMEMBERED = 100
"""Keys of one deletion: a step's own files are few, and what is pruned is not written again."""
