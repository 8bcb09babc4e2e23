"""How many cases the tests of hostile input try: the one place, and its knob.

`make test` tries a few hundred of each test, the same ones each time; `make fuzz CASES=100000` as
many as it is told, other ones each time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

SLOW = 2.0
"""CPU seconds that no small input may take; the slowest honest one takes a tenth of that."""


def examples(count: int) -> settings:
    """`count` cases, or as many as HANDFUL_FUZZ_CASES says."""
    wanted = os.environ.get("HANDFUL_FUZZ_CASES")
    return settings(
        max_examples=int(wanted or count),
        derandomize=wanted is None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@contextmanager
def quick() -> Iterator[None]:
    """What stands below ends within `SLOW` seconds of this thread's time."""
    begun = time.thread_time()
    yield
    took = time.thread_time() - begun
    assert took < SLOW, f"took {took:.1f} s"
