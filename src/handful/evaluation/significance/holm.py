"""Holm's correction for several tests at once (Scandinavian Journal of Statistics 6, 1979).

The chance of even one false verdict among all pairs stays below the level, whatever depends on
what, and no test loses more than with Bonferroni's correction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The corrected p of each, in the same order. `ValueError` if one is no probability.

    Each is 0 to 1.
    """
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a p must lie between 0 and 1")
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    found = np.empty_like(values)
    found[order] = corrected
    return tuple(float(value) for value in found)
