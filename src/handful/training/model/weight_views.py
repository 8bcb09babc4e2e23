"""Weights that are views of one storage get storages of their own, so that they can be saved."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain

import torch


def part_storage(model: torch.nn.Module) -> None:
    """Copy tensors of `model` that share a storage without being the same tensor.

    Some models cut q, k and v out of one matrix as they load; safetensors refuses to save what
    overlaps, and an optimizer that works in place would see each number twice. Tied weights, which
    are the same tensor under two names, stay tied.
    """
    shared: dict[int, list[torch.Tensor]] = defaultdict(list)
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.numel() and tensor.device.type != "meta":
            shared[tensor.untyped_storage().data_ptr()].append(tensor)
    for tensors in shared.values():
        copies = {_weight_view_key(tensor): tensor.detach().clone() for tensor in tensors}
        if len(copies) > 1:
            for tensor in tensors:
                tensor.data = copies[_weight_view_key(tensor)]


def _weight_view_key(tensor: torch.Tensor) -> tuple[int, torch.Size, tuple[int, ...]]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
