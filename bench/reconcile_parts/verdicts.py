"""Figures beside their limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """One figure; without a bar it is only shown."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    counts: bool = True
    """False: shown beside its bar, but missing it does not fail the benchmark."""

    @property
    def kept(self) -> bool:
        high = self.at_least is None or self.value >= self.at_least
        return high and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bars = [
            f"{sign} {bar:g}"
            for sign, bar in ((">=", self.at_least), ("<=", self.at_most))
            if bar is not None
        ]
        told = f"   limit {' '.join(bars)}: {'kept' if self.kept else 'MISSED'}" if bars else ""
        return f"  {self.name:64} {self.value:10,.2f}{told}"


def verdict(limits: Iterable[Limit]) -> bool:
    """Print them; True if all that count are kept."""
    found = list(limits)
    for limit in found:
        print(limit)
    return all(limit.kept for limit in found if limit.counts)
