"""The last linear layer of a classifier: its head, and the vectors that it is given.

Which layer that is, no name tells. It is tried: with the layer taken out, what the model gives for
logits are the head's inputs, and the layer makes the logits of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from handful.evaluation.metrics.arrays import Floats
from handful.training.data.splits import LABELS

_HEAD_LOGITS_TOLERANCE = 1e-3
"""Of logits, absolute and relative; the layer may be computed in another order of sums."""


@dataclass(frozen=True)
class Head:
    """A linear layer [C, H] that gives a model's logits."""

    name: str
    """Of the layer in the model."""
    width: int
    """H."""
    bias: bool = True
    """Has it one? Those of decoders have none."""

    @property
    def parameters(self) -> frozenset[str]:
        names = ("weight", "bias") if self.bias else ("weight",)
        return frozenset(f"{self.name}.{name}" for name in names)

    def fill(self, model: nn.Module, weight: Floats, bias: Floats) -> None:
        """Give the layer these weights [C, H] and, if it has one, this bias [C]."""
        layer: Any = model.get_submodule(self.name)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            if self.bias:
                layer.bias.copy_(torch.from_numpy(bias))


def find_head(model: nn.Module, batch: Mapping[str, torch.Tensor], labels: int) -> Head | None:
    """The head of `model` for so many labels, by its logits of `batch`; None if it has none.

    `batch`: tensors [B, …].
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            wanted = compute_cpu_logits(model, batch)
            for name, layer in model.named_modules():
                if isinstance(layer, nn.Linear) and layer.out_features == labels:
                    with without_head(model, name):
                        inputs = compute_cpu_logits(model, batch)
                    if _makes(layer, inputs, wanted):
                        return Head(name, layer.in_features, layer.bias is not None)
    except Exception:  # noqa: BLE001 - a forward of anybody's, which may need that layer
        return None
    finally:
        model.train(training)
    return None


@contextmanager
def without_head(model: nn.Module, name: str) -> Iterator[None]:
    """Meanwhile what `model` gives for logits are the inputs of its layer `name`."""
    parent, _, last = name.rpartition(".")
    owner = model.get_submodule(parent)
    layer = getattr(owner, last)
    setattr(owner, last, nn.Identity())
    try:
        yield
    finally:
        setattr(owner, last, layer)


def compute_cpu_logits(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the model gives for logits, on the CPU; it is told no labels if it can do without.

    [B, C] in fp32; `batch`: tensors [B, …].
    """
    takes = inspect.signature(model.forward).parameters
    needed = LABELS in takes and takes[LABELS].default is inspect.Parameter.empty
    device = next(model.parameters()).device
    given = {key: value.to(device) for key, value in batch.items() if needed or key != LABELS}
    found: torch.Tensor = model(**given).logits
    return found.float().cpu()


def _makes(layer: nn.Linear, inputs: torch.Tensor, logits: torch.Tensor) -> bool:
    if inputs.ndim != 2 or inputs.shape[1] != layer.in_features:
        return False
    made = layer(inputs.to(layer.weight)).float().cpu()
    return made.shape == logits.shape and bool(
        np.allclose(made.numpy(), logits.numpy(), _HEAD_LOGITS_TOLERANCE, _HEAD_LOGITS_TOLERANCE)
    )
