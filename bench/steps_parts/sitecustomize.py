"""Counts, in every process of handful, the CPU seconds of checksums and of the lock.

Python imports this at its start where this folder is on PYTHONPATH. Each process keeps two numbers
in a file of its own in the folder STEPS_TOLD, right when they change, as workers are often killed:
seconds of making and comparing checksums of files, and at the lock: taking, keeping and releasing
it, and looking at it before writes. What is called within another counted call is counted once.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

HASHING, LOCK = range(2)
_WITHIN = threading.local()
_MUTEX = threading.Lock()


def _kept() -> Any:
    """The two numbers, in the file."""
    place = Path(os.environ["STEPS_TOLD"]) / f"{os.getpid()}-{time.time_ns()}"
    place.write_bytes(bytes(16))
    with place.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 16)).cast("d")


def _counted(kind: int, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        if getattr(_WITHIN, "it", False):
            return call(*arguments, **options)
        _WITHIN.it, began = True, time.thread_time()
        try:
            return call(*arguments, **options)
        finally:
            with _MUTEX:
                _SECONDS[kind] += time.thread_time() - began
            _WITHIN.it = False

    return counted


def _counted_around(call: Callable[..., AbstractContextManager[Any]]) -> Callable[..., Any]:
    """The same of what is done before and after the body."""

    @contextmanager
    def counted(*arguments: Any) -> Iterator[Any]:
        around = _counted(LOCK, call)(*arguments)
        found = _counted(LOCK, around.__enter__)()
        try:
            yield found
        except BaseException as error:
            if not _counted(LOCK, around.__exit__)(type(error), error, error.__traceback__):
                raise
        else:
            _counted(LOCK, around.__exit__)(None, None, None)

    return counted


def _begin() -> None:
    from handful.files import checksums
    from handful.storage import lock, lock_guard
    from handful.storage.s3 import arrival

    for name in ("of_bytes", "of_file", "of_folder", "content_of", "read_marker", "check_folder"):
        setattr(checksums, name, _counted(HASHING, getattr(checksums, name)))
    for name in ("seal", "fault_of_json"):
        setattr(checksums, name, _counted(HASHING, getattr(checksums, name)))
    each: Any = checksums.QuickHash, arrival.Arrival
    for holder, name in zip(each, ("update", "add"), strict=True):
        setattr(holder, name, _counted(HASHING, getattr(holder, name)))
    for holder in (lock.Held, lock.Watch):
        for name in ("check", "check_now"):
            setattr(holder, name, _counted(LOCK, getattr(holder, name)))
    inner: Any = (lock.Held, "_renew"), (lock.Held, "release"), (lock, "_acquire")
    for place, name in inner:
        setattr(place, name, _counted(LOCK, getattr(place, name)))
    for name in ("enter", "close"):
        setattr(lock_guard, name, _counted_around(getattr(lock_guard, name)))


if "STEPS_TOLD" in os.environ:
    _SECONDS = _kept()
    _begin()
