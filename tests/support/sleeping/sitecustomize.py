"""Makes a process of handful another machine's, and lets it stand still at a chosen write.

Python imports this at its start where this folder is on PYTHONPATH: so the driver's workers are of
that machine, too. The lock lives for seconds here.

    SLEEPER_MACHINE   the machine's identity
    SLEEPER_AT        "<moment> <end of a key, or a glob of it>": see `MOMENTS`; without it nobody
                      stands still
    SLEEPER_TOLD      a file that is made, with the process's number, right before
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

MOMENTS = ("before", "within", "after", "last")
"""Before the write; between its look at the lock and what others see of it; after it. last: while a
local store lets nobody take the lock (see `handful.storage.lock_guard`)."""


def _stand_still(moment: str, end: str) -> None:
    import obstore

    from handful.storage import atomic_write
    from handful.storage.local.store import LocalStore
    from handful.storage.s3.store import S3Store

    told = Path(os.environ["SLEEPER_TOLD"])

    def here(now: str, key: object) -> None:
        if now == moment and fnmatchcase(str(key), f"*{end}") and not told.exists():
            aside_of_told = told.with_suffix(".part")
            aside_of_told.write_text(str(os.getpid()))
            aside_of_told.rename(told)
            os.kill(os.getpid(), signal.SIGSTOP)

    def around(holder: Any, name: str, begin: str, end: str, key: Callable[..., object]) -> None:
        whole = getattr(holder, name)

        def call(*arguments: Any, **options: Any) -> Any:
            here(begin, key(*arguments, **options))
            result = whole(*arguments, **options)
            here(end, key(*arguments, **options))
            return result

        setattr(holder, name, call)

    sent = ""

    def marker(_: object, __: object, prefix: str, *, last: str = "") -> str:
        nonlocal sent
        sent = f"{prefix}/{last}"
        return sent

    for store in (LocalStore, S3Store):
        around(store, "write", "before", "after", lambda _, key, __: key)
        around(store, "send_tree", "before", "after", marker)
    around(LocalStore, "_place", "within", "", lambda _, __, key, **___: key)
    around(LocalStore, "_stage_tree", "", "within", lambda *_: sent)
    around(atomic_write, "move_part_into_place", "last", "", lambda _, path, __: path)
    around(obstore, "put", "within", "", lambda _, path, *__, **___: path)


if "SLEEPER_MACHINE" in os.environ:
    from handful.storage import lock
    from handful.system import machine

    machine._machine = lambda: os.environ["SLEEPER_MACHINE"]
    lock.BEAT, lock.EXPIRES, lock._LOOK = 0.5, 3.0, 0.05
    if "SLEEPER_AT" in os.environ:
        _stand_still(*os.environ["SLEEPER_AT"].split(" "))
