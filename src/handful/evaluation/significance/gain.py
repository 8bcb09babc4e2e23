"""What one model has over another: what fine-tuning adds over the model's own probe, for one."""

from __future__ import annotations

from dataclasses import dataclass

from handful.evaluation.significance.pairs import Pair
from handful.evaluation.significance.verdict import Verdict, beats


@dataclass(frozen=True)
class Gain:
    """A model's metric less another's, with the paired bootstrap interval of their pair."""

    value: float | None
    low: float | None
    high: float | None
    """None where the metric has no interval; then there is no `value` either."""
    better: bool | None
    """Is the model better than the other? False: the other is. None: no real difference."""


def gain(pair: Pair, verdict: Verdict, name: str, metric: str) -> Gain:
    """What `name` has over the other of the pair, by `metric` and by the pair's verdict."""
    other = pair.second if name == pair.first else pair.first
    better = {(True, False): True, (False, True): False}.get(
        (beats(pair, verdict, name), beats(pair, verdict, other))
    )
    found = pair.differences.get(metric)
    if found is None:
        return Gain(None, None, None, better)
    if name == pair.first:
        return Gain(found.value, found.low, found.high, better)
    return Gain(-found.value, -found.high, -found.low, better)
