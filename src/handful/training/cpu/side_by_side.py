"""Several batches at once on a CPU's cores, each on cores of its own.

Two threads that share every operation wait for each other at its end; two that have a batch each do
not. An answer depends on its batch alone, so it is the same whoever is first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

B = TypeVar("B")
A = TypeVar("A")

MOST = 8
"""Batches at once: each holds its activations, and Python serves one thread at a time."""


def at_once(device: torch.device) -> int:
    """How many batches the cores of this process take at once."""
    return min(torch.get_num_threads(), MOST) if device.type == "cpu" else 1


def map_in_threads(
    answer: Callable[[B], A], batches: Iterable[B], workers: int
) -> Generator[A, None, None]:
    """`answer` of every batch, in the order of the batches; to be closed by who leaves early.

    With more than one worker `answer` is called in threads of its own, and must need nothing that
    belongs to the calling thread, such as torch's modes. `batches` is read in the calling thread.
    """
    if workers == 1:
        yield from map(answer, batches)
        return
    waiting: deque[Future[A]] = deque()
    coming = iter(batches)
    with _crew(workers) as pool:
        # One more for each, so that nobody waits for the next batch to be read.
        waiting.extend(pool.submit(answer, one) for one in islice(coming, 2 * workers))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(answer, one) for one in islice(coming, 1))
            yield found


@contextmanager
def _crew(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share out among them the threads of torch's that the caller has."""
    whole = torch.get_num_threads()
    pool, together = ThreadPoolExecutor(workers, "handful-judging"), threading.Barrier(workers)

    def settle() -> None:
        torch.get_num_threads()  # a thread takes the process's number when it first needs one
        torch.set_num_threads(max(1, whole // workers))
        together.wait()

    try:
        try:
            for settled in [pool.submit(settle) for _ in range(workers)]:
                settled.result()
        finally:
            # Whatever thread begins to use torch from now on takes the number that was set last.
            torch.set_num_threads(whole)
        yield pool
    finally:
        together.abort()
        pool.shutdown(cancel_futures=True)
