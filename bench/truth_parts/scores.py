"""How often the intervals of figures that need probabilities hold the true value.

Logits are drawn so that their probabilities are true, and then made too sharp. The true values are
those of a very large split.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from handful.evaluation.metrics.figures import figures
from truth_parts.synthetic import even, rate, skewed

ALLOWED = 0.02
LARGE = 1_000_000
SHARPNESS = 1.6
FIGURES = ("roc_auc", "average_precision", "log_loss", "log_loss_calibrated")
SHOWN = ("ece", "ece_calibrated")
"""Their interval is built to hold its level in the worst case, so it is held to `LEAST` alone."""
LEAST = 0.90
LABEL = "a"
PER_LABEL = ("precision", "recall", "f1")


def scores(draws: int) -> bool:
    """Print the rates; True if all are within 95 ± 2 % (the calibration errors: at least 90 %)."""
    kept = True
    for name, shares, examples in (
        ("5 even labels, 300 artifacts", even(5), 300),
        ("5 even labels, 1,000 artifacts", even(5), 1_000),
        ("6 skewed labels, 1,000 artifacts", skewed(6), 1_000),
    ):
        print(f"{name}, {draws:,} test splits:")
        kept &= _covered(shares, examples, draws)
    return kept


def _covered(shares: np.ndarray, examples: int, draws: int) -> bool:
    labels = [chr(ord(LABEL) + n) for n in range(len(shares))]
    chance = np.random.default_rng(3)
    truth = _flat(figures(*_drawn(shares, LARGE, chance), labels, SHARPNESS, 0, resamples=2))
    held = dict.fromkeys(truth, 0)
    for number in range(draws):
        logits, references = _drawn(shares, examples, chance)
        found = _flat(figures(logits, references, labels, SHARPNESS, number, resamples=400))
        for name, (_, low, high) in found.items():
            held[name] += low <= truth[name][0] <= high
    kept = True
    for name, count in held.items():
        share = count / draws
        sound = share >= LEAST if name in SHOWN else abs(share - 0.95) <= ALLOWED
        limit = "at least 90 %" if name in SHOWN else "95 ± 2 %"
        kept &= sound
        verdict = "kept" if sound else "MISSED"
        print(f"  {name:22} held {rate(count, draws)}   {limit}: {verdict}")
    return kept


def _drawn(
    shares: np.ndarray, examples: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    references = chance.choice(len(shares), examples, p=shares)
    found = chance.normal(size=(examples, len(shares)))
    found[np.arange(examples), references] += 1.5
    return (found * 1.5 + np.log(shares)) * SHARPNESS, references


def _flat(found: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Name → value, low, high."""
    whole = {n: found["intervals"][n] for n in (*FIGURES, *SHOWN)}
    told = {n: (one["value"], one["low"], one["high"]) for n, one in whole.items()}
    label = found["per_label"][LABEL]
    for name in PER_LABEL:
        told[f"{name} of one label"] = (label[name], *label["intervals"][name])
    for name in FIGURES[:2]:
        one = label[name]
        told[f"{name} of one label"] = (one["value"], one["low"], one["high"])
    return told
