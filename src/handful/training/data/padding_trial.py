"""Does a model see the padding? One short row alone, and the same beside a long one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from handful.training.data.collate import LEFT, Collator
from handful.training.data.splits import SplitData
from handful.training.loop.state import random_state, set_random_state

_LONG_ENOUGH = 4
"""The longer row is at most so many times longer, if there is one: it has to take little time."""
_DEPTH = 4
"""How deep in the model a part is named."""
_VISIBLE = 1e-4


@dataclass(frozen=True)
class Seen:
    """What padding changed."""

    difference: float
    """The greatest of a logit, over 1 or the greatest logit."""
    part: str
    """The first part of the model whose output differs; empty if none was found."""

    @property
    def place(self) -> str:
        return f" (first in {self.part})" if self.part else ""


def padding_seen(model: nn.Module, data: SplitData, collate: Collator) -> Seen | None:
    """How much the logits of the shortest row change beside a longer one.

    None if all rows of `data` are of one length, or if the model answers by chance anyway. In eval
    mode; leaves weights, mode and generators as they were. Raises what `forward` raises.
    """
    pair = short_and_longer(data)
    if pair is None:
        return None
    before, training = random_state(), model.training
    model.eval()
    try:
        with torch.inference_mode():
            alone = _answer(model, data, collate, pair[:1])
            again = _answer(model, data, collate, pair[:1])
            beside = _answer(model, data, collate, pair)
    finally:
        model.train(training)
        set_random_state(before)
    if not torch.allclose(alone.logits, again.logits, _VISIBLE, _VISIBLE):
        return None
    scale = max(1.0, float(alone.logits.abs().max()))
    difference = float((alone.logits - beside.logits).abs().max()) / scale
    return Seen(difference, _first_part(alone, beside, collate.side == LEFT))


def short_and_longer(data: SplitData) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """The shortest row and a longer one, that is not much longer if there is one; None if all are
    of one length.

    Two row numbers, [2].
    """
    order = np.argsort(data.lengths, kind="stable")
    short = int(data.lengths[order[0]]) if len(order) else 0
    longer = order[data.lengths[order] > short]
    if not len(longer):
        return None
    fitting = longer[data.lengths[longer] <= _LONG_ENOUGH * max(1, short)]
    return np.array([order[0], fitting[-1] if len(fitting) else longer[0]], dtype=np.int64)


@dataclass(frozen=True)
class _Answer:
    logits: torch.Tensor
    """[C], of the short row."""
    outputs: dict[str, torch.Tensor]
    """Part of the model → its output for the short row, in the order of the calls."""


def _answer(
    model: nn.Module,
    data: SplitData,
    collate: Collator,
    rows: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> _Answer:
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in collate(data.batch(rows)).items()}
    with _capture_module_outputs(model) as outputs:
        found = model(**batch)
    return _Answer(found.logits[0].float().cpu(), outputs)


@contextmanager
def _capture_module_outputs(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    outputs: dict[str, torch.Tensor] = {}

    def hook(name: str) -> object:
        def record(_: nn.Module, __: object, output: object) -> None:
            # A tuple, or a ModelOutput, which is a dict that knows its order.
            first = output[0] if isinstance(output, tuple | dict) and output else output
            if isinstance(first, torch.Tensor) and first.ndim and first.is_floating_point():
                outputs.setdefault(name, first[0].float().cpu())

        return record

    handles = [
        part.register_forward_hook(hook(name))
        for name, part in model.named_modules()
        if name and name.count(".") < _DEPTH
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _first_part(alone: _Answer, beside: _Answer, left: bool) -> str:
    for name, one in alone.outputs.items():
        other = beside.outputs.get(name)
        if other is None or one.ndim != other.ndim or one.shape[1:] != other.shape[1:]:
            continue
        own = len(one) if one.ndim else 0
        if own and len(other) >= own:
            other = other[-own:] if left else other[:own]
        if one.shape == other.shape and not torch.allclose(one, other, _VISIBLE, _VISIBLE):
            return name
    return ""
