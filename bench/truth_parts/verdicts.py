"""How often a verdict claims a difference where there is none, and finds one where there is.

A verdict may say "A is better" (McNemar), or "right equally often, but A has the better macro_f1"
(at a stricter level): both are claims, and both together are held to 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handful.evaluation.metrics.bootstrap import compute_answer_metrics, resample_answer_metrics
from handful.evaluation.significance.pairs import compare_model_pairs, every_two
from handful.evaluation.significance.verdict import judge_model_pair
from truth_parts.synthetic import World, even, rate, skewed

METRIC = "macro_f1"
RESAMPLES = 200
"""Fewer than in the product: a verdict takes only their standard deviation and their sign."""
MOST_FALSE = 0.05


@dataclass(frozen=True)
class Found:
    """Out of many test splits: how often a verdict claimed something."""

    splits: int
    better: int
    """At least one pair was said to be really different."""
    claimed: int
    """At least one pair was said to differ, be it by the metric alone."""


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
    kept &= _told("five models, ten pairs (Holm), 500", _tried(family, 500, max(1, pairs // 4)))
    print("Models that really differ, 1,000 artifacts, 5 even labels:")
    for points in (2, 4, 6, 8):
        right = np.stack([np.full(5, 0.80), np.full(5, 0.80 - points / 100)])
        found = _tried(World(even(5), right), 1_000, max(1, pairs // 10))
        print(f"  {points} points of accuracy apart: found in {rate(found.better, found.splits)}")
    return kept


def _told(name: str, found: Found) -> bool:
    kept = found.claimed / found.splits <= MOST_FALSE
    print(
        f"  {name:36} false claims {rate(found.claimed, found.splits)}"
        f"   limit {MOST_FALSE:.0%}: {'kept' if kept else 'MISSED'}"
        f"   (by McNemar alone {rate(found.better, found.splits)})"
    )
    return kept


def _tried(world: World, examples: int, splits: int) -> Found:
    chance = np.random.default_rng(1)
    models = len(world.right)
    names = [f"model {number}" for number in range(models)]
    better = claimed = 0
    for number in range(splits):
        answers = world.drawn(examples, chance)
        draws = resample_answer_metrics(answers, seed=number, resamples=RESAMPLES)
        found = compare_model_pairs(
            names, answers, every_two(models), compute_answer_metrics(answers), draws
        )
        told = [judge_model_pair(pair, METRIC) for pair in found]
        better += any(one.better for one in told)
        claimed += any(one.better or one.better_by_metric for one in told)
    return Found(splits, better, claimed)
