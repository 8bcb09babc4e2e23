"""Writes a local file aside, whole and flushed, and moves it into place in one step."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from handful.errors import StoreError
from handful.files import checksums
from handful.storage.local.oserrors import reading, writing

_REFLINK = 0x40049409
"""Linux's FICLONE: the copy shares its blocks with the original until one of them changes."""
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_COPY_PIECE_BYTES = 1 << 17
"""Bytes: what was read is still in the processor's cache when it is hashed and written."""
_RENAME_TRIES = 20
"""How often a folder that another thread pruned is made again."""

_cleaned: set[tuple[int, Path]] = set()


def name() -> str:
    """A fresh hidden file name that tells whose it is."""
    return f".{mark()}.part"


def mark() -> str:
    """A fresh name that tells whose it is."""
    return f"{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(8)}"


def is_left_behind(mark: str) -> bool:
    """Was it made on this machine, by a process that is no longer alive?"""
    host, _, rest = mark.rpartition("~")[0].rpartition("~")
    return host == socket.gethostname() and rest.isdigit() and not _alive(int(rest))


def place(directory: Path) -> Path:
    """A fresh name in `directory`, which is made, and cleaned of what dead writers left."""
    if not os.path.isdir(directory):  # noqa: PTH112 - before every copy: quicker than pathlib's
        directory.mkdir(parents=True, exist_ok=True)
    if (os.getpid(), directory) not in _cleaned:
        _cleaned.add((os.getpid(), directory))
        _remove_dead_parts(directory)
    return directory / name()


def write_flushed_file(path: Path, data: bytes, where: str) -> None:
    """Write `data` to `path` and flush it to the disk; nothing is left behind on failure.

    `data`: the whole content.
    """
    try:
        with writing(where), path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered file, which may take it in parts."""
    while data:
        written = file.write(data)
        if not written:
            raise OSError(errno.EIO, "nothing of it was written")
        if written == len(data):
            return
        data = memoryview(data)[written:]


def copy_file_with_mtime(
    source: Path, path: Path, named: str, where: str, *, flush: bool = True
) -> str | None:
    """Copy the file `source` to the new file `path` with its modification time, and flush it.

    What tells its content, unless it was not read.

    By reflink where the file system can, else byte by byte; never by a hard link, through which
    a later write would reach the original. `StoreError` if the original changed meanwhile.
    """
    with reading(named):
        original = source.open("rb", buffering=0)
    try:
        with original, writing(where), path.open("xb", buffering=0) as copy:
            before = os.fstat(original.fileno())
            digest = None
            if not _try_reflink_copy(original.fileno(), copy.fileno()):
                digest = checksums.QuickHash()
                buffer = memoryview(bytearray(_COPY_PIECE_BYTES))
                while count := original.readinto(buffer):
                    digest.update(buffer[:count])
                    write_all(copy, buffer[:count])
            after = os.fstat(original.fileno())
            if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
                raise StoreError("changed while it was copied", where=named, remedy="try again")
            os.utime(copy.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
            if flush:
                os.fsync(copy.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return None if digest is None else str(digest)


def move_part_into_place(part: Path, path: Path, where: str) -> None:
    """Move `part` to `path`, replacing what was there; `part` is gone afterwards in any case."""
    try:
        with writing(where):
            _into_folder(part, path, os.replace)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def move_part_if_absent(part: Path, path: Path, where: str) -> bool:
    """Move `part` to `path` unless something is there: then False. One winner among many."""
    try:
        with writing(where):
            _into_folder(part, path, _exclusively)
            flush_folder(path.parent)
    except StoreError as error:
        if isinstance(error.__cause__, FileExistsError):
            return False
        raise
    finally:
        part.unlink(missing_ok=True)
    return True


def _into_folder(part: Path, path: Path, move: Callable[[Path, Path], None]) -> None:
    for tries in range(_RENAME_TRIES):
        try:
            if tries:  # mostly it is there
                _make_part_folder(path.parent)
            move(part, path)
        except FileNotFoundError:
            # It is not there yet, or someone pruned the empty folder between the two calls.
            if tries == _RENAME_TRIES - 1 or not part.exists():
                raise
        else:
            return


def _make_part_folder(path: Path) -> None:
    """Make the folder; FileNotFoundError, to be tried again, if it comes and goes meanwhile."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if any(map(_is_no_folder, (path, *path.parents))):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)
            ) from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error


def _is_no_folder(path: Path) -> bool:
    """Is something else there? One look: between two of them a folder may go."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _exclusively(part: Path, path: Path) -> None:
    """Rename `part` unless `path` exists: FileExistsError then."""
    try:
        # Both names are ours and the first goes at once: a link is the exclusive rename.
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Without links: claim the name first. A reader may see it empty for a moment.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        part.replace(path)


def flush_folder(path: Path) -> None:
    """Flush a folder, so that a new name in it outlives a power cut.

    For markers and small files; thousands of copies, found again by a listing, do without.
    """
    with suppress(OSError):  # some file systems cannot; the file itself is safe
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _try_reflink_copy(original: int, copy: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(copy, _REFLINK, original)
    except (ImportError, OSError) as error:
        if getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        return False
    return True


def _remove_dead_parts(directory: Path) -> None:
    """Remove what writers of this machine left that are no longer alive."""
    for part in directory.iterdir():
        if is_left_behind(part.name.removeprefix(".")):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
