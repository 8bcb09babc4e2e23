"""COMPILE: the model's training step as compiled kernels, by torch.compile.

Only training goes through it: validation meets many shapes, for each of which it might compile
anew. Weights, checkpoints and final/ are those of the module itself.
"""

from __future__ import annotations

import shutil
from typing import cast

import torch

from handful.errors import UserError

_COMPILERS = ("g++", "c++", "clang++")


def compile_torch_model(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """`model`, compiled when it is first called, for batches of any length.

    `UserError` where there is nothing to compile with.
    """
    if device.type == "cpu" and not any(shutil.which(name) for name in _COMPILERS):
        raise UserError(
            f"compiling for a CPU needs a C++ compiler; there is none of {', '.join(_COMPILERS)}",
            where="[train] COMPILE",
            remedy="install one, or write false",
        )
    # torch types it as a function, but a module stays a module.
    return cast("torch.nn.Module", torch.compile(model, dynamic=True))
