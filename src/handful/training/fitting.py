"""AUTO_BATCH: how many examples a device can take at once; the rest of a batch is accumulated.

A batch of the longest examples goes forward and back, halved until it fits. The optimizer's state
does not exist yet at that moment, so room for it is held.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from handful.errors import StepError
from handful.training.batches import Indices
from handful.training.data import SplitData
from handful.training.state import random_state, set_random_state

Try = Callable[[Indices], None]
"""Forward and back with these examples; raises torch's own error where the memory is too small."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says so, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def largest(attempt: Try, data: SplitData, most: int, ballast: torch.nn.Module) -> int:
    """The largest of `most`, `most`/2, … examples that fit. `StepError` if not even one does.

    `ballast`: the model whose optimizer will need two numbers for each trainable parameter.
    """
    before = random_state()
    longest = (-data.lengths).argsort(kind="stable")
    size = most
    try:
        while not _fits(attempt, longest[:size], ballast):
            if size == 1:
                raise StepError(
                    f"not even one example of {int(data.lengths.max())} positions fits into memory",
                    where="[train] AUTO_BATCH",
                    remedy="set GRADIENT_CHECKPOINTING = true, or encode shorter inputs",
                )
            size = (size + 1) // 2
    finally:
        set_random_state(before)
    return size


def _fits(attempt: Try, indices: Indices, ballast: torch.nn.Module) -> bool:
    try:
        room = [
            torch.empty(2, *p.shape, device=p.device)
            for p in ballast.parameters()
            if p.requires_grad
        ]
        attempt(indices)
        del room
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return False
    return True
