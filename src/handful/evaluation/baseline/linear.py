"""Logistic regression on what the encoded data holds, and the most frequent label."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from handful.evaluation.baseline.arrays import Floats, Ids
from handful.evaluation.baseline.choosing import Numbers, Tokens
from handful.evaluation.baseline.numbers import pools
from handful.evaluation.baseline.tokens import Tfidf, token_counts
from handful.evaluation.metrics.calibration import log_softmax

MOST_STEPS = 300
MOST_WORK = 100_000_000
"""Values × labels in one fit: some seconds on one core. Of more rows a sample is fitted."""
_ENOUGH = 2
LEAST_ROWS = 50
"""Of a label, in such a sample."""
_LINEAR_SCORE_FLOOR = np.log(1e-9)
"""What a label gets that the train split has no example of."""


class Weights(Protocol):
    """Raw values → the columns of a linear model."""

    def transform(self, raw: Any) -> Any: ...


@dataclass(frozen=True)
class Kind:
    """How raw values are weighted, and the three strengths to choose from."""

    told: str
    fit: Callable[[Any], Weights]
    strengths: tuple[float, ...]
    """C of scikit-learn: the inverse of how strongly the weights are held down."""
    most_work: int | None = None
    """Values × labels in one fit; None: `MOST_WORK`."""
    intercept: bool = True


@dataclass(frozen=True)
class Read:
    """Every split as raw values [N, D], read once."""

    kind: Kind
    splits: Mapping[str, Any]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Linear:
    """A fitted model."""

    weights: Weights
    model: LogisticRegression | None
    """None if train holds one label only."""
    seen: Ids
    """The label ids that train holds, in the order of the model's own."""
    labels: int
    strength: float
    rows: int
    """How many rows of train it was fitted on."""

    def log_probabilities(self, raw: Any) -> Floats:
        """[N, D] → [N, C] natural logarithms of probabilities, all finite."""
        scores = np.full((raw.shape[0], self.labels), -np.inf)
        if self.model is None:
            scores[:, self.seen] = 0.0
        else:
            found = self.model.decision_function(self.weights.transform(raw))
            if found.ndim == 1:
                found = np.column_stack([np.zeros(len(found)), found])
            scores[:, self.seen] = log_softmax(found)
        return log_softmax(np.maximum(scores, _LINEAR_SCORE_FLOOR))

    @property
    def parameters(self) -> int:
        return 0 if self.model is None else self.model.coef_.size + self.model.intercept_.size


def read(usable: Tokens | Numbers, splits: Mapping[str, Any]) -> Read:
    """Split → its rows (Datasets in Arrow's format, `train` among them) as raw values."""
    train = splits["train"]
    if isinstance(usable, Tokens):
        reader: Any = token_counts(usable, train)
        kind = Kind(str(usable), Tfidf.fit, (1.0, 10.0, 100.0))
    else:
        reader = pools(usable, train)
        kind = Kind(str(usable), lambda raw: StandardScaler().fit(raw), (0.01, 0.1, 1.0))
    raw, seconds = {}, {}
    for name, rows in splits.items():
        started = time.monotonic()
        raw[name] = reader.read(rows)
        seconds[name] = time.monotonic() - started
    return Read(kind, raw, seconds)


def fit(kind: Kind, raw: Any, references: Ids, labels: int, strength: float) -> Linear:
    """`raw` [N, D], `references` [N] label ids; the same answer for the same input."""
    seen = np.unique(references)
    weights = kind.fit(raw)
    if len(seen) < 2:
        return Linear(weights, None, seen, labels, strength, raw.shape[0])
    rows = _affordable(raw, references, labels, kind.most_work or MOST_WORK)
    model = LogisticRegression(
        C=strength, max_iter=MOST_STEPS, tol=1e-3, fit_intercept=kind.intercept
    )
    with warnings.catch_warnings():
        # Stopped a little early it is still a baseline, and always the same one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(weights.transform(raw[rows]), references[rows])
    return Linear(weights, model, seen, labels, strength, len(rows))


def _affordable(raw: Any, references: Ids, labels: int, most_work: int) -> Ids:
    """The rows to fit on: all, or the same stratified sample every time."""
    work = (raw.nnz if sparse.issparse(raw) else raw.size) * labels
    if work <= most_work:
        return np.arange(len(references), dtype=np.int64)
    order = np.random.default_rng(0).permutation(len(references))
    counts = np.bincount(references, minlength=labels)
    wanted = np.maximum(LEAST_ROWS, np.ceil(counts * (most_work / work)))
    by_label = order[np.argsort(references[order], kind="stable")]
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen: Ids = np.sort(by_label[places < wanted[references[by_label]]])
    return chosen


def fit_best(
    found: Read,
    references: Mapping[str, Ids],
    labels: int,
    score: Callable[[Floats, Ids], float],
) -> Linear:
    """The best of the strengths by `score` (higher is better) on validation; of equals the least.

    Without a validation split it is the middle one. They rise; once two in turn are worse than the
    best, no further one is tried.

    `references`: split → [N] label ids; `score` is given log-probabilities [N, C] and references
    [N].
    """
    raw, kind = found.splits, found.kind
    if "validation" not in raw:
        return fit(kind, raw["train"], references["train"], labels, kind.strengths[1])
    best: tuple[float, Linear] | None = None
    worse = 0
    for strength in kind.strengths:
        model = fit(kind, raw["train"], references["train"], labels, strength)
        reached = score(model.log_probabilities(raw["validation"]), references["validation"])
        worse = 0 if best is None or reached >= best[0] else worse + 1
        if best is None or reached > best[0]:
            best = (reached, model)
        if worse == _ENOUGH:
            break
    if best is None:
        raise ValueError("a kind needs strengths to choose from")
    return best[1]


def majority(references: Ids, labels: int, count: int) -> Floats:
    """[count, C] the same answer for each: how frequent the labels are in train, as logarithms.

    One example of every label is added, so that none is impossible (Laplace's rule).
    """
    found = np.bincount(references, minlength=labels) + 1.0
    return np.tile(np.log(found / found.sum()), (count, 1))
