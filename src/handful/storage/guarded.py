"""A store that writes only as long as its guard agrees: who lost a lock stops at the next write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from handful.storage.base import Entry, Source, Store

if TYPE_CHECKING:
    from upath import UPath


class Guarded:
    """`store`, asking `check` before every write; `check` raises what the writer should see.

    Pickled to another process it is the bare store: the guard looks after this process alone.
    """

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store = store
        self._check = check

    def __reduce__(self) -> tuple[Callable[[Store], Store], tuple[Store]]:
        return _bare, (self._store,)

    @property
    def url(self) -> str:
        return self._store.url

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        return self._store.list(prefix, near=near)

    def head(self, key: str) -> Entry:
        return self._store.head(key)

    def read(self, key: str) -> bytes:
        return self._store.read(key)

    def fetch(self, key: str, path: Path) -> None:
        self._store.fetch(key, path)

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        return self._store.fetch_tree(prefix, scratch)

    def path(self, key: str = "") -> Path | UPath:
        return self._store.path(key)

    def write(self, key: str, data: bytes) -> None:
        self._check()
        self._store.write(key, data)

    def create(self, key: str, data: bytes) -> bool:
        self._check()
        return self._store.create(key, data)

    def expect_create(self) -> None:
        self._check()
        self._store.expect_create()

    def send(self, path: Path, key: str) -> None:
        self._check()
        self._store.send(path, key)

    def send_tree(self, directory: Path, prefix: str, *, last: str = "") -> None:
        self._check()
        self._store.send_tree(directory, prefix, last=last)

    def delete(self, keys: Iterable[str]) -> None:
        self._check()
        self._store.delete(keys)

    def delete_tree(self, prefix: str) -> None:
        self._check()
        self._store.delete_tree(prefix)

    def move_tree(self, prefix: str, target: str, *, last: str = "") -> None:
        self._check()
        self._store.move_tree(prefix, target, last=last)

    def copy_from(self, source: Source, source_key: str, key: str) -> None:
        self._check()
        self._store.copy_from(source, source_key, key)

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        self._check()
        self._store.expect_copies(source, source_key, size)


def _bare(store: Store) -> Store:
    return store
