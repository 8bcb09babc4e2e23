"""Which arithmetic to train in. `auto` takes bf16 only where this very hardware is faster with it.

A processor that lists AVX512-BF16 or AMX need not be faster in bf16, so a small block of the kind
that transformers consist of is timed, forward and backward, in both.
"""

from __future__ import annotations

import time

import torch

from handful.errors import UserError

CLEARLY_FASTER = 1.2
"""How many times faster bf16 has to be on a CPU; below it the rounding is not worth it."""
_ROUNDS = 5


def resolve(wanted: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16" for `PRECISION`. `UserError` for fp16 on anything but a GPU."""
    if wanted == "fp16" and device.type != "cuda":
        raise UserError(
            f"fp16 trains on GPUs only; this machine trains on {device.type}",
            where="[train] PRECISION",
            remedy="write auto, bf16 or fp32",
        )
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu" and _has_bf16_instructions():
        return "bf16" if bf16_speedup() >= CLEARLY_FASTER else "fp32"
    return "fp32"


def _has_bf16_instructions() -> bool:
    # Without them bf16 is emulated, and the probe itself would take long.
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16"))


def bf16_speedup() -> float:
    """How many times faster a transformer's feed-forward block trains in bf16 than in fp32 here."""
    with torch.random.fork_rng(devices=[]):
        block = torch.nn.Sequential(
            torch.nn.Linear(384, 1536),
            torch.nn.GELU(),
            torch.nn.Linear(1536, 384),
            torch.nn.LayerNorm(384),
        )
        inputs = torch.randn(1024, 384)
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(_ROUNDS + 1):
        for bf16 in (False, True):
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = block(inputs).float().square().mean()
            torch.autograd.grad(loss, list(block.parameters()))
            if turn:  # the first turn warms up
                times[bf16].append(time.perf_counter() - started)
    # The shortest time: whatever else the machine does only ever adds.
    return min(times[False]) / min(times[True])
