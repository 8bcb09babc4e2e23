"""A local directory as a source and as a store.

What is written is first written aside, below `.handful-tmp` in the root (so on the same file
system), flushed to the disk, and then renamed into place: a reader sees the old file or the new
one, never half of one. What a killed process left aside is removed by the next writer.

Symbolic links: a link to a file inside the root is read as that file; a link that leads out of
the root is never followed (its key is `Denied`, and a listing passes over it, as it does over
broken links); linked folders are not descended into when listing, so that no circle can trap it.

Who writes under a lock (see `Store.fenced`) renames and deletes while nobody can take the lock over
(see `handful.storage.lock_guard`).
"""

from __future__ import annotations

import copy
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from handful.errors import Absent, Denied, Locked, StoreError
from handful.files.paths import LONGEST_NAME, LONGEST_PATH
from handful.storage import atomic_write, lock_guard, tree
from handful.storage.base import Entry, Fence, Source
from handful.storage.keys import HIDDEN, check_key, check_key_prefix, folder
from handful.storage.local.oserrors import reading, writing
from handful.storage.local.walk import batches, etag, files_below

if TYPE_CHECKING:
    import pyarrow as pa

    from handful.storage.sampling import KeyCollector

_CHECK_ROOT = "check the directory's name, or its mount"


class LocalSource:
    """Reads below a directory. Nothing here writes to it."""

    missing_root_is_empty = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return str(self._root)

    def list(
        self,
        prefix: str = "",
        *,
        near: Sequence[str] = (),  # noqa: ARG002 - the protocol's
    ) -> Iterator[pa.RecordBatch]:
        check_key_prefix(prefix, self.url)
        if not self._root.exists():
            if self.missing_root_is_empty:
                return
            raise Absent("is not there", where=self.url, remedy=_CHECK_ROOT)
        # Asked second: another process may make the directory between the two questions.
        if not self._root.is_dir():
            raise Absent("is not a directory", where=self.url, remedy=_CHECK_ROOT)
        yield from batches(files_below(self._root, prefix))

    def sample(self, into: KeyCollector) -> None:
        """See `storage.sampling.Sampleable`; a root that is no directory raises `Absent`."""
        from handful.storage.local.sample import sample_directory

        if not self._root.is_dir():
            what = "is not a directory" if self._root.exists() else "is not there"
            raise Absent(what, where=self.url, remedy=_CHECK_ROOT)
        sample_directory(self._root, into)

    def head(self, key: str) -> Entry:
        path = self.file(key)
        with reading(self._where(key)):
            status = path.stat()
        return Entry(key, status.st_size, etag(status))

    def read(self, key: str) -> bytes:
        path = self.file(key)
        with reading(self._where(key)):
            return path.read_bytes()

    def fetch(self, key: str, path: Path) -> str | None:
        source = self.file(key)
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(atomic_write.name())
        content = atomic_write.copy_file_with_mtime(source, part, self._where(key), str(path))
        atomic_write.move_part_into_place(part, path, str(path))
        return content

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        return atomic_write.copy_file_with_mtime(
            self.file(key), part, self._where(key), where, flush=flush
        )

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:  # noqa: ARG002 - the protocol's
        below = folder(prefix, self.url)
        path = self._path(below.rstrip("/")) if below else self._root
        if next(iter(files_below(self._root, below)), None) is None:
            raise Absent("holds no file", where=self._where(prefix))
        return path

    def path(self, key: str = "") -> Path:
        """The path of `key`; pathlib's own, since the directory is local."""
        return self._path(key.rstrip("/")) if key.strip("/") else self._root

    def _where(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{key}" if key else self.url

    def _path(self, key: str) -> Path:
        """The path of `key`; `Denied` if a symbolic link on the way leads out of the root."""
        path = self._root / check_key(key, self.url)
        _check_length(path, key, self._where(key))
        if self._leads_out(key):
            raise Denied(
                "a symbolic link leads out of the root, so it is not followed",
                where=self._where(key),
                remedy="copy the file to where the link stands",
            )
        return path

    def _leads_out(self, key: str) -> bool:
        """Does a link below the root, if there is one on the way, lead out of it?"""
        place = str(self._root)
        for part in key.split("/"):
            place += f"/{part}"
            try:
                status = os.lstat(place)
            except OSError:  # there is nothing, or nothing that can be looked at: no link
                return False
            if stat.S_ISLNK(status.st_mode):
                with reading(self._where(key)):
                    real, root = os.path.realpath(self._root / key), os.path.realpath(self._root)
                return not real.startswith(root.rstrip("/") + "/")
        return False

    def file(self, key: str) -> Path:
        """The path of the file at `key`; `Absent` if there is none."""
        path = self._path(key)
        with reading(self._where(key)):
            found = path.is_file()
            if not found:
                path.stat()  # says why, where the reason is a permission
        if not found:
            raise Absent("is not a file", where=self._where(key))
        return path


class LocalStore(LocalSource):
    """Reads and writes below a directory; a missing root is made by the first write."""

    missing_root_is_empty = True
    fence: Fence | None = None

    def fenced(self, fence: Fence) -> Self:
        mine = copy.copy(self)
        mine.fence = fence
        return mine

    def write(self, key: str, data: bytes) -> None:
        self._check()
        self._place(self._write_aside(key, data), key, lasting=True)

    def create(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        if path.is_file():
            return False
        part = self._write_aside(key, data)
        try:
            with self._last_moment():
                return atomic_write.move_part_if_absent(part, path, self._where(key))
        finally:
            part.unlink(missing_ok=True)

    def rewrite(self, key: str, change: Callable[[bytes], bytes | None]) -> bool:
        """In place: whoever reads meanwhile may see some bytes of either content."""
        path = self._path(key)
        try:
            with reading(self._where(key)):
                file = path.open("r+b")
        except Absent:
            return False
        with writing(self._where(key)), file:
            old = file.read()
            new = change(old)
            if new is None:
                return False
            if len(new) != len(old):
                raise ValueError(f"{len(old)} bytes cannot be rewritten by {len(new)}")
            os.pwrite(file.fileno(), new, 0)
        return True

    @contextmanager
    def exclude_writers(self, key: str) -> Iterator[bool]:
        with ExitStack() as stack:
            with writing(self._where(key)):
                alone = stack.enter_context(lock_guard.close(self._path(key)))
            yield alone

    def expect_create(self) -> None:
        """Nothing has to be found out here."""

    def send(self, path: Path, key: str) -> None:
        self._check()
        self._path(key)
        part = self._aside(key)
        atomic_write.copy_file_with_mtime(path, part, str(path), self._where(key))
        self._place(part, key)

    def copy_from(self, source: Source, source_key: str, key: str) -> str | None:
        self._check()
        self._path(key)  # refuses a bad key before anything is written
        if isinstance(source, LocalSource):
            source.file(source_key)  # what is not there makes no folder here
        part = self._aside(key)
        try:
            content = source.download(source_key, part, self._where(key), flush=True)
            atomic_write.move_part_into_place(part, self._path(key), self._where(key))
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return content

    def expect_copies(self, source: Source, source_key: str, size: int) -> None:
        """Nothing has to be found out here."""

    def send_tree(self, directory: Path, prefix: str, *, last: str = "") -> None:
        below = folder(prefix, self.url)
        staged = self._aside(prefix)
        self._check_apart(directory, below)
        self._check()
        try:
            names = self._stage_tree(directory, staged, last)
            with self._last_moment():
                if last:
                    self._delete(f"{below}{last}")
                self._delete_tree(prefix)
                for name in names:
                    key = f"{below}{name}"
                    atomic_write.move_part_into_place(
                        staged / name, self._path(key), self._where(key)
                    )
            if last:
                atomic_write.flush_folder(self._path(f"{below}{last}").parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with self._last_moment():
                self._delete(key)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        if path.is_dir() and not path.is_symlink():
            return  # no object has this key; folders only carry them
        try:
            with writing(self._where(key)):
                path.unlink()
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                raise
        self._prune(path.parent)

    def delete_tree(self, prefix: str) -> None:
        with self._last_moment():
            self._delete_tree(prefix)

    def _delete_tree(self, prefix: str) -> None:
        below = folder(prefix, self.url)
        if not below:
            for child in self._children():
                _remove_local_path(child)
            return
        path = self._path(below.rstrip("/"))
        if path.is_dir() and not path.is_symlink():
            _remove_local_path(path)
            self._prune(path.parent)

    def move_tree(self, prefix: str, target: str, *, last: str = "") -> None:
        with self._last_moment():
            self._move_tree(prefix, target, last)

    def _move_tree(self, prefix: str, target: str, last: str) -> None:
        old = self._path(folder(prefix, self.url).rstrip("/"))
        new = self._path(folder(target, self.url).rstrip("/"))
        if not old.is_dir():
            return
        with writing(self._where(target)):
            new.parent.mkdir(parents=True, exist_ok=True)
            # Where the file system takes two spellings for one name, it is that name's spelling.
            if not new.exists() or new.samefile(old):
                old.rename(new)
                return
        marker = folder(prefix, self.url) + last
        entries = files_below(self._root, folder(prefix, self.url))
        for entry in sorted(entries, key=lambda entry: entry.key == marker):
            self._move(entry.key, f"{target}/{entry.key[len(prefix) + 1 :]}", entry.etag)

    def _move(self, key: str, target: str, its_etag: str) -> None:
        old, new = self._path(key), self._path(target)
        with writing(self._where(target)):
            if not new.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                old.rename(new)
            elif etag(new.stat()) == its_etag:
                old.unlink()
        self._prune(old.parent)

    def _children(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        with reading(self.url):
            return [child for child in self._root.iterdir() if child.name != HIDDEN]

    def _write_aside(self, key: str, data: bytes) -> Path:
        self._path(key)  # refuses a bad key before anything is written
        part = self._aside(key)
        atomic_write.write_flushed_file(part, data, self._where(key))
        return part

    def _aside(self, key: str) -> Path:
        """A fresh name to write aside for `key`; its folder exists."""
        with writing(self._where(key)):
            return atomic_write.place(self._root / HIDDEN)

    def _place(self, part: Path, key: str, *, lasting: bool = False) -> None:
        """Move `part` to `key`; it is gone afterwards in any case."""
        path = self._path(key)
        try:
            with self._last_moment():
                atomic_write.move_part_into_place(part, path, self._where(key))
        finally:
            part.unlink(missing_ok=True)
        if lasting:
            atomic_write.flush_folder(path.parent)

    def _check(self) -> None:
        if self.fence is not None:
            self.fence.check()

    @contextmanager
    def _last_moment(self) -> Iterator[None]:
        """Write during the body: the lock is held, and stays so. `Locked` if it is lost."""
        fence = self.fence
        if fence is None:
            yield
            return
        fence.check()
        lock, above = self._root / fence.key, self._root / fence.above
        with ExitStack() as stack:
            with writing(self._where(fence.key)):
                mine = stack.enter_context(lock_guard.enter(lock, above, fence.token))
            if not mine:
                fence.check_now()
                raise Locked(
                    "the lock could not be looked at in the last moment of a write",
                    where=self._where(fence.key),
                    remedy="run the same command again",
                )
            yield

    def _stage_tree(self, directory: Path, staged: Path, last: str) -> list[str]:
        """Copy `directory` to `staged`, whole, before anything old goes; the names, `last` last."""
        names = tree.names(directory, last)
        for name in names:
            target = staged / name
            with writing(str(target)):
                target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write.copy_file_with_mtime(
                directory / name, target, str(directory / name), self._where(name)
            )
        return names

    def _check_apart(self, directory: Path, below: str) -> None:
        real, target = directory.resolve(), (self._root / below).resolve()
        if real == target or target in real.parents or real in target.parents:
            raise StoreError(
                f"{directory} and its destination lie in one another",
                where=self._where(below),
                remedy="write the tree somewhere else first",
            )

    def _prune(self, path: Path) -> None:
        """Remove folders that became empty: on S3 they would not exist either."""
        while path != self._root and self._root in path.parents:
            try:
                path.rmdir()
            except OSError:
                return  # not empty, or someone was faster
            path = path.parent


def _check_length(path: Path, key: str, where: str) -> None:
    """Asked before any question such as `is_dir`, which would answer with an error of its own."""
    if 4 * len(str(path)) <= LONGEST_NAME:
        return
    longest = max(len(os.fsencode(part)) for part in key.split("/"))
    if longest > LONGEST_NAME or len(os.fsencode(path)) > LONGEST_PATH:
        with reading(where):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _remove_local_path(path: Path) -> None:
    with writing(str(path)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
