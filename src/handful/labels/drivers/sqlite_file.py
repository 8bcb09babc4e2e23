"""SQLite: reads a database file without writing to it or beside it.

A file that is not in WAL mode is opened `mode=ro`. In WAL mode even that makes `-shm` and `-wal`
beside the file, and fails where nothing can be made. So a file that has no `-wal` is opened
`immutable`, and looked at again when it has been read; with a `-wal`, or with a journal that a
crash left behind, both files are copied to scratch, and the copy is read.
"""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from handful.errors import DataError, Full, Unreachable, UserError
from handful.files.paths import is_file
from handful.labels.failures import shown
from handful.progress import Progress

_KNOWN_OPTIONS = {"cache", "cached_statements", "check_same_thread", "detect_types", "immutable"}
_KNOWN_OPTIONS |= {"isolation_level", "mode", "nolock", "psow", "timeout", "uri"}
_IMMUTABLE = "mode=ro&immutable=1"
_SQLITE_COPY_BYTES = 1 << 22
_TRIES = 5
_WAL_HEADER = 32
_WAL_VERSION = 2
_WAIT_SECONDS = 5.0


@contextmanager
def sqlite_engine(url: URL, progress: Progress, scratch: Path | None) -> Iterator[Engine]:
    """An engine that reads the file at `url`; `DataError` if there is none: it is never made."""
    if url.drivername.endswith("cipher"):
        raise UserError(
            "an encrypted SQLite database cannot be read",
            where=shown(url),
            remedy="decrypt it into a file of its own, and name that",
        )
    path = _existing(url)
    seconds = _read_sqlite_timeout(url)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sqlite-") as folder:
        before = path.stat()
        reading = _way_to_read(path, url, progress, Path(folder), seconds)
        engine = create_engine("sqlite://", creator=_connect(reading, seconds), poolclass=NullPool)
        try:
            yield engine
        finally:
            engine.dispose()
        if reading == _uri(path, _IMMUTABLE):
            _check_unchanged(before, path, url)


def _existing(url: URL) -> Path:
    name = (url.database or "").removeprefix("file:").split("?")[0]
    path = Path(name)
    if not name or name == ":memory:" or not is_file(path):
        what = "is not a file" if name and os.path.lexists(path) else "is not there"
        raise DataError(
            f"the database file {what}" if name else "names no database file",
            where=shown(url),
            remedy="write sqlite:///file.db, relative to the experiment, or sqlite:////full/path",
        )
    return path.resolve()  # -wal and -journal lie beside the file that a link points to


def _read_sqlite_timeout(url: URL) -> float:
    """Seconds to wait for a lock; `UserError` for an option that SQLite does not have."""
    unknown = [name for name in url.query if name not in _KNOWN_OPTIONS]
    if unknown:
        raise UserError(
            f"SQLite does not know what the URL says after '?': {', '.join(map(repr, unknown))}",
            where="[production] DATABASE_URL",
            remedy=f"it knows {', '.join(sorted(_KNOWN_OPTIONS))}; a '?' in the file's name is %3F",
        )
    try:
        return float(str(url.query.get("timeout", _WAIT_SECONDS)))
    except ValueError:
        where = "[production] DATABASE_URL"
        raise UserError("SQLite's option 'timeout' is no number of seconds", where=where) from None


def _way_to_read(path: Path, url: URL, progress: Progress, folder: Path, seconds: float) -> str:
    """SQLite's URI for the file, or for a private copy in `folder`."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        return _copy_sqlite_database(path, wal, url, progress, folder)
    if _is_in_wal_mode(path):
        return _uri(path, _IMMUTABLE)
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists() and _needs_rollback(path, seconds):
        return _copy_sqlite_database(path, journal, url, progress, folder)
    return _uri(path, "mode=ro")


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path))}?{options}"


def _connect(uri: str, seconds: float) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        # A generator may be read by another thread than the one that began it.
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=seconds)
        connection.execute("PRAGMA query_only = ON")
        connection.set_authorizer(_authorize)
        return connection

    return connect


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """`mode=ro` and `query_only` let ATTACH and VACUUM INTO make files all the same."""
    loads = action == sqlite3.SQLITE_FUNCTION and "load_extension" in (first, second)
    if loads or action in {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


@functools.cache
def _open_lasting_descriptor(_device: int, _inode: int, path: Path) -> int:
    """A descriptor that stays open: closing one drops this process' locks on the file (POSIX)."""
    return os.open(path, os.O_RDONLY)


def _descriptor(path: Path) -> int:
    about = path.stat()
    return _open_lasting_descriptor(about.st_dev, about.st_ino, path)


def _is_in_wal_mode(path: Path) -> bool:
    """By bytes 18 and 19 of the header: the versions that a writer and a reader must know."""
    return _WAL_VERSION in os.pread(_descriptor(path), 2, 18)


def _needs_rollback(path: Path, seconds: float) -> bool:
    """A writer died, and the next who may write has to take back what it had begun."""
    uri = _uri(path, "mode=ro")
    with closing(sqlite3.connect(uri, uri=True, timeout=seconds)) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            return error.sqlite_errorname in {"SQLITE_READONLY_ROLLBACK", "SQLITE_CANTOPEN"}
        except sqlite3.DatabaseError:  # no database; the query will say so
            return False
    return False


def _copy_sqlite_database(
    path: Path, other: Path, url: URL, progress: Progress, folder: Path
) -> str:
    """The URI of a copy of both files, brought to where the last finished transaction left it."""
    size = path.stat().st_size
    with suppress(FileNotFoundError):
        size += other.stat().st_size
    progress.note(
        f"{shown(url)}: some of it lies in {other.name}, and reading that would write beside it; "
        f"copying both files ({size / 1e6:,.1f} MB) to a private folder"
    )
    # Folding the -wal into the copy may make the copy longer by as much.
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        raise Full(
            f"a private copy of the database takes up to {2 * size / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free",
            where=str(folder.parent),
            remedy="make room, set TMPDIR to a larger disk, or name a copy of the database",
        )
    copy = folder / "copy.db"
    for _ in range(_TRIES):
        if _copy_of_one_moment(path, other, copy):
            break
    else:
        raise Unreachable(
            "the database is written to faster than it can be copied",
            where=shown(url),
            remedy="run it again in a quiet hour, or name a copy made by sqlite3's .backup",
        )
    with closing(sqlite3.connect(copy)) as connection, suppress(sqlite3.DatabaseError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return _uri(copy, _IMMUTABLE)


def _copy_of_one_moment(path: Path, other: Path, copy: Path) -> bool:
    """Copy both; False if they may not belong together.

    Whatever is brought from the -wal into the database meanwhile is in the -wal's copy, too, since
    that is made last, unless the -wal began anew: its header says so.
    """
    before = _sqlite_file_state(path, other)
    source = _descriptor(path)
    with copy.open("wb") as file:
        offset = 0
        while chunk := os.pread(source, _SQLITE_COPY_BYTES, offset):
            file.write(chunk)
            offset += len(chunk)
    beside = copy.with_name(copy.name + other.name.removeprefix(path.name))
    beside.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.copyfile(other, beside)
    return before == _sqlite_file_state(path, other)


def _sqlite_file_state(path: Path, other: Path) -> tuple[bytes | None, int, int]:
    """What stays the same while a -wal only grows, or while a journal lies there untouched."""
    try:
        with other.open("rb") as file:
            header: bytes | None = file.read(_WAL_HEADER)
    except FileNotFoundError:
        header = None
    if header and other.name.endswith("-wal"):
        return header, 0, 0
    about = path.stat()
    return header, about.st_size, about.st_mtime_ns


def _check_unchanged(before: os.stat_result, path: Path, url: URL) -> None:
    """An immutable file is read without locks: `Unreachable` if somebody wrote to it meanwhile."""
    after = path.stat()
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    ):
        raise Unreachable(
            "the database file changed while it was read",
            where=shown(url),
            remedy="run it again",
        )
