"""In which type a model's weights are held while they are trained, and stored in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from handful.errors import UserError

NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WEIGHT_DTYPE_NAMES = {dtype: name for name, dtype in NAMES.items()}
_HALF = (torch.bfloat16, torch.float16)
_TRAINING_BYTES = 16
"""For a weight in fp32, its gradient, and AdamW's two moments."""


def name_of(dtype: torch.dtype) -> str:
    """ "fp32", "bf16", "fp16", or torch's own word."""
    return _WEIGHT_DTYPE_NAMES.get(dtype, str(dtype).removeprefix("torch."))


def describe_weight_dtypes(model: torch.nn.Module) -> str:
    """The types of the floating weights, the most frequent first: "fp32", or "bf16, fp32"."""
    counts: Counter[str] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            counts[name_of(parameter.dtype)] += parameter.numel()
    return ", ".join(name for name, _ in counts.most_common())


def memory_note(model: torch.nn.Module, stored: str) -> str:
    """What it means that a checkpoint that is `stored` in half precision is trained in fp32."""
    number = sum(parameter.numel() for parameter in model.parameters())
    gigabytes = number * _TRAINING_BYTES / 1e9
    return (
        f"stored in {stored}, trained with weights in fp32: about {gigabytes:.1f} GB for "
        f"{number / 1e6:,.0f} million weights, their gradients and AdamW, activations not counted"
    )


def check_own_weights(model: torch.nn.Module) -> str:
    """What to tell of the weights that the user's `load_model` brought; empty if all is usual.

    `UserError` for trainable weights in fp16: neither a scaled gradient nor AdamW's epsilon of
    1e-8 exists in that type.
    """
    trainable = {p.dtype for p in model.parameters() if p.requires_grad and p.is_floating_point()}
    if torch.float16 in trainable:
        raise UserError(
            "returned a model with trainable weights in fp16, which no optimizer here can train",
            where="load_model in functions.py",
            remedy="load it with dtype=torch.float32; PRECISION = fp16 is the arithmetic's",
        )
    half = [name_of(dtype) for dtype in _HALF if dtype in trainable]
    if not half:
        return ""
    return (
        f"load_model gives weights in {half[0]}, which are trained as they are: steps smaller than "
        "their rounding are lost; dtype=torch.float32 in from_pretrained avoids that"
    )


def as_they_were(model: torch.nn.Module, weights: Path) -> str:
    """Hold the weights in the types of the safetensors file `weights`, of an interrupted training.

    What to tell about it; empty if they are in those types already.
    """
    from safetensors import safe_open

    with safe_open(str(weights), framework="pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    began = {name: _SAFETENSORS[kind] for name, kind in kinds.items() if kind in _SAFETENSORS}
    changed = [
        parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name in began and parameter.is_floating_point() and parameter.dtype != began[name]
    ]
    half = sorted({name_of(dtype) for dtype in began.values() if dtype in _HALF})
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in began and parameter.is_floating_point():
            parameter.data = parameter.data.to(began[name])
    if not changed or not half:
        return ""
    return (
        f"it was begun with weights in {half[0]} and goes on so; `--redo train` begins anew in fp32"
    )


_SAFETENSORS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def store_in(model: torch.nn.Module, wanted: str) -> None:
    """Turn the fp32 weights of a trained model into `wanted`; what is half already stays so.

    Buffers keep their type: running statistics are few, and of a wide range.
    """
    dtype = NAMES[wanted]
    if dtype == torch.float32:
        return
    for parameter in _fp32(model.parameters()):
        parameter.data = parameter.data.to(dtype)
    config: Any = getattr(model, "config", None)
    if hasattr(config, "dtype"):
        config.dtype = dtype


def _fp32(parameters: Iterable[torch.nn.Parameter]) -> Iterable[torch.nn.Parameter]:
    return (parameter for parameter in parameters if parameter.dtype == torch.float32)


def read_checkpoint_dtype(config: Mapping[str, Any]) -> str:
    """ "bf16" or "fp16" if config.json says that the weights are stored so; else empty."""
    told = str(config.get("dtype") or config.get("torch_dtype") or "").removeprefix("torch.")
    return {"bfloat16": "bf16", "float16": "fp16"}.get(told, "")
