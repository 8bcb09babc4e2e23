"""A prefix of an S3 bucket as a source.

Works through obstore's blocking calls, from as many threads as the caller likes (its asynchronous
ones sometimes abort the interpreter at exit). See `listing` for keys that no path may have.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from handful.errors import Absent, StoreError, Unreachable
from handful.files import checksums
from handful.storage import atomic_write, retry, tree
from handful.storage.base import Entry
from handful.storage.keys import check_key, check_key_prefix, folder
from handful.storage.local.oserrors import writing
from handful.storage.s3.arrival import Arrival, check_arrival
from handful.storage.s3.clients import Clients
from handful.storage.s3.errors import answer_of, asking
from handful.storage.s3.listing import list_bucket_objects
from handful.storage.s3.session import Access
from handful.storage.transfer_budget import TRANSFERS

if TYPE_CHECKING:
    import pyarrow as pa
    from obstore import GetResult
    from upath import UPath

    from handful.storage.sampling import KeyCollector

T = TypeVar("T")
Piece = bytes | memoryview

BODY_CHUNK = 4 * 1024 * 1024
HELD = 2 * BODY_CHUNK
"""What a download may hold: the piece that is written, and what has arrived of the next."""
LONGEST_KEY = 1_024
"""Bytes of UTF-8, the prefix included: S3's own limit."""


class S3Source:
    """Reads below a prefix of a bucket. Nothing here writes to it.

    Nothing is asked before the first call.
    """

    def __init__(
        self, bucket: str, prefix: str, access: Access | None = None, kms_key: str | None = None
    ) -> None:
        """`kms_key` encrypts what is written, in a subclass that writes."""
        self.clients = Clients(access or Access(), bucket, kms_key)
        self.bucket = bucket
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self._root}".rstrip("/")

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        check_key_prefix(prefix, self.url)
        return list_bucket_objects(self.clients, self._root, prefix, self._where(prefix), near)

    def sample(self, into: KeyCollector) -> None:
        """See `storage.sampling.Sampleable`; keys of `into` are relative to the root."""
        from handful.storage.s3.sample import sample_bucket

        sample_bucket(self.clients, self._root, self.url, into)

    def head(self, key: str) -> Entry:
        import obstore

        full = self.full(key)
        found = self._call_with_retry(key, lambda: obstore.head(self.clients.bucket_store(), full))
        return Entry(key, found["size"], (found["e_tag"] or "").strip('"'))

    def read(self, key: str) -> bytes:
        return retry.again(lambda: b"".join(self.body(key)))

    def fetch(self, key: str, path: Path) -> str | None:
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(atomic_write.name())
        content = self.download(key, part, str(path), flush=False)
        atomic_write.move_part_into_place(part, path, str(path))
        return content

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        return retry.again(lambda: self._download(key, part, where, flush=flush))

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        below = folder(prefix, self.url)
        with writing(str(scratch)):
            scratch.mkdir(parents=True, exist_ok=True)
            target = Path(tempfile.mkdtemp(dir=scratch, prefix="tree-"))
        keys = {key for batch in self.list(below) for key in batch.column("key").to_pylist()}
        if not keys:
            raise Absent("holds no file", where=self._where(prefix))

        def fetch_into_tree(key: str) -> None:
            self.fetch(key, target / check_key(key, self.url)[len(below) :])

        tree.each(fetch_into_tree, keys)
        return target

    def path(self, key: str = "") -> UPath:
        """The path of `key` for universal-pathlib, with this store's server and credentials."""
        from upath import UPath

        where = key.rstrip("/")
        full = self.full(where) if where else self._root.rstrip("/")
        access = self.clients.access
        # A listing that is kept would hide what others wrote meanwhile.
        options: dict[str, Any] = {"use_listings_cache": False}
        options["client_kwargs"] = {"region_name": self.clients.region}
        if self.clients.ca_bundle:
            options["client_kwargs"]["verify"] = self.clients.ca_bundle
        options["config_kwargs"] = retry.checksums()
        if access.endpoint_url:
            options["endpoint_url"] = access.endpoint_url
        if access.role_arn:
            options.update(self.clients.login())  # s3fs knows no roles; these last an hour or so
        elif access.profile:
            options["profile"] = access.profile
        if self.clients.extra:
            options["s3_additional_kwargs"] = self.clients.extra
        found: UPath = UPath(f"s3://{self.bucket}/{full}", **options)
        return found

    def full(self, key: str) -> str:
        """The key in the bucket."""
        full = self._root + check_key(key, self.url)
        if 4 * len(full) > LONGEST_KEY and len(full.encode()) > LONGEST_KEY:
            raise StoreError(
                f"the key is longer than the {LONGEST_KEY:,} bytes that S3 allows",
                where=self._where(key),
                remedy="shorten the file's name, or the prefix",
            )
        return full

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._root}{key}".rstrip("/")

    @contextlib.contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """`asking`, which also notes that the server answers, with whatever."""
        try:
            with asking(self._where(key), self.bucket):
                yield
        except Unreachable:
            raise
        except StoreError:
            self.clients.answered = True
            raise
        self.clients.answered = True

    def _call_with_retry(self, key: str, call: Callable[[], T]) -> T:
        """`call()` with the store's own errors, again while the connection breaks off."""

        def call_once() -> T:
            with self._asking(key):
                return call()

        return retry.again(call_once)

    def body(self, key: str) -> Iterator[Piece]:
        """The content in pieces; `BrokenOff` if it ends early, or is not what the ETag tells."""
        yield from self._arriving(self._open_object(key), key)

    def _open_object(self, key: str) -> GetResult:
        """The answer, of which only the head has arrived; `BrokenOff` here, too."""
        import obstore

        full = self.full(key)
        with self._asking(key):
            return obstore.get(self.clients.bucket_store(), full)

    def _arriving(self, result: GetResult, key: str) -> Iterator[Piece]:
        size, arrival = result.meta["size"], Arrival(result.meta["e_tag"])
        try:
            for piece in _pieces(result, size):
                arrival.add(piece)
                yield piece
        except Exception as error:
            answer = answer_of(error)
            if answer is None:
                raise
            raise retry.BrokenOff(answer.words, where=self._where(key)) from None
        if arrival.size != size:
            raise retry.BrokenOff(f"{arrival.size} of {size} bytes arrived", where=self._where(key))
        with self._asking(key):
            check_arrival(self.clients, self.full(key), arrival, self._where(key))

    def _roomy(self, key: str) -> Iterator[Piece]:
        """`body`, as many at once as there is room for what they hold."""
        result = self._open_object(key)
        with TRANSFERS.taken(min(2 * result.meta["size"], HELD)) as waited:
            # No server keeps an answer open for as long as others may take.
            yield from self._arriving(self._open_object(key) if waited else result, key)

    def _download(self, key: str, part: Path, where: str, *, flush: bool) -> str:
        digest = checksums.QuickHash()
        try:
            with writing(where), part.open("wb", buffering=0) as file:
                for piece in self._roomy(key):
                    digest.update(piece)
                    atomic_write.write_all(file, piece)
                if flush:
                    os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return str(digest)


def _pieces(result: GetResult, size: int) -> Iterator[Piece]:
    if size <= BODY_CHUNK:
        yield memoryview(result.bytes())  # quicker than a stream of one piece
    else:
        yield from result.stream(min_chunk_size=BODY_CHUNK)
