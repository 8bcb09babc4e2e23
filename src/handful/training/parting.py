"""Whether a batch is taken in parts on a CPU, and how large they are.

A processor is fast while a batch's activations stay in its caches. Parts give the same gradient if
the loss of a batch is the mean of its examples' losses, and if no layer looks across the batch;
that is tried on a few examples first. A batch that compares its examples stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from handful.training.batches import Indices
from handful.training.collate import Collator
from handful.training.data import SplitData
from handful.training.objective import Objective
from handful.training.state import random_state, set_random_state

CACHED = 2048
"""Positions, padding included, that a CPU takes at once. It makes a model of MiniLM's size no
slower at any length, and up to an eighth faster where its activations would leave the processor's
cache; and they take less memory."""
_FEW = 4
_ROUNDING = 1e-3
"""Padding moves a loss in fp32 by far less."""


def judged_at_once(device: torch.device) -> int:
    """How many positions are judged at once on `device`; 0: any number. No example minds others."""
    return CACHED if device.type == "cpu" else 0


def positions_at_once(
    model: nn.Module, data: SplitData, collate: Collator, objective: Objective, most: int
) -> int:
    """How many positions `model`, on the CPU and in fp32, is trained on at once; 0: any number.

    `most`: the examples of a batch. Draws nothing from any generator, and changes no weight.
    """
    if most * int(data.lengths.max()) <= CACHED:
        return CACHED  # all batches are small enough
    if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules()):
        return 0
    before, training = random_state(), model.training
    model.eval()
    try:
        with torch.inference_mode():
            return CACHED if _adds_up(model, data, collate, objective) else 0
    finally:
        model.train(training)
        set_random_state(before)


def _adds_up(model: nn.Module, data: SplitData, collate: Collator, objective: Objective) -> bool:
    def loss(indices: Indices) -> float:
        batch: Mapping[str, torch.Tensor] = collate(data.batch(indices))
        return float(objective(model(**batch), batch))

    some = unlike(data.references)
    alone = [some[at : at + 1] for at in range(len(some))]
    masses = [objective.mass(data.references[one]) for one in alone]
    return add_up(loss(some), [loss(one) for one in alone], masses)


def unlike(references: Indices) -> Indices:
    """A few examples, of different labels where there are any."""
    _, first = np.unique(references, return_index=True)
    return first[:_FEW] if len(first) > 1 else np.arange(min(_FEW, len(references)))


def add_up(whole: float, parts: Sequence[float], masses: Sequence[float]) -> bool:
    """Is the loss of a batch the mean of its parts' losses, by their masses?

    It is not where a loss compares the examples of a batch with each other, or sums them up.
    """
    mean = float(np.average(parts, weights=masses)) if sum(masses) else 0.0
    return abs(whole - mean) <= _ROUNDING * max(1.0, abs(mean))
