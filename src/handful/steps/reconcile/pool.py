"""Does many small things on threads, and keeps every store's error beside its item."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar

from handful.errors import OutOfResources, StoreError

TOGETHER_SECONDS = 0.05
"""What ends in this time is handed over together: to be woken costs more than most items do."""
AHEAD = 1_024
"""Items that wait to be taken, fetched by one thread: hundreds would wait for each other."""
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between two attempts at what the machine had too little for."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def freeze_garbage_collector() -> Iterator[None]:
    """During the body the garbage collector passes over what was there before it.

    All threads stand still while it looks through every module that was ever imported: 60 ms, and
    it was seen right when hundreds of threads were made. What the body makes is collected.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def in_threads(
    do: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result | None, StoreError | None]]:
    """`do` every item; each comes with its result or its `StoreError`, as they finish.

    Any other exception ends it all and is raised here. When the caller stops early, items that
    were not begun are not begun, and those under way are waited for.
    """
    pool = _Pool(do, items, max(1, threads))
    workers = [
        threading.Thread(target=pool.work, name=f"handful-{n}", daemon=True)
        for n in range(pool.alive)
    ]
    try:
        pool.fetch()
        for worker in workers:
            worker.start()
        yield from pool.results()
    finally:
        pool.stopped = True
        for worker in workers:
            if worker.ident is not None:
                worker.join()


class _Pool(Generic[Item, Result]):
    """What the threads share.

    Thousands of items a second pass, and whoever waits for a lock or is woken pays for it more
    than the item costs. So items and results go through deques, whose ends need no lock.
    """

    def __init__(self, do: Callable[[Item], Result], items: Iterable[Item], threads: int) -> None:
        self._do = do
        self._rest = iter(items)
        self._ready: deque[Item] = deque()
        self._ended: deque[tuple[Item, Result | None, StoreError | None]] = deque()
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.alive = threads
        self.stopped = False

    def work(self) -> None:
        """What each thread does."""
        ready, ended = self._ready, self._ended
        try:
            while not self.stopped:
                try:
                    item = ready.popleft()
                except IndexError:
                    if not self.fetch():
                        break
                    continue
                try:
                    ended.append((item, self._run_pool_item(item), None))
                except StoreError as error:
                    ended.append((item, None, error))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            self._error = self._error or error
            self._wake.set()
        finally:
            with self._lock:
                self.alive -= 1
                if not self.alive:
                    self._wake.set()

    def _run_pool_item(self, item: Item) -> Result:
        """What comes of it; again after a while where so many at once are too many for the machine,
        until others have given back the files that they hold open."""
        for seconds in PAUSES:
            try:
                return self._do(item)
            except OutOfResources:
                if self.stopped:
                    raise
                time.sleep(seconds)
        return self._do(item)

    def results(self) -> Iterator[tuple[Item, Result | None, StoreError | None]]:
        """What has ended, until all has."""
        all_ended = False
        while not all_ended:
            all_ended = self._wake.wait(TOGETHER_SECONDS)
            error = self._error  # what ended before it is given first
            self.fetch()
            for _ in range(len(self._ended)):
                yield self._ended.popleft()
            if error is not None:
                raise error

    def fetch(self) -> bool:
        """See to it that items wait to be taken; False if there are no more."""
        with self._lock:
            if len(self._ready) < AHEAD:
                self._ready.extend(islice(self._rest, AHEAD))
            return bool(self._ready)
