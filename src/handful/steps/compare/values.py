"""Pairs and metrics as JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from handful.evaluation.metrics.arrays import Floats
from handful.evaluation.metrics.bootstrap import interval
from handful.evaluation.significance.gain import Gain
from handful.evaluation.significance.pairs import Pair
from handful.evaluation.significance.verdict import Verdict


def pair_as_json(pair: Pair, verdict: Verdict) -> dict[str, Any]:
    """The test, the differences and the verdict of one pair."""
    return {
        "first": pair.first,
        "second": pair.second,
        **asdict(pair.test),
        "p_holm": pair.p_holm,
        "differences": {name: asdict(found) for name, found in pair.differences.items()},
        **asdict(verdict),
    }


def gain_as_json(gain: Gain) -> dict[str, Any]:
    """What one model has over another, by the experiment's metric."""
    metric = {"value": gain.value, "low": gain.low, "high": gain.high}
    return {"metric": metric, "better": gain.better}


def with_interval(value: float, draws: Floats) -> dict[str, float | None]:
    """A metric and its interval; None where it is not defined."""
    if not np.isfinite(value) or not np.isfinite(draws).all():
        return {"value": None, "low": None, "high": None}
    low, high = interval(draws)
    return {"value": value, "low": low, "high": high}
