"""Where the tensors live: device, precision, threads and seeds, through Accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from handful.errors import StepError
from handful.experiment.positions import config_of
from handful.system.machine import cores
from handful.training.loop.precision import resolve

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
def open_accelerator(precision: str, processes: int = 1) -> Iterator[Accelerator]:
    """An `Accelerator` for "fp32", "bf16" or "fp16", forgotten afterwards whatever happens.

    `StepError` if it does not see as many processes as there are: each would train a model alone.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps one state per process and refuses a second precision; here one model may
    # follow another in the same process.
    AcceleratorState._reset_state(reset_partial_state=True)
    # Unless it is told so, it takes processes without GPUs for strangers to each other.
    together_on_cpus = processes > 1 and not torch.cuda.is_available()
    accelerator = Accelerator(mixed_precision=_ACCELERATES_WORD[precision], cpu=together_on_cpus)
    try:
        if accelerator.num_processes != processes:
            raise StepError(
                f"there are {processes} processes, but Accelerate sees {accelerator.num_processes}",
                where="[compute] TRAIN_PROCESSES",
                remedy="unset the ACCELERATE_ variables of the environment",
            )
        yield accelerator
    finally:
        # Not `end_training`: it ends the process group, which is the team's and which the next
        # model's processes would have to find together once more, before the last has left it.
        AcceleratorState._reset_state(reset_partial_state=True)


def seed_dropout(seed: int, rank: int) -> None:
    """From here on the processes of a team draw differently; a lone one goes on as it was."""
    if rank:
        seed_everything(seed + 1_000_003 * rank)


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's generators, on every device."""
    from accelerate.utils import set_seed

    set_seed(seed)


def environment(precision: str, processes: int = 1, sharding: str = "none") -> dict[str, Any]:
    """What a run's bits depend on beside its settings."""
    device = default_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "sharding": sharding,
        "torch": torch.__version__,
    }


def resolve_model_precision(wanted: str, model: str) -> str:
    """`PRECISION` resolved for this machine and `model`, as `from_pretrained` takes it."""
    return resolve(wanted, default_device(), str(config_of(model).get("model_type", "")))
