"""Does many small things on threads, and keeps every store's error beside its item."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

from handful.errors import StoreError

TOGETHER_SECONDS = 0.05
"""What a thread does in this time, it hands over together."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    do: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Result | None, StoreError | None]]:
    """`do` every item; each comes with its result or its `StoreError`, as they finish.

    Any other exception ends it all and is raised here. When the caller stops early, items that
    were not begun are not begun, and those under way are waited for.
    """
    rest = iter(items)
    lock, stop = threading.Lock(), threading.Event()
    results: SimpleQueue[list[tuple[Item, Result | None, StoreError | None]] | BaseException | None]
    results = SimpleQueue()
    nothing_left = object()

    def work() -> None:
        done: list[tuple[Item, Result | None, StoreError | None]] = []
        handed = time.monotonic()
        try:
            while not stop.is_set():
                with lock:
                    item = next(rest, nothing_left)
                if item is nothing_left:
                    break
                done.append(_tried(do, item))  # type: ignore[arg-type]
                # Thousands a second, each handed over alone, would cost more than many of them.
                if (now := time.monotonic()) - handed > TOGETHER_SECONDS:
                    results.put(done)
                    done, handed = [], now
            results.put(done)
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            results.put(done)
            results.put(error)
        finally:
            results.put(None)

    workers = [
        threading.Thread(target=work, name=f"handful-{n}", daemon=True)
        for n in range(max(1, threads))
    ]
    for worker in workers:
        worker.start()
    alive = len(workers)
    try:
        while alive:
            result = results.get()
            if result is None:
                alive -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield from result
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _tried(
    do: Callable[[Item], Result], item: Item
) -> tuple[Item, Result | None, StoreError | None]:
    try:
        return item, do(item), None
    except StoreError as error:
        return item, None, error
