"""Do the CPU kernels of this room give here what the formulas give? Looked at once a process.

They lean on names of torch that are not public, and on what stands behind them. Where one is
missing, or an answer is another, torch's own way is always there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter

import torch
from torch import nn

from handful.training.cpu.attention import attention
from handful.training.cpu.dropout import dropout, scale_of

PRIVATE_NAMES = (
    "_softmax_backward_data",
    "_C._functorch.is_legacy_batchedtensor",
    "_C._are_functorch_transforms_active",
    "nn.Module._compiled_call_impl",
)
"""What the kernels ask of torch beside its public names."""
PRIVATE_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
"""And of a module."""
Pairs = Iterator[tuple[torch.Tensor, torch.Tensor]]
"""What a kernel gives, and what the formula gives."""
_RATE = 0.25


@functools.cache
def find_kernel_fault() -> str:
    """Why the kernels cannot be used here, in words; empty if they can."""
    for name in PRIVATE_NAMES:
        try:
            attrgetter(name)(torch)
        except AttributeError:
            return f"torch {torch.__version__} has no torch.{name}"
    module = nn.Module()
    for name in PRIVATE_HOOKS:
        if not hasattr(module, name):
            return f"a module of torch {torch.__version__} has no {name}"
    # Whatever the caller is in the midst of, and without a trace in its random numbers.
    with (
        torch.random.fork_rng(devices=[]),
        torch.autocast("cpu", enabled=False),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
    ):
        for name, check in CHECKS.items():
            _seed_cpu(0)
            try:
                good = all(torch.allclose(ours, plain, 1e-3, 1e-5) for ours, plain in check())
            except (RuntimeError, TypeError, NotImplementedError) as error:
                return f"{name} fails: {' '.join(str(error).split())[:200]}"
            if not good:
                return f"{name} does not give what the formula gives"
    return ""


def _seed_cpu(seed: int) -> None:
    """Of the CPU alone: what `torch.manual_seed` does to a GPU would not be undone."""
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())


def _check_dropout() -> Pairs:
    values = torch.arange(1, 4097, dtype=torch.float32, requires_grad=True)
    thinned = dropout(values, _RATE)
    kept = (thinned != 0).float()
    nothing = torch.tensor(0.0, dtype=torch.float32)
    yield kept.mean().sub(1 - _RATE).div(0.05).trunc(), nothing  # 7 deviations
    yield thinned, values * kept * scale_of(_RATE)
    yield torch.autograd.grad(thinned.sum(), values)[0], kept * scale_of(_RATE)


def _check_attention() -> Pairs:
    inputs = [torch.randn(2, 3, n, 4, dtype=torch.float32, requires_grad=True) for n in (5, 7, 7)]
    q, k, v = inputs  # (B, H, L, D), (B, H, S, D), (B, H, S, E)
    seen = torch.arange(7).expand(2, 1, 5, 7) < torch.tensor([7, 4]).view(2, 1, 1, 1)

    def run(values: torch.Tensor) -> torch.Tensor:
        _seed_cpu(1)
        return attention(q, k, values, seen, _RATE, None)

    # Where the values are a unit matrix, the answer is what was kept of the weights.
    kept = (run(torch.eye(7, dtype=torch.float32).expand(2, 3, 7, 7)) > 0).float() * scale_of(_RATE)
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen, -math.inf)
    ours, plain = run(v), (torch.softmax(scores, -1) * kept) @ v
    yield ours, plain
    weight = torch.randn_like(ours)
    yield from zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((plain * weight).sum(), inputs),
        strict=True,
    )


CHECKS: Mapping[str, Callable[[], Pairs]] = {
    "dropout": _check_dropout,
    "attention": _check_attention,
}
