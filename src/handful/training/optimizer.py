"""AdamW, and a learning rate that is a pure function of the step."""

from __future__ import annotations

import math

import torch

CLIP_NORM = 1.0
"""The usual bound of the gradient's norm when fine-tuning transformers (Devlin et al., 2019)."""


def make_optimizer(
    model: torch.nn.Module, learning_rate: float, weight_decay: float, device: torch.device
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) over what is trainable.

    Vectors (biases and the scales of norms) are not decayed. The fused kernel is taken where
    torch has it.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = device.type in {"cpu", "cuda"} and all(p.is_floating_point() for p in trainable)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=fused)


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
    for group in optimizer.param_groups:
        group["lr"] = rate
