"""Models as tables of chances, so that the true value of every metric is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handful.evaluation.metrics.arrays import Floats
from handful.evaluation.metrics.bootstrap import Answers
from handful.evaluation.metrics.counts import MEASURES, Counts
from handful.records.metric_names import LOG_LOSS

EASY = 0.35
"""The share of examples that every model of a world gets right: models err together."""


@dataclass(frozen=True)
class World:
    """Labels with their shares, and for each model the chance to be right on each label."""

    shares: Floats
    """[C], their sum is 1."""
    right: Floats
    """[M, C]."""

    def drawn(self, examples: int, chance: np.random.Generator) -> Answers:
        """A test split of so many examples, with every model's answers."""
        models, labels = self.right.shape
        references = chance.choice(labels, examples, p=self.shares)
        easy = chance.random(examples) < EASY
        # Given that an example is not easy, a model is right as often as its table demands.
        hard = (self.right[:, references] - EASY) / (1 - EASY)
        right = easy | (chance.random((models, examples)) < hard)
        wrong = (references + chance.integers(1, labels, (models, examples))) % labels
        predictions = np.where(right, references, wrong)
        losses = np.where(right, 0.2, 2.0) * chance.exponential(1.0, (models, examples))
        return Answers(references, predictions, losses, labels)

    def truth(self) -> dict[str, Floats]:
        """Every metric of every model, in the world itself: name → [M]."""
        labels = len(self.shares)
        hits = self.right * self.shares
        missed = (self.shares * (1 - self.right)) / (labels - 1)
        predicted = hits + missed.sum(axis=1, keepdims=True) - missed
        counts = Counts(np.broadcast_to(self.shares, hits.shape), predicted, hits)
        found = {name: measure(counts) for name, measure in MEASURES.items()}
        accuracy = hits.sum(axis=1)
        return found | {LOG_LOSS: 0.2 * accuracy + 2.0 * (1 - accuracy)}


def even(labels: int) -> Floats:
    """Shares of labels that are equally frequent."""
    return np.full(labels, 1 / labels)


def skewed(labels: int, ratio: float = 0.7) -> Floats:
    """Shares that fall by `ratio` from label to label."""
    shares = ratio ** np.arange(labels)
    return shares / shares.sum()


def rate(count: int, of: int) -> str:
    """A share of trials with its standard error."""
    share = count / of
    return f"{share:6.1%} ± {np.sqrt(max(share * (1 - share), 1e-9) / of):.1%}"
