"""Paired bootstrap intervals of every metric (Efron, Annals of Statistics 7, 1979).

The test examples are drawn anew with replacement, the same draw for all models, so that what the
models share cancels out in their differences. Examples that all models answer alike are one cell;
a draw is a count per cell, and all metrics of all draws come from those counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from handful.evaluation.metrics.arrays import Floats, Indices
from handful.evaluation.metrics.counts import MEASURES, Counts, count_label_outcomes
from handful.records.metric_names import BRIER, LOG_LOSS

RESAMPLES = 2_000
LEVEL = 0.95
_BOOTSTRAP_BLOCK_CELLS = 8_000_000
"""Numbers of one block of draws: bounds the memory."""


@dataclass(frozen=True)
class Answers:
    """What M models said of the same N examples with C labels."""

    references: Indices
    """[N] true label ids."""
    predictions: Indices
    """[M, N] label ids."""
    losses: Floats
    """[M, N] negative log-probability of the true label."""
    labels: int
    """C."""
    squares: Floats | None = None
    """[M, N] Brier score of each example; None if nobody asks for it."""

    def __post_init__(self) -> None:
        shape = self.predictions.shape
        if self.losses.shape != shape or shape[1:] != self.references.shape or not shape[-1]:
            raise ValueError(
                f"references {self.references.shape}, predictions {shape} and losses "
                f"{self.losses.shape} are not the same examples"
            )


def compute_answer_metrics(answers: Answers) -> dict[str, Floats]:
    """Every metric of every model: name → [M]."""
    each = [
        count_label_outcomes(answers.references, one, answers.labels) for one in answers.predictions
    ]
    counts = Counts(
        np.stack([one.support for one in each]),
        np.stack([one.predicted for one in each]),
        np.stack([one.hits for one in each]),
    )
    found = {name: measure(counts) for name, measure in MEASURES.items()}
    return found | {name: each.mean(axis=1) for name, each in _means(answers).items()}


def resample_answer_metrics(
    answers: Answers, *, seed: int, resamples: int = RESAMPLES
) -> Mapping[str, Floats]:
    """Every metric of every model in every draw: name → [M, R]. The same for the same `seed`."""
    models = len(answers.predictions)
    means = _means(answers)
    found = {name: np.empty((models, resamples)) for name in (*MEASURES, *means)}
    cells, number = _cells(answers)
    tallies = [_tallies(cells, model, answers.labels) for model in range(models)]
    drawn = _draws(number, cells.shape[1], means, seed, resamples)
    for block, weights, mean_values in drawn:
        for model, (support, predicted, hits) in enumerate(tallies):
            counts = Counts((support @ weights).T, (predicted @ weights).T, (hits @ weights).T)
            for name, measure in MEASURES.items():
                found[name][model, block] = measure(counts)
        for name, values in mean_values.items():
            found[name][:, block] = values
    return found


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of one metric's draws [R]."""
    outside = (1 - level) / 2
    low, high = np.quantile(values, (outside, 1 - outside))
    return float(low), float(high)


def _means(answers: Answers) -> dict[str, Floats]:
    """What is a mean over examples: name → [M, N]."""
    found = {LOG_LOSS: answers.losses}
    return found if answers.squares is None else found | {BRIER: answers.squares}


def _cells(answers: Answers) -> tuple[Indices, Indices]:
    """Distinct (label, prediction of each model): [1 + M, K]; and each example's cell [N]."""
    table = np.vstack([answers.references, answers.predictions])
    cells, number = np.unique(table, axis=1, return_inverse=True)
    return cells, number.reshape(-1).astype(np.int64)


def _tallies(
    cells: Indices, model: int, labels: int
) -> tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]:
    """[C, K] each: which cells count for which label, as support, prediction and hit."""
    references, predictions = cells[0], cells[1 + model]
    columns = np.arange(cells.shape[1])
    right = np.flatnonzero(references == predictions)

    def tally(rows: Indices, at: Indices) -> sparse.csr_array:
        ones = np.ones(len(at))
        return sparse.csr_array((ones, (rows, at)), shape=(labels, cells.shape[1]))

    return tally(references, columns), tally(predictions, columns), tally(references[right], right)


def _draws(
    number: Indices, cells: int, means: Mapping[str, Floats], seed: int, resamples: int
) -> Iterator[tuple[slice, Floats, dict[str, Floats]]]:
    """Blocks of draws: which, how often each cell was drawn [K, R], means by name [M, R]."""
    chance = np.random.default_rng(seed)
    total = len(number)
    # Examples of one cell are put together, so that a cell's count is the sum of a run. What is
    # drawn are the examples as they came: whoever else is compared, a model's draws are the same.
    order = np.argsort(number, kind="stable")
    first_of_cell = np.searchsorted(number[order], np.arange(cells))
    size = max(1, min(resamples, _BOOTSTRAP_BLOCK_CELLS // cells))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        weights = np.empty((cells, count))
        found = {name: np.empty((len(each), count)) for name, each in means.items()}
        for draw in range(count):
            rows = chance.integers(0, total, total)
            times = np.bincount(rows, minlength=total).astype(np.float64)
            weights[:, draw] = np.add.reduceat(times[order], first_of_cell)
            for name, each in means.items():
                found[name][:, draw] = each @ times / total
        yield slice(start, start + count), weights, found
