"""Whether a batch is taken in parts on a CPU, and how large they are.

A processor is fast while a batch's activations stay in its caches. Parts give the same gradient if
the loss of a batch is the mean of its examples' losses, and if no layer looks across the batch. No
trial can show that: a contrastive loss of its own may only compare examples while it trains, or as
long as its weights are not what they were at first. So it has to be known (a stock classifier of
Transformers, with that library's loss or ours), or the user says so: MICRO_BATCHES = on.
"""

from __future__ import annotations

import torch
from torch import nn

from handful.errors import UserError
from handful.training.cpu.module_checks import is_stock, is_stock_model
from handful.training.model.pooled import PooledClassifier

CACHED = 2048
"""Positions, padding included, that a CPU takes at once. It makes a model of MiniLM's size no
slower at any length, and up to an eighth faster where its activations would leave the processor's
cache; and they take less memory."""
_ONE_LABEL = (None, "single_label_classification")
_STOCK = ("transformers.", "torch.nn.", "peft.")
_STOCK_HEAD_SUFFIXES = ("ForSequenceClassification", "ForImageClassification")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def inference_position_limit(device: torch.device) -> int:
    """How many positions are judged at once on `device`; 0: any number. No example minds others."""
    return CACHED if device.type == "cpu" else 0


def positions_at_once(model: nn.Module, wanted: str, longest: int, most: int) -> int:
    """How many positions `model` is trained on at once on a CPU; 0: any number.

    Args:
        wanted: MICRO_BATCHES: "auto", "on" or "off".
        longest: positions of the longest example.
        most: the examples of a batch that one process takes.

    `UserError` where parts are wanted of a model with batch norm, which sees the batch.
    """
    if wanted == "off":
        return 0
    looks_across = has_batch_norm(model)
    if wanted == "on":
        if looks_across:
            raise UserError(
                f"{type(model).__name__} has batch norm, which needs its batches whole",
                where="[train] MICRO_BATCHES",
                remedy="write auto",
            )
        return CACHED
    if most * longest <= CACHED:
        return CACHED  # all batches are small enough
    return CACHED if not looks_across and is_known(model) else 0


def smallest_batch(model: nn.Module, batch_size: int, processes: int) -> int:
    """How many examples a batch has at least: two for each process where there is batch norm.

    `UserError` if BATCH_SIZE itself is less than that.
    """
    if not has_batch_norm(model):
        return 1
    least = 2 * processes
    if batch_size < least:
        raise UserError(
            f"{type(model).__name__} has batch norm, which needs two examples at least in each of "
            f"{processes} processes",
            where="[train] BATCH_SIZE",
            remedy=f"write {least} or more",
        )
    return least


def has_batch_norm(model: nn.Module) -> bool:
    norms = nn.modules.batchnorm._BatchNorm
    return any(isinstance(part, norms) for part in model.modules())


def is_known(model: nn.Module) -> bool:
    """Is its loss known to be the mean over its examples, each seen by itself?"""
    outer = type(model)
    if isinstance(model, PooledClassifier):
        return _keeps_apart(model.encoder)
    if outer.__module__.startswith("peft."):
        inner = getattr(getattr(model, "base_model", None), "model", None)
        return isinstance(inner, nn.Module) and is_stock_model(model) and is_known(inner)
    return (
        outer.__module__.startswith("transformers.")
        and outer.__name__.endswith(_STOCK_HEAD_SUFFIXES)
        and is_stock_model(model)
        # A loss that somebody has put in its place is found under this name.
        and getattr(model, "_loss_function", None) is None
        and getattr(getattr(model, "config", None), "problem_type", None) in _ONE_LABEL
        and _keeps_apart(model)
    )


def _keeps_apart(model: nn.Module) -> bool:
    """Is each example seen by itself?"""
    # Experts may be balanced over the whole batch.
    routed = getattr(getattr(model, "config", None), "output_router_logits", False)
    return not routed and all(
        _is_stock_without_hooks(part) for part in model.modules() if part is not model
    )


def _is_stock_without_hooks(part: nn.Module) -> bool:
    kind = type(part).__module__
    return (
        f"{kind}.".startswith(_STOCK)
        and is_stock(part)
        and not any(getattr(part, hooks, None) for hooks in _HOOKS)
    )
