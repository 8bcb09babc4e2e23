"""How often a verdict claims a difference where there is none, and finds one where there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from handful.comparing.arrays import Floats
from handful.comparing.bootstrap import measured, resampled
from handful.comparing.pairs import every_two, paired
from handful.comparing.verdict import judged
from truth_parts.synthetic import World, even, rate, skewed

METRIC = "macro_f1"
RESAMPLES = 1_000
WITH_METRIC = 1_000
"""Test splits of each kind for which the metric's intervals are drawn, too; they take long."""
MOST_FALSE = 0.05


@dataclass(frozen=True)
class Found:
    """Out of many test splits: how often a verdict claimed something."""

    splits: int
    better: int
    """At least one pair was said to be really different."""
    by_metric: int
    """At least one pair differed by the metric's interval, of the first `WITH_METRIC`."""

    @property
    def with_metric(self) -> int:
        return min(self.splits, WITH_METRIC)


def verdicts(pairs: int) -> bool:
    """Print the rates; True if no more than 5 % of the verdicts are false."""
    print(f"Equally good models, {pairs:,} test splits each; a claimed difference is false.")
    kept = True
    for name, shares, examples in (
        ("5 even labels, 200 artifacts", even(5), 200),
        ("5 even labels, 1,000 artifacts", even(5), 1_000),
        ("11 skewed labels, 226 artifacts", skewed(11), 226),
    ):
        world = World(shares, np.full((2, len(shares)), 0.8))
        kept &= _told(name, _tried(world, examples, pairs))
    family = World(even(5), np.full((5, 5), 0.8))
    kept &= _told("five models, ten pairs (Holm), 500", _tried(family, 500, max(1, pairs // 5)))
    print("Models that really differ, 1,000 artifacts, 5 even labels:")
    for points in (2, 4, 6, 8):
        right = np.stack([np.full(5, 0.80), np.full(5, 0.80 - points / 100)])
        found = _tried(World(even(5), right), 1_000, max(1, pairs // 20))
        print(f"  {points} points of accuracy apart: found in {rate(found.better, found.splits)}")
    return kept


def _told(name: str, found: Found) -> bool:
    kept = found.better / found.splits <= MOST_FALSE
    print(
        f"  {name:36} false verdicts {rate(found.better, found.splits)}"
        f"   limit {MOST_FALSE:.0%}: {'kept' if kept else 'MISSED'}"
        f"   ({METRIC} alone, uncorrected: {rate(found.by_metric, found.with_metric)})"
    )
    return kept


def _tried(world: World, examples: int, splits: int) -> Found:
    chance = np.random.default_rng(1)
    models = len(world.right)
    names = [f"model {number}" for number in range(models)]
    better = by_metric = 0
    for number in range(splits):
        answers = world.drawn(examples, chance)
        draws: Mapping[str, Floats] = {}
        if number < WITH_METRIC:
            draws = resampled(answers, seed=number, resamples=RESAMPLES)
        found = paired(names, answers, every_two(models), measured(answers), draws)
        told = [judged(pair, METRIC) for pair in found]
        better += any(one.better for one in told)
        by_metric += any(one.better_by_metric for one in told)
    return Found(splits, better, by_metric)
