"""What a model asks of torch while it trains on a CPU, done faster: dropout, and attention with it.

Nothing of the model is changed. While `cpu_kernels` is entered, two of torch's functions, where
they draw, are done by `dropout.py` and `attention.py`: the same distribution, other random numbers.
Whatever these do not know goes to torch as it came. A function of torch's own kind that looks at
calls (`TorchFunctionMode`) would not do: gradient checkpointing goes forward once more inside of
`backward`, where such a mode is not asked, and would draw otherwise there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.nn import functional

from handful.progress import Progress
from handful.training.cpu.attention import attention
from handful.training.cpu.dropout import dropout, is_drawn
from handful.training.cpu.kernel_check import find_kernel_fault

Functions = Mapping[str, Callable[..., Any]]
_TOLD: set[str] = set()


def use_cpu_kernels(wanted: str, progress: Progress) -> bool:
    """Is what stands in this room to be used? `wanted`: CPU_KERNELS, "auto" or "off".

    `progress` is told, once a process, if it would be and cannot.
    """
    if wanted == "off":
        return False
    fault = find_kernel_fault()
    if fault and fault not in _TOLD:
        _TOLD.add(fault)
        progress.warn(f"CPU_KERNELS are off, torch does it all in its own, slower way: {fault}")
    return not fault


@contextmanager
def cpu_kernels(device: torch.device, *, compiled: bool, on: bool = True) -> Iterator[None]:
    """Around forward and backward; a compiled model has ways of its own."""
    if device.type != "cpu" or compiled or not on:
        yield
        return
    before = replace_torch_functions()
    try:
        yield
    finally:
        restore_torch_functions(before)


def replace_torch_functions() -> Functions:
    """For the whole process; what they were until now, by name."""
    before = {name: getattr(functional, name) for name in _CPU_KERNELS}
    for name, quick in _CPU_KERNELS.items():
        setattr(functional, name, _either(quick, before[name]))
    return before


def restore_torch_functions(before: Functions) -> None:
    """Undo `replace_torch_functions`, which gave `before`."""
    for name, function in before.items():
        setattr(functional, name, function)


def _either(quick: Callable[..., torch.Tensor | None], own: Callable[..., Any]) -> Any:
    @functools.wraps(own)
    def either(*args: Any, **kwargs: Any) -> Any:
        # Whoever compiles or traces a model looks into what it calls; torch's own is known there.
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        watched = torch.compiler.is_compiling() or traced
        answer = None if watched else quick(*args, **kwargs)
        return own(*args, **kwargs) if answer is None else answer

    return either


def _dropout(
    input: torch.Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> torch.Tensor | None:
    """As torch's own; None for what is left to it."""
    if training and not inplace and _is_drawn(p) and _is_plain_cpu_float(input):
        return dropout(input, p)
    return None


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor | None:
    """As torch's own; None for what is left to it."""
    if is_causal or enable_gqa or not _is_drawn(dropout_p):
        return None
    if not _are_alike(query, key, value) or not _is_supported_mask(attn_mask, query, key):
        return None
    return attention(query, key, value, attn_mask, dropout_p, scale)


def _is_drawn(rate: object) -> bool:
    return isinstance(rate, int | float) and is_drawn(rate)


def _are_alike(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> bool:
    """[B, H, ·, ·] of a type that is computed in, with as many heads of each?"""
    if not all(map(_is_plain_cpu_float, (query, key, value))):
        return False
    if not query.ndim == key.ndim == value.ndim == 4:
        return False
    kinds = {query.dtype, key.dtype, value.dtype}
    if torch.is_autocast_enabled("cpu"):
        good = torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.float64 not in kinds
    else:
        good = len(kinds) == 1 and torch.float16 not in kinds
    if not good or query.shape[3] != key.shape[3]:
        return False
    return query.shape[:2] == key.shape[:2] == value.shape[:2] and key.shape[2] == value.shape[2]


def _is_supported_mask(mask: torch.Tensor | None, query: torch.Tensor, key: torch.Tensor) -> bool:
    """Is it one that torch would take, too, and that learns nothing?"""
    if mask is None:
        return True
    if type(mask) is not torch.Tensor or mask.requires_grad or not 2 <= mask.ndim <= 4:
        return False
    # In these torch would make of it what it makes of the queries.
    rounded = torch.is_autocast_enabled("cpu") and mask.dtype in _ROUNDED
    if mask.dtype not in (torch.bool, query.dtype) and not rounded:
        return False
    if mask.shape[-1] != key.shape[2]:
        return False
    sizes = query.shape[3 - mask.ndim + 1 : 3]
    return all(size in (1, full) for size, full in zip(mask.shape[:-1], sizes, strict=True))


def _is_plain_cpu_float(tensor: torch.Tensor) -> bool:
    """Numbers in the CPU's memory, and nothing that stands for some or is led along."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.is_floating_point()
        and tensor.numel() > 0
        and not torch._C._are_functorch_transforms_active()
        and forward_ad.unpack_dual(tensor).tangent is None  # type: ignore[no-untyped-call]
    )


_ROUNDED = (torch.float32, torch.bfloat16)
_CPU_KERNELS: Mapping[str, Callable[..., torch.Tensor | None]] = {
    "dropout": _dropout,
    "scaled_dot_product_attention": _attention,
}
