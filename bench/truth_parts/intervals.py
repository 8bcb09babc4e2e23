"""How often an interval of 95 % holds the true value."""

from __future__ import annotations

import numpy as np

from handful.evaluation.metrics.bootstrap import LEVEL, interval, resample_answer_metrics
from handful.steps.compare.findings import FEW_EXAMPLES
from truth_parts.synthetic import World, even, rate, skewed

ALLOWED = 0.02
RESAMPLES = 1_000


def intervals(draws: int) -> bool:
    """Print how often each metric's interval held; True if all are within 95 ± 2 %.

    Where labels are so rare that `compare` says so itself, the figures are shown, not judged.
    """
    kept = True
    for name, shares, examples in (
        ("5 even labels, 300 artifacts", even(5), 300),
        ("5 even labels, 1,000 artifacts", even(5), 1_000),
        ("11 skewed labels, 2,000 artifacts", skewed(11), 2_000),
        ("11 skewed labels, 1,000 artifacts", skewed(11), 1_000),
        ("11 skewed labels, 226 artifacts", skewed(11), 226),
    ):
        low, high = 0.65, 0.9
        right = np.stack([np.linspace(high, low, len(shares)), np.full(len(shares), 0.75)])
        print(f"{name}, {draws:,} test splits:")
        sound = _covered(World(shares, right), examples, draws)
        if min(shares) * examples >= FEW_EXAMPLES:
            kept &= sound
        else:
            print(f"  (the rarest label has {min(shares) * examples:.1f} artifacts: ", end="")
            print("no promise is made there, and compare says so)")
    return kept


def _covered(world: World, examples: int, draws: int) -> bool:
    truth = world.truth()
    chance = np.random.default_rng(2)
    alone, apart = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for number in range(draws):
        answers = world.drawn(examples, chance)
        found = resample_answer_metrics(answers, seed=number, resamples=RESAMPLES)
        for name, true in truth.items():
            drawn = found[name]
            alone[name] += _holds(drawn[0], true[0])
            apart[name] += _holds(drawn[0] - drawn[1], true[0] - true[1])
    kept = True
    for name in truth:
        sound = all(abs(count[name] / draws - LEVEL) <= ALLOWED for count in (alone, apart))
        kept &= sound
        print(
            f"  {name:20} held {rate(alone[name], draws)}   differences {rate(apart[name], draws)}"
            f"   95 ± 2 %: {'kept' if sound else 'MISSED'}"
        )
    return kept


def _holds(drawn: np.ndarray, true: float) -> bool:
    low, high = interval(drawn)
    return bool(low <= true <= high)
