"""Where the tensors live: device, precision, threads and seeds, through Accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from handful.machine import cores
from handful.training.precision import resolve

if TYPE_CHECKING:
    from accelerate import Accelerator

_ACCELERATES_WORD = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def use_threads() -> int:
    """Let torch use the cores that this process has; what `OMP_NUM_THREADS` says goes first."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(cores())
    return torch.get_num_threads()


def default_device() -> torch.device:
    """The device that Accelerate will take."""
    from accelerate import PartialState

    device: torch.device = PartialState().device
    return device


@contextmanager
def accelerated(precision: str) -> Iterator[Accelerator]:
    """An `Accelerator` for "fp32", "bf16" or "fp16", ended properly whatever happens."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps one state per process and refuses a second precision; here one model may
    # follow another in the same process.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=_ACCELERATES_WORD[precision])
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=True)


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's generators, on every device."""
    from accelerate.utils import set_seed

    set_seed(seed)


def environment(precision: str) -> dict[str, Any]:
    """What a run's bits depend on beside its settings."""
    device = default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "processes": 1,
        "torch": torch.__version__,
    }


def chosen_precision(wanted: str) -> str:
    """`PRECISION` resolved for this machine."""
    return resolve(wanted, default_device())
