"""Which arithmetic to train in. `auto` takes bf16 only where this very hardware is faster with it.

A processor that lists AVX512-BF16 or AMX need not be faster in bf16, so one layer of a small
transformer is timed, forward and backward, in both.
"""

from __future__ import annotations

import time

import torch

from handful.errors import UserError

CLEARLY_FASTER = 1.2
"""How many times faster bf16 has to be on a CPU; below it the rounding is not worth it."""
_TURNS = 5
_FP32_ALONE = frozenset({"deberta", "xmod"})
"""Model types that autocast cannot take: one masks bf16 with the least number of fp32, the other
puts bf16 into a tensor of fp32."""


def resolve(wanted: str, device: torch.device, kind: str = "") -> str:
    """ "fp32", "bf16" or "fp16" for `PRECISION`. `UserError` for fp16 on anything but a GPU.

    `kind`: the model type, where it is known.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise UserError(
            f"fp16 trains on GPUs only; this machine trains on {device.type}",
            where="[train] PRECISION",
            remedy="write auto, bf16 or fp32",
        )
    if wanted != "auto":
        return wanted
    if kind in _FP32_ALONE:
        return "fp32"
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
    """How many times less CPU time a transformer layer trains in bf16 than in fp32 here.

    On one thread, by CPU time, and the least of a few turns: whatever else this machine does at
    the moment, and threads that wait for one another, must not decide.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            layer = torch.nn.TransformerEncoderLayer(384, 12, 1536, dropout=0.0, batch_first=True)
            inputs = torch.randn(4, 128, 384)  # [batch, tokens, hidden], as in a small BERT
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(_TURNS):
            for bf16 in (False, True):
                times[bf16].append(_measure_step_seconds(layer, inputs, bf16))
    finally:
        torch.set_num_threads(threads)
    return min(times[False]) / min(times[True])


def _measure_step_seconds(layer: torch.nn.Module, inputs: torch.Tensor, bf16: bool) -> float:
    """CPU seconds of one step, forward and backward."""
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = layer(inputs).float().square().mean()
    torch.autograd.grad(loss, list(layer.parameters()))
    return time.process_time() - started
