"""What chaos needs within each process of handful; Python imports it where this is on PYTHONPATH.

CHAOS_COUNTER    a file that grows by one byte for each change of the file system
CHAOS_AT         "<before|after> <n>": who makes the n-th change stands still there
CHAOS_TOLD       a file that this process then makes, with its number
CHAOS_CLOCK      "<moment> <seconds>": from that moment on the clocks of Python are so far ahead
CHAOS_MACHINE    the machine's identity; the lock lives for seconds then
"""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import time
from typing import Any

CHANGES = ("fsync", "link", "mkdir", "remove", "rename", "replace", "rmdir", "unlink")


def _count(counter: str, told: str, at: str) -> None:
    """Changes of all processes are counted together: an append has one place in the file."""
    moment, _, number = at.partition(" ")
    file = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def stand_still() -> None:
        part = f"{told}.part"
        with open(part, "w") as out:  # noqa: PTH123 - no library here that is not needed
            out.write(str(os.getpid()))
        rename(part, told)
        os.kill(os.getpid(), signal.SIGSTOP)

    def watched(change: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            os.write(file, b".")
            here = at and str(os.lseek(file, 0, os.SEEK_CUR)) == number
            if here and moment == "before":
                stand_still()
            result = change(*arguments, **options)
            if here and moment == "after":
                stand_still()
            return result

        return call

    rename = os.rename
    for name in CHANGES:
        real = getattr(os, name)
        mine = watched(real)
        for able in (os.supports_dir_fd, os.supports_follow_symlinks, os.supports_fd):
            if real in able:
                able.add(mine)
        setattr(os, name, mine)


def _shift(moment: float, seconds: float) -> None:
    def ahead() -> float:
        return seconds if real_time() >= moment else 0.0

    # pandas' own code reads datetimes as they lie in memory: it has to know the real ones.
    with contextlib.suppress(ImportError):
        import pandas  # noqa: F401
    real_time, real_time_ns, real = time.time, time.time_ns, datetime.datetime

    class Kind(type):
        def __instancecheck__(cls, other: object) -> bool:
            return isinstance(other, real)

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, real)

    class Shifted(real, metaclass=Kind):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) + datetime.timedelta(seconds=ahead())

        @classmethod
        def utcnow(cls) -> Any:
            return real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=ahead())

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    Shifted.__name__ = Shifted.__qualname__ = "datetime"
    Shifted.__module__ = "datetime"
    time.time = lambda: real_time() + ahead()
    time.time_ns = lambda: real_time_ns() + int(ahead() * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc]


def _elsewhere(machine: str) -> None:
    """Another machine's identity, and a lock that lives for seconds, once handful is imported."""
    from handful.storage import lock
    from handful.system import machine as its

    its._machine = lambda: machine
    lock.BEAT, lock.EXPIRES, lock._LOOK = 0.5, 3.0, 0.05


if "CHAOS_COUNTER" in os.environ:
    _count(
        os.environ["CHAOS_COUNTER"],
        os.environ.get("CHAOS_TOLD", ""),
        os.environ.get("CHAOS_AT", ""),
    )
if "CHAOS_CLOCK" in os.environ:
    _shift(*map(float, os.environ["CHAOS_CLOCK"].split()))
if "CHAOS_MACHINE" in os.environ:
    _elsewhere(os.environ["CHAOS_MACHINE"])
