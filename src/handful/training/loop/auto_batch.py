"""AUTO_BATCH: how many examples a device can take at once; the rest of a batch is accumulated.

A batch of the longest examples goes forward and back, in 1, 2, 4, … parts until one fits, then in
as few parts as do: of 32 examples where 11 fit, 11 at a time and not 8. The optimizer's state
does not exist yet at that moment, so room for it is held.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from handful.errors import StepError
from handful.training.data.batches import Indices
from handful.training.data.splits import SplitData
from handful.training.loop.state import random_state, set_random_state

Try = Callable[[Indices], None]
"""Forward and back with these examples; raises torch's own error where the memory is too small."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch says so, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def out_of_memory(
    error: RuntimeError, examples: int, batch: dict[str, torch.Tensor]
) -> StepError | None:
    """A clear error if `error` means that the batch did not fit into memory.

    `batch`: tensors of `examples` rows, [n, …].
    """
    if not is_out_of_memory(error):
        return None
    shape = max((list(tensor.shape) for tensor in batch.values()), key=len)
    return StepError(
        f"a batch of {examples} examples, padded to {shape}, does not fit into memory",
        where="[train] BATCH_SIZE",
        remedy="set AUTO_BATCH = true or GRADIENT_CHECKPOINTING = true, or lower BATCH_SIZE",
    )


def largest(attempt: Try, data: SplitData, most: int, ballast: torch.nn.Module) -> int:
    """The largest even part of `most` examples that fits. `StepError` if not even one does.

    `ballast`: the model whose optimizer will need two numbers for each trainable parameter.
    """
    before = random_state()
    longest = (-data.lengths).argsort(kind="stable")

    def fits(parts: int) -> bool:
        return _can_fit_batch(attempt, longest[: -(-most // parts)], ballast)

    try:
        too_few, enough = 0, 1
        while not fits(enough):
            if enough >= most:
                raise StepError(
                    f"not even one example of {int(data.lengths.max())} positions fits into memory",
                    where="[train] AUTO_BATCH",
                    remedy="set GRADIENT_CHECKPOINTING = true, or encode shorter inputs",
                )
            too_few, enough = enough, min(2 * enough, most)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            too_few, enough = (too_few, middle) if fits(middle) else (middle, enough)
    finally:
        set_random_state(before)
    return -(-most // enough)


def _can_fit_batch(attempt: Try, indices: Indices, ballast: torch.nn.Module) -> bool:
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
