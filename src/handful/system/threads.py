"""Work on threads that nobody has to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_TICK_SECONDS = 0.2
"""A signal is only heard between two waits."""


def run_side_by_side(works: Sequence[Callable[[], T]]) -> list[T | BaseException]:
    """What each work returns, or raises, in their order, when all have ended.

    Each has a thread of its own. They are daemons: whoever is told to go, goes.
    """
    found: list[T | BaseException] = [RuntimeError("it has not ended")] * len(works)

    def do(number: int) -> None:
        try:
            found[number] = works[number]()
        except BaseException as error:  # noqa: BLE001 - whoever asked judges it
            found[number] = error

    threads = [threading.Thread(target=do, args=(n,), daemon=True) for n in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_TICK_SECONDS)
    return found
