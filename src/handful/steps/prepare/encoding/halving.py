"""Finds what fails among many by halving them: what remains is made as few times as it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_halves(
    rows: Sequence[T], make: Callable[[Sequence[T]], R], lost: Callable[[T, Exception], None]
) -> Iterator[tuple[Sequence[T], R]]:
    """Rows with what `make` makes of them: of all, or where it raises of the halves, in order.

    A row of which nothing can be made even alone is `lost`, with what was raised.
    """
    if not rows:
        return
    try:
        made = make(rows)
    except Exception as error:  # noqa: BLE001 - what cannot be made is found, whatever it is
        if len(rows) == 1:
            lost(rows[0], error)
            return
    else:
        yield rows, made
        return
    half = len(rows) // 2
    yield from in_halves(rows[:half], make, lost)
    yield from in_halves(rows[half:], make, lost)
