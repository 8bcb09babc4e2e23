"""A listing that fails is an error, and never a short listing."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

from handful.errors import Unreachable
from handful.storage import parallel_listing

KEYS = [f"key-{number:06d}" for number in range(20_000)]
PAGE = 1_000


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_while_the_queue_is_full_is_raised() -> None:
    def pages(after: str | None) -> Iterator[pa.RecordBatch]:
        at = 0 if after is None else bisect.bisect_right(KEYS, after)
        for start in range(at, len(KEYS), PAGE):
            chunk = pa.array(KEYS[start : start + PAGE])
            yield pa.RecordBatch.from_arrays([chunk], names=["key"])
        if at < len(KEYS) and not failing:
            # The last page breaks off when all other hands are idle, and the consumer is behind.
            failing.append(True)
            wait_until(lambda: listing._at_work == 1)
            listing._out.maxsize = listing._out.qsize()
            raise Unreachable("the last page broke off")

    failing: list[bool] = []
    listing = parallel_listing._Listing(pages, "")
    listing.start(1)
    wait_until(lambda: listing._stopped)
    time.sleep(3 * parallel_listing._LISTING_POLL_SECONDS)  # the consumer is slow
    try:
        with pytest.raises(Unreachable):
            list(listing.found())
    finally:
        listing.stop()
