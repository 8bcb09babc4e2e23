"""Linear layers of a model that is only judged, by oneDNN where MKL does not know the processor.

torch multiplies matrices of fp32 by Intel's MKL, which leaves half of the vector units of other
makers' processors unused. oneDNN, which torch brings as well, does not: a tenth is won there. It
sums in another order, so that answers are the same but for rounding. What is chosen depends on the
processor alone, so that a machine always gives the same answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn import functional

from handful.system.machine import cpu_maker

ROWS, MOST_ROWS = 128, 4096
"""oneDNN keeps half a megabyte for every number of rows (and shape of weights) that it has met. So
it gets few of them: where documents fill 128 positions, or 512, theirs are among these."""


@contextmanager
def quick_linear(model: nn.Module, device: torch.device) -> Iterator[bool]:
    """Whether the linear layers go by oneDNN; what they were is put back at the end."""
    compiled = any(part._compiled_call_impl is not None for part in model.modules())
    if device.type != "cpu" or not _is_won() or compiled or hasattr(model, "_orig_mod"):
        yield False
        return
    layers = [
        part for part in model.modules() if type(part) is nn.Linear and "forward" not in vars(part)
    ]
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield bool(layers)
    finally:
        for layer in layers:  # somebody else who judges at the same moment may have been here
            vars(layer).pop("forward", None)


def _forward(layer: nn.Linear, input: torch.Tensor) -> torch.Tensor:
    by_onednn, weight, bias = _by_onednn(), layer.weight, layer.bias
    if by_onednn is None or not _is_supported_linear(input, weight, bias):
        return functional.linear(input, weight, bias)
    found: torch.Tensor = by_onednn(input, weight, bias, "none", [], "")
    return found


def _is_supported_linear(
    states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> bool:
    if not all(map(_is_plain_fp32, (states, weight) if bias is None else (states, weight, bias))):
        return False
    rows = states.numel() // max(1, states.shape[-1])
    # oneDNN believes a bias to be dense.
    return (
        states.ndim > 1
        and weight.ndim == 2
        and (bias is None or (bias.shape == weight.shape[:1] and bias.is_contiguous()))
        and 0 < rows <= MOST_ROWS
        and rows % ROWS == 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
    )


def _is_plain_fp32(tensor: torch.Tensor) -> bool:
    """fp32 in the CPU's memory, of which nobody wants a gradient."""
    return (
        type(tensor) in (torch.Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not tensor.is_nested
        and not (torch.is_grad_enabled() and tensor.requires_grad)
    )


@functools.cache
def _is_won() -> bool:
    """Measured on an EPYC with AVX-512 only; Intel's MKL knows Intel's processors."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and cpu_maker() == "AuthenticAMD" and _by_onednn() is not None


@functools.cache
def _by_onednn() -> Callable[..., Any] | None:
    """torch's own way to it for tensors of the usual kind; None where this torch has none."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
