"""A store that compares what it reads with what the records say was written.

It also notes the checksum of everything that it writes and that a record will name. Before a file
that a record names is replaced by another, the record forgets it: whoever is killed in between
leaves no file that seems to be damaged.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.errors import Absent, Damaged
from handful.files import checksums
from handful.files.checksums import FILES, Checksum
from handful.storage.base import Entry, Fence, Source, Store

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath


@dataclass(frozen=True)
class Rules:
    """What the keys of a store mean."""

    listed_in: Callable[[str], Sequence[str]]
    """The records that may name a file."""
    checks_itself: Callable[[str], bool]
    """Is it JSON with a checksum of its own?"""
    remedy: Callable[[str], str]
    """What makes a file again."""


class CheckedStore:
    """`store`, with everything that is read compared; `Damaged` names the file and the remedy.

    Pickled to another process it is the bare store.
    """

    def __init__(self, store: Store, rules: Rules) -> None:
        self._store = store
        self._rules = rules
        self._lists: dict[str, dict[str, Checksum]] = {}
        self._written: dict[str, Checksum] = {}
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Callable[[Store], Store], tuple[Store]]:
        return _itself, (self._store,)

    # --- what only this store can ------------------------------------------------------------

    @property
    def bare(self) -> Store:
        """The store behind."""
        return self._store

    @property
    def fence(self) -> Fence | None:
        return self._store.fence

    def fenced(self, fence: Fence) -> CheckedStore:
        """The same, with what it knows."""
        found = CheckedStore(self._store.fenced(fence), self._rules)
        found._lists, found._written, found._lock = self._lists, self._written, self._lock
        return found

    def expected(self, key: str) -> Checksum | None:
        """How the file was written; None if nobody says."""
        with self._lock:
            if key in self._written:
                return self._written[key]
            for record in self._rules.listed_in(key):
                if found := self._list(record).get(key):
                    return found
        return None

    def note(self, files: checksums.Files) -> None:
        """What another process wrote, as it told."""
        with self._lock:
            self._written.update(files)

    def written(self) -> dict[str, Checksum]:
        """What this process wrote, and what it was told of."""
        with self._lock:
            return dict(self._written)

    def distrust(self, record: str) -> None:
        """Ask `record` no more: it is damaged, and made again."""
        with self._lock:
            self._lists[record] = {}

    def overlook(self, keys: Iterable[str]) -> None:
        """Take these as they are from now on: they are made again."""
        with self._lock:
            for key in keys:
                self._written.pop(key, None)
                for record in self._rules.listed_in(key):
                    self._list(record).pop(key, None)

    def check_folder(self, prefix: str, folder: Path) -> None:
        """Compare the local `folder` with what is known of the store's files below `prefix`."""
        for key, expected in self._below(prefix).items():
            path = folder / key.removeprefix(f"{prefix}/")
            if not path.is_file():
                raise self.damaged(key, "it is gone")
            self._compare(key, expected, checksums.of_file(path))

    def damaged(self, key: str, what: str) -> Damaged:
        """The error for it."""
        return Damaged(
            f"is damaged: {what}",
            where=f"{self.url}/{key}",
            remedy=self._rules.remedy(key),
        )

    # --- reading -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._store.url

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        return self._store.list(prefix, near=near)

    def head(self, key: str) -> Entry:
        return self._store.head(key)

    def read(self, key: str) -> bytes:
        expected = self.expected(key)
        with self._absence_as_damage(key, expected):
            data = self._store.read(key)
        if expected:
            self._compare(key, expected, checksums.of_bytes(data))
        elif self._rules.checks_itself(key) and (fault := checksums.fault_of_json(data)):
            raise self.damaged(key, fault)
        return data

    def fetch(self, key: str, path: Path) -> str | None:
        return self._fetch_and_compare(key, path, lambda: self._store.fetch(key, path))

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        return self._fetch_and_compare(
            key, part, lambda: self._store.download(key, part, where, flush=flush)
        )

    def _fetch_and_compare(
        self, key: str, path: Path, call: Callable[[], str | None]
    ) -> str | None:
        expected = self.expected(key)
        with self._absence_as_damage(key, expected):
            content = call()
        if expected:
            try:
                self._compare(key, expected, checksums.of_file(path))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return content

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        folder = self._store.fetch_tree(prefix, scratch)
        self.check_folder(prefix.rstrip("/"), folder)
        return folder

    def path(self, key: str = "") -> Path | UPath:
        return self._store.path(key)

    # --- writing -----------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        if not self._rules.checks_itself(key):
            if self._is_listed(key):
                self._replace(key, checksums.of_bytes(data))
            self._store.write(key, data)
            return
        self._store.write(key, checksums.seal(data))
        with self._lock:
            self._lists.pop(key, None)

    def create(self, key: str, data: bytes) -> bool:
        return self._store.create(key, data)

    def rewrite(self, key: str, change: Callable[[bytes], bytes | None]) -> bool:
        return self._store.rewrite(key, change)

    def exclude_writers(self, key: str) -> AbstractContextManager[bool]:
        return self._store.exclude_writers(key)

    def expect_create(self) -> None:
        self._store.expect_create()

    def send(self, path: Path, key: str) -> None:
        if self._is_listed(key):
            self._replace(key, checksums.of_file(path))
        self._store.send(path, key)

    def send_tree(self, directory: Path, prefix: str, *, last: str = "") -> None:
        below = prefix.rstrip("/")
        if records := self._rules.listed_in(f"{below}/file"):
            new = {f"{below}/{n}": one for n, one in checksums.of_folder(directory).items()}
            self._drop(records, lambda key: key.startswith(f"{below}/") and key not in new)
            for key, found in new.items():
                if self._is_listed(key):
                    self._replace(key, found)
        self._store.send_tree(directory, prefix, last=last)

    def delete(self, keys: Iterable[str]) -> None:
        gone = [*keys]
        records = {record for key in gone for record in self._rules.listed_in(key)}
        if records:
            self._drop(records, frozenset(gone).__contains__)
        if not any(map(self._rules.checks_itself, gone)):
            self._store.delete(gone)
            return
        with self._lock:  # none of these is written anew by a thread that forgets a file of it
            self._store.delete(gone)
            for key in gone:
                self._lists.pop(key, None)

    def delete_tree(self, prefix: str) -> None:
        self._drop_below(prefix)
        self._store.delete_tree(prefix)

    def move_tree(self, prefix: str, target: str, *, last: str = "") -> None:
        self._drop_below(prefix)
        self._drop_below(target)
        self._store.move_tree(prefix, target, last=last)

    def copy_from(self, source: Source, source_key: str, key: str) -> str | None:
        return self._store.copy_from(source, source_key, key)

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        self._store.expect_copies(source, source_key, size)

    def _is_listed(self, key: str) -> bool:
        return bool(self._rules.listed_in(key))

    def _drop_below(self, prefix: str) -> None:
        below = prefix.rstrip("/")
        if records := self._rules.listed_in(f"{below}/file"):
            self._drop(records, lambda key: key.startswith(f"{below}/"))

    # --- what the records say ----------------------------------------------------------------

    @contextmanager
    def _absence_as_damage(self, key: str, expected: Checksum | None) -> Iterator[None]:
        try:
            yield
        except Absent:
            if expected is None:
                raise
            raise self.damaged(key, "it is gone") from None

    def _compare(self, key: str, expected: Checksum, found: Checksum) -> None:
        wrong = checksums.difference(expected, found)
        if wrong and not self._is_replaced(key, found):
            raise self.damaged(key, wrong)

    def _is_replaced(self, key: str, found: Checksum) -> bool:
        """Has another process written `found` since the records were read? Then they say so now."""
        with self._lock:
            for record in self._rules.listed_in(key):
                try:
                    self._lists[record] = checksums.from_json(self._raw(record).get(FILES))
                except Damaged:
                    continue
                if self._lists[record].get(key) == found:
                    self._written.pop(key, None)
                    return True
        return False

    def _below(self, prefix: str) -> dict[str, Checksum]:
        """All that is known below a folder."""
        with self._lock:
            known = {
                key: one
                for record in reversed(self._rules.listed_in(f"{prefix}/file"))
                for key, one in self._list(record).items()
            }
            return {
                key: one
                for key, one in (known | self._written).items()
                if key.startswith(f"{prefix}/")
            }

    def _list(self, record: str) -> dict[str, Checksum]:
        """What one record says, read when it is first asked for. A damaged one raises."""
        if record not in self._lists:
            self._lists[record] = checksums.from_json(self._raw(record).get(FILES))
        return self._lists[record]

    def _raw(self, record: str) -> dict[str, Any]:
        try:
            data = self._store.read(record)
        except Absent:
            return {}
        if fault := checksums.fault_of_json(data):
            raise self.damaged(record, fault)
        found: dict[str, Any] = json.loads(data)
        return found

    def _replace(self, key: str, found: Checksum) -> None:
        """`found` is about to be written at `key`."""
        with self._lock:
            for record in self._rules.listed_in(key):
                if self._list(record).get(key, found) != found:
                    self._forget(record, {key})
            self._written[key] = found

    def _drop(self, records: Iterable[str], keys: Callable[[str], bool]) -> None:
        """What is at `keys` is about to go."""
        with self._lock:
            for key in [*filter(keys, self._written)]:
                del self._written[key]
            for record in records:
                self._forget(record, {*filter(keys, self._list(record))})

    def _forget(self, record: str, keys: Collection[str]) -> None:
        """Write the record anew, without these of its files."""
        if not keys:
            return
        left = {key: one for key, one in self._list(record).items() if key not in keys}
        told = {**self._raw(record), FILES: checksums.to_json(left)}
        told.pop(checksums.MEMBER, None)
        text = json.dumps(told, indent=2, ensure_ascii=False)
        self._store.write(record, checksums.seal(f"{text}\n".encode()))
        self._lists[record] = left


def list_written_files(store: Store) -> dict[str, Checksum]:
    """What this process wrote of what a record names."""
    return store.written() if isinstance(store, CheckedStore) else {}


def note_files(store: Store, told: Any) -> None:
    """What a worker says that it wrote (`checksums.to_json`)."""
    if isinstance(store, CheckedStore):
        store.note(checksums.from_json(told))


def check_local(store: Store, prefix: str, folder: Path) -> None:
    """Compare a local copy of the store's folder `prefix` with what is known of that."""
    if isinstance(store, CheckedStore):
        store.check_folder(prefix, folder)


def bare(store: Store) -> Store:
    """The store itself, of which nothing is compared."""
    return store.bare if isinstance(store, CheckedStore) else store


def _itself(store: Store) -> Store:
    return store
