"""Listings in pages, in the orders that servers have; the server counts how it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

Order = Callable[[str], object]


def byte_order(key: str) -> object:
    return key.encode()


def folder_order(key: str) -> object:
    """As SeaweedFS sorts: folder by folder, so that `a/b` comes before `a-b`."""
    return key.split("/")


class Server:
    """Gives its keys in pages, as S3 does, and remembers how it was asked."""

    def __init__(self, keys: set[str], order: Order = byte_order, page: int = 10) -> None:
        self.keys = sorted(keys, key=order)
        self.order = order
        self.page = page
        self.pages = 0
        self.seconds = 0.0
        self.threads: set[int] = set()

    def after(self, after: str | None) -> Iterator[pa.RecordBatch]:
        rest = [k for k in self.keys if after is None or self.order(k) > self.order(after)]  # type: ignore[operator]
        for start in range(0, max(1, len(rest)), self.page):
            time.sleep(self.seconds)
            self.pages += 1
            self.threads.add(threading.get_ident())
            yield pa.record_batch({"key": pa.array(rest[start : start + self.page], pa.string())})
