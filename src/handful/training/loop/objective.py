"""What is minimised: the model's own loss, or a weighted, smoothed cross-entropy of its logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from handful.training.data.batches import Indices
from handful.training.data.splits import LABELS


class Objective:
    """The loss of a batch.

    The model's own `.loss` counts, unless `LABEL_SMOOTHING` or `CLASS_WEIGHTS` ask for more: then
    it is the cross-entropy of its logits, weighted and smoothed.
    """

    def __init__(self, smoothing: float = 0.0, weights: torch.Tensor | None = None) -> None:
        self.smoothing = smoothing
        self.weights = weights

    def __call__(self, output: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scalar; the mean over the batch."""
        if not self.smoothing and self.weights is None:
            loss: torch.Tensor = output.loss.float()
            return loss.mean() if loss.ndim else loss
        logits = output.logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return functional.cross_entropy(
            logits, batch[LABELS], weight=weights, label_smoothing=self.smoothing
        )

    def mass(self, references: Indices) -> float:
        """What the mean is divided by: parts of a batch are put together in this proportion.

        `references`: [n] label ids.
        """
        if self.weights is None:
            return float(len(references))
        return float(self.weights.double()[torch.from_numpy(references)].sum())


def compute_label_weights(references: Indices, labels: int) -> torch.Tensor:
    """[C] n / (labels that are there × n_c), as scikit-learn's "balanced"; 0 for absent labels."""
    counts = np.bincount(references, minlength=labels).astype(np.float64)
    there = counts > 0
    weights = np.zeros(labels)
    weights[there] = len(references) / (there.sum() * counts[there])
    return torch.tensor(weights, dtype=torch.float32)
