"""Which trials are not worth their remaining epochs: successive halving, decided in the worker.

The driver hands over the validation values of the trials that had ended when this one was drawn.
The decision needs nothing else, so it is the same however often a trial was interrupted and
whatever runs beside it. After the first validation, the third, the ninth and so on, a trial goes on
if its best value so far is among the best third of all that came so far (asynchronous successive
halving: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning"); a trial that
has ended takes part with what it had reached by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FACTOR = 3
"""One of so many goes on; and so many times later the rest is looked at again."""


@dataclass(frozen=True)
class Pruning:
    """The rule for one trial."""

    finished: tuple[tuple[float, ...], ...]
    """Of each trial that came to its end before, its values after each validation."""
    goal: str
    """max | min"""
    given_up: tuple[tuple[float, ...], ...] = ()
    """Of each that did not."""

    def hopeless(self, values: Sequence[float]) -> bool:
        """Is a trial with these values, after each validation so far, worth no more epochs?

        `values`: of METRIC.
        """
        reached = len(values)
        if not _is_rung(reached):
            return False
        best = max if self.goal == "max" else min
        others = [best(line[:reached]) for line in self.finished if line]
        others += [best(line[:reached]) for line in self.given_up if len(line) >= reached]
        mine = best(values)
        better = sum(best(mine, other) != mine for other in others)
        return better >= max(1, (len(others) + 1) // FACTOR)


def _is_rung(reached: int) -> bool:
    while reached > 1 and reached % FACTOR == 0:
        reached //= FACTOR
    return reached == 1
