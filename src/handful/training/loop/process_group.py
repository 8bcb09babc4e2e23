"""The processes that train one model together, and what they say to each other beside gradients.

torchrun has started them; who is who stands in the environment. What is decided (stop, save, look)
is decided together, or some would wait for others for ever. Figures go over gloo, between CPUs, so
that no GPU waits for them; gradients go the way that Accelerate chose.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from handful.errors import StepError
from handful.training.data.batches import Indices

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Team:
    """One process among `size`; alone, everything is answered at once."""

    rank: int = 0
    size: int = 1
    group: Any = None
    """The gloo group; None if it is alone."""

    @property
    def leads(self) -> bool:
        """The one that writes, tells and decides."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether somebody raised it."""
        if self.size == 1:
            return flags
        raised = torch.tensor([float(flag) for flag in flags])
        torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX, group=self.group)
        return tuple(bool(flag) for flag in raised.tolist())

    def sum(self, values: Array) -> Array:
        """The sum over all, the same bits on each."""
        if self.size == 1:
            return values
        total = torch.from_numpy(np.ascontiguousarray(values, np.float64)).clone()
        torch.distributed.all_reduce(total, group=self.group)
        return total.numpy()

    def least(self, value: int) -> int:
        """The smallest value that somebody gave."""
        if self.size == 1:
            return value
        found = torch.tensor([value])
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN, group=self.group)
        return int(found.item())

    def told(self, value: int) -> int:
        """What the leader says."""
        if self.size == 1:
            return value
        found = torch.tensor([value])
        torch.distributed.broadcast(found, 0, group=self.group)
        return int(found.item())

    def take_leaders(self, tensor: torch.Tensor) -> None:
        """Put the leader's values into `tensor`, which all have in one shape."""
        if self.size > 1:
            theirs = tensor.detach().cpu().contiguous()
            torch.distributed.broadcast(theirs, 0, group=self.group)
            tensor.copy_(theirs)

    def collect(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Everybody's tensors and plain values, by rank, on each."""
        if self.size == 1:
            return [dict(state)]
        file = io.BytesIO()
        torch.save(dict(state), file)
        mine = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
        longest = int(-self.least(-len(mine)))
        lengths = self.sum(np.eye(self.size)[self.rank] * len(mine)).astype(int)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(mine)] = mine
        parts = [torch.zeros_like(padded) for _ in range(self.size)]
        torch.distributed.all_gather(parts, padded, group=self.group)
        return [
            _load_state_part(part[:length]) for part, length in zip(parts, lengths, strict=True)
        ]

    def shares(
        self, indices: Indices, rows: torch.Tensor
    ) -> Iterator[tuple[Indices, torch.Tensor]]:
        """On the leader what each of the others gave, one after the other; elsewhere nothing.

        `indices` [n], `rows` [n, C] float32, on the CPU; n may differ.
        """
        if self.size == 1:
            return
        counts = self.sum(np.eye(self.size)[self.rank] * len(indices)).astype(int)
        if not self.leads:
            if len(indices):
                torch.distributed.send(torch.from_numpy(indices), 0, group=self.group)
                torch.distributed.send(rows.contiguous(), 0, group=self.group)
            return
        for rank in range(1, self.size):
            if counts[rank]:
                theirs = torch.empty(int(counts[rank]), dtype=torch.int64)
                found = torch.empty(int(counts[rank]), rows.shape[1])
                torch.distributed.recv(theirs, rank, group=self.group)
                torch.distributed.recv(found, rank, group=self.group)
                yield theirs.numpy(), found

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)


def join_training_team(processes: int) -> Team:
    """The team of this process. `StepError` if it is not one of `processes`."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != processes:
        raise StepError(
            f"{processes} training processes were asked for, but there are {size}",
            where="[compute] TRAIN_PROCESSES",
            remedy="start them with torchrun, as many as the job says",
        )
    return Team() if processes == 1 else _init_process_team(size)


def gather_process_reports(mine: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each of those that torchrun has started says, by rank, before anything else is known."""
    return _init_process_team(int(os.environ["WORLD_SIZE"])).collect(mine)


def _init_process_team(size: int) -> Team:
    if not torch.distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend)
    # They may wait for what the leader does alone; who dies is noticed by the closed connection.
    group = torch.distributed.new_group(backend="gloo", timeout=timedelta(days=7))
    return Team(torch.distributed.get_rank(), size, group)


def left() -> None:
    """Leave the team; without it some runs end with an abort at exit."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _load_state_part(part: torch.Tensor) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(bytes(part.tolist())), weights_only=True)
    return state
