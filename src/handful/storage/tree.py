"""Trees of local files, and doing many small things at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from handful.errors import Absent
from handful.storage.keys import check_key
from handful.storage.local.oserrors import reading, translate_os_error

T = TypeVar("T")

THREADS = 32


def names(directory: Path, last: str = "") -> list[str]:
    """The files below `directory`, relative to it, with `/`; the one named `last` comes last.

    Links to files count as files, linked folders are passed over. `Absent` if `directory` or the
    file `last` is not there.
    """

    def stop(error: OSError) -> None:
        raise translate_os_error(error, str(directory), "cannot be listed")

    with reading(str(directory)):
        directory.stat()
        found = [
            Path(top, name).relative_to(directory).as_posix()
            for top, _, files in os.walk(directory, onerror=stop)
            for name in files
        ]
    if last and last not in found:
        raise Absent("the marker of the tree is not there", where=str(directory / last))
    return sorted((check_key(name, str(directory)) for name in found), key=lambda n: (n == last, n))


def each(do: Callable[[T], None], things: Iterable[T]) -> None:
    """`do` every thing, on threads; the first error ends it, once those under way are done."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="handful-store") as pool:
        futures = [pool.submit(do, thing) for thing in things]
        done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        for future in done:
            future.result()
