"""Do the probabilities say how often the model is right, and if not, how can they be made to?

Temperature scaling (Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks",
ICML 2017): all logits are divided by one number, fitted on validation. It changes no prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from handful.evaluation.metrics.arrays import Floats, Indices
from handful.evaluation.metrics.ranked import Estimate

BINS = 15
"""Of equal width, as in the paper."""
LEAST, MOST = 0.05, 20.0
"""Between these a temperature is looked for."""
DRAWS = 2_000
SIZES = np.linspace(0.0, 2.0, 101)
"""Of the true gaps, against those that were found."""
OUTSIDE = 0.0125
"""Less than of a 95 % interval, since the shape of the gaps is a guess too."""


@dataclass(frozen=True)
class Bin:
    """The examples whose highest probability lies between two bounds."""

    low: float
    high: float
    count: int
    confidence: float
    """Their mean highest probability; 0 without examples."""
    accuracy: float
    """The share of them that are right; 0 without examples."""


def softmax(logits: Floats) -> Floats:
    """[N, C] in double precision."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def log_softmax(logits: Floats) -> Floats:
    """[N, C] natural logarithms of probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def losses(logits: Floats, references: Indices) -> Floats:
    """[N] −ln of the true label's probability: infinite only where its logit is.

    From logits, since a probability may be too small for a float.
    """
    highest = logits.max(axis=1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    found: Floats = total - logits[np.arange(len(references)), references]
    return found


def squares(probabilities: Floats, references: Indices) -> Floats:
    """[N] the Brier score of each answer: its squared distance from the truth, over all labels.

    Of two labels half of it, as scikit-learn has it: then it lies between 0 and 1, else 0 and 2.
    """
    rows = np.arange(len(references))
    truth = probabilities[rows, references]
    found: Floats = (probabilities**2).sum(axis=1) - truth**2 + (1.0 - truth) ** 2
    return found / 2 if probabilities.shape[1] == 2 else found


def fit_temperature(logits: Floats, references: Indices) -> float:
    """The temperature that makes `references` [N] the most probable, given `logits` [N, C].

    With a weak belief in 1 (its logarithm is normal around 0 with deviation 1), worth less than one
    example: answers that are all right would else ask for a temperature of 0.
    """
    if not len(references):
        return 1.0

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(losses(scaled, references).sum() + log_temperature**2 / 2)

    bounds = (float(np.log(LEAST)), float(np.log(MOST)))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def reliability(probabilities: Floats, references: Indices) -> tuple[Bin, ...]:
    """The bins of `probabilities` [N, C], from the least sure to the surest."""
    sure, right, number = _assign_confidence_bins(probabilities, references)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    counts = np.bincount(number, minlength=BINS)
    sums = np.bincount(number, sure, minlength=BINS)
    hits = np.bincount(number, right, minlength=BINS)
    many = np.maximum(counts, 1)
    return tuple(
        Bin(
            float(edges[n]),
            float(edges[n + 1]),
            int(counts[n]),
            float(sums[n] / many[n]),
            float(hits[n] / many[n]),
        )
        for n in range(BINS)
    )


def calibration_error(probabilities: Floats, references: Indices, seed: int = 0) -> Estimate:
    """The expected calibration error: the mean gap between confidence and accuracy over the bins.

    The error of a small sample is greater than the true one, by chance alone. So the interval holds
    those true errors (gaps of the shape that was found, of any size) that would give the figure
    in the middle 97.5 % of all samples; it may begin at 0, and lie mostly below the figure.

    `probabilities` [N, C], `references` [N]; `seed` draws the samples.
    """
    sure, right, number = _assign_confidence_bins(probabilities, references)
    total = len(sure)
    gaps = right - sure
    sums = np.bincount(number, gaps, minlength=BINS)
    value = float(np.abs(sums).sum() / total)
    # Sums over a bin of many examples are nearly normal: so their bootstrap needs no resampling.
    squares = np.bincount(number, gaps**2, minlength=BINS)
    values, vectors = np.linalg.eigh(np.diag(squares) - np.outer(sums, sums) / total)
    chance = np.random.default_rng(seed)
    noise = chance.standard_normal((DRAWS, BINS)) * np.sqrt(np.maximum(values, 0.0))
    noise = noise @ vectors.T
    possible = []
    for size in SIZES:
        drawn = np.abs(size * sums + noise).sum(axis=1) / total
        low, high = np.quantile(drawn, (OUTSIDE, 1 - OUTSIDE))
        if low <= value <= high:
            possible.append(size * value)
    if not possible:
        return Estimate(value, value, value)
    return Estimate(value, min(possible), max(possible))


def _assign_confidence_bins(
    probabilities: Floats, references: Indices
) -> tuple[Floats, Floats, Indices]:
    """How sure each answer is, whether it is right (1 or 0), and its bin, [N] each."""
    sure = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == references).astype(np.float64)
    number = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return sure, right, number
