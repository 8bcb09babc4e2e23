"""Lists a local directory tree, in batches, without following links out of it or in circles."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from handful.storage.base import Entry
from handful.storage.keys import HIDDEN
from handful.storage.local.oserrors import translate_os_error

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 10_000


def etag(status: os.stat_result) -> str:
    """`mtime-<ns>-<size>`: cheap, and kept by our own copies."""
    return f"mtime-{status.st_mtime_ns}-{status.st_size}"


def files_below(root: Path, prefix: str) -> Iterator[Entry]:
    """Every file below `root` whose key begins with the text `prefix`; none if there is no folder.

    `Denied` when a folder may not be read. Names that are not Unicode are shown with backslashes.
    """
    head, _, start = prefix.rpartition("/")
    top = root / head if head else root
    real = os.path.realpath(root)
    if not lies_inside(os.path.realpath(top), real):
        return
    pending = [(os.fspath(top), f"{head}/" if head else "", start)]
    while pending:
        directory, below, start = pending.pop()
        for child in _children(directory, root):
            if not child.name.startswith(start) or (not below and child.name == HIDDEN):
                continue
            key = below + escape_local_name(child.name)
            if child.is_dir(follow_symlinks=False):
                pending.append((child.path, f"{key}/", ""))
            else:
                yield from _local_file_entry(child, key, real)


def batches(entries: Iterable[Entry]) -> Iterator[pa.RecordBatch]:
    """The entries as batches of `LISTING_SCHEMA`."""
    rest = iter(entries)
    while chunk := list(islice(rest, BATCH)):
        yield _batch(chunk)


def _batch(chunk: Sequence[Entry]) -> pa.RecordBatch:
    import pyarrow as pa

    from handful.storage.columns import LISTING_SCHEMA, integers, strings

    columns = {
        "key": strings([entry.key for entry in chunk]),
        "size": integers([entry.size for entry in chunk]),
        "etag": strings([entry.etag for entry in chunk]),
        "archived": pa.nulls(len(chunk), pa.large_string()),
    }
    each = [columns[name] for name in LISTING_SCHEMA.names]
    return pa.RecordBatch.from_arrays(each, schema=LISTING_SCHEMA)


def _children(directory: str, root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            yield from found
    except (FileNotFoundError, NotADirectoryError):
        return  # it went while we looked, or the prefix names no folder
    except OSError as error:
        raise translate_os_error(error, directory, f"cannot be listed below {root}") from error


def _local_file_entry(child: os.DirEntry[str], key: str, real_root: str) -> Iterator[Entry]:
    """The entry of a regular file, or of a link to one inside the root."""
    if child.is_symlink() and not lies_inside(os.path.realpath(child.path), real_root):
        return
    try:
        status = child.stat()
    except OSError:
        return  # it went while we looked, or the link is broken
    if stat.S_ISREG(status.st_mode):
        yield Entry(key, status.st_size, etag(status))


def lies_inside(real: str, real_root: str) -> bool:
    return real == real_root or real.startswith(real_root.rstrip("/") + "/")


def escape_local_name(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
