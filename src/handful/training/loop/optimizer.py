"""AdamW, and a learning rate that is a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Pace:
    """What learns at a rate of its own."""

    names: frozenset[str] = frozenset()
    """Of parameters."""
    times: float = 1.0
    """Their learning rate, over that of the others."""


EVEN = Pace()
_TIMES = "times"
CLIP_NORM = 1.0
"""The usual bound of the gradient's norm when fine-tuning transformers (Devlin et al., 2019)."""


def make_optimizer(
    model: torch.nn.Module,
    learning_rate: float,
    weight_decay: float,
    device: torch.device,
    pace: Pace = EVEN,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) over what is trainable.

    Vectors (biases and the scales of norms) are not decayed. What `pace` names stands in groups of
    its own, unless it learns as fast as the rest. The fused kernel is taken where torch has it.

    `learning_rate` is the peak; `weight_decay` is a share of the weight, times the rate, in each
    step.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    trainable = list(named.values())
    apart = {name for name in named if name in pace.names and pace.times != 1.0}
    groups = _groups([p for name, p in named.items() if name not in apart], weight_decay)
    for group in _groups([named[name] for name in sorted(apart)], weight_decay):
        groups.append({**group, "lr": learning_rate * pace.times, _TIMES: pace.times})
    fused = device.type in {"cpu", "cuda"} and all(p.is_floating_point() for p in trainable)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


def _groups(parameters: list[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices, which are decayed, and vectors, which are not; only what there is."""
    matrices, vectors = ([p for p in parameters if (p.ndim >= 2) == many] for many in (True, False))
    found = ((matrices, weight_decay), (vectors, 0.0))
    return [{"params": those, "weight_decay": decay} for those, decay in found if those]


def learning_rate_at(step: int, total: int, peak: float, warmup: float) -> float:
    """The rate of the step after `step` steps of `total`; `warmup` is a share of the steps.

    It rises linearly to `peak` at the last step of the warm-up, then falls linearly, and is above
    zero in every step: a step with a rate of zero would be wasted.
    """
    rising = math.ceil(total * warmup)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * max(0, total - step) / max(1, total - rising)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """`rate` is of what has no pace of its own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * float(group.get(_TIMES, 1.0))
