"""Logits for every example of a split, each exactly once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from handful.errors import StepError
from handful.training.cpu.inference import judging
from handful.training.cpu.micro_batches import inference_position_limit
from handful.training.cpu.side_by_side import map_in_threads
from handful.training.data.batches import Indices, length_order
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData
from handful.training.evaluation.metrics import Logits
from handful.training.loop.parallel_strategy import is_sharded
from handful.training.loop.process_group import Team
from handful.training.model.capabilities import check_output
from handful.training.model.frozen_layers import call_with_states


@dataclass(frozen=True)
class Predicted:
    """What a model says about a split, in the split's own order."""

    logits: Logits
    """[N, C]; [0, C] on those of a team that do not lead."""
    loss: float
    """The model's own loss: the mean over examples."""
    seconds: float


def predict(
    model: torch.nn.Module,
    data: SplitData,
    collate: Collator,
    batch_size: int,
    labels: int,
    tick: Callable[[int], None] = lambda _: None,
    team: Team | None = None,
    *,
    kernels: bool = True,
) -> Predicted:
    """Run `model` over `data` in length order; `tick` is told how many examples are done.

    In a `team` each process takes every n-th batch and keeps its own part of the answer, until the
    leader puts the parts together: elsewhere `logits` is empty. `tick` is called by all of them,
    as often as by the others. `kernels`: see `use_cpu_kernels`.

    `StepError` if an example was met twice or never, or if a logit is no finite number. What
    `tick` raises is raised; the model is left in the mode in which it was.

    `batch_size`: examples; `labels`: C, the columns of the logits.
    """
    started = time.monotonic()
    team = team or Team()
    # Only the leader has room for all of them.
    logits: Logits = np.zeros((len(data) if team.leads else 0, labels))
    # A sharded model's weights come and go, which inference mode would not allow.
    mode = torch.no_grad if is_sharded(model) else torch.inference_mode

    def answer(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
        with mode():
            return _predict_batch(model, batch, labels)

    loss = answers_of(model, data, collate, batch_size, logits, answer, tick, team, kernels=kernels)
    return Predicted(logits, loss, time.monotonic() - started)


def answers_of(
    model: torch.nn.Module,
    data: SplitData,
    collate: Collator,
    batch_size: int,
    into: npt.NDArray[Any],
    answer: Callable[[Mapping[str, torch.Tensor]], tuple[torch.Tensor, float]],
    tick: Callable[[int], None],
    team: Team,
    *,
    kernels: bool,
) -> float:
    """Fill `into` [N, W] with what `answer` gives for every batch of `data`; the mean of its loss.

    `answer`: a batch → [B, W] on the CPU, and the mean of the loss of its examples; it is called in
    threads of its own, with the model in eval mode. Elsewhere than on the team's leader `into` is
    empty. For the rest see `predict`.
    """
    training = model.training
    answers = Answers(into, team)
    device = next(model.parameters()).device
    most, equal = inference_position_limit(device), collate.equal_lengths
    batches = length_order(data.lengths, batch_size, most, equal=equal)
    mine = batches[team.rank :: team.size]
    together = is_sharded(model)
    judged = np.cumsum([len(batch) for batch in batches])
    loss, done = 0.0, 0
    model.eval()
    try:
        with judging(model, device, on=kernels) as workers:
            read = (data.tensors(indices, collate) for indices in mine)
            with closing(map_in_threads(answer, read, workers)) as found:
                for number in range(math.ceil(len(batches) / team.size)):
                    if number < len(mine):
                        output, mean = next(found)
                        answers.add(mine[number], output)
                        loss += mean * len(mine[number])
                        done += len(mine[number])
                    elif together:  # the others need this one's part of the model
                        answer(data.tensors(batches[0][:1], collate))
                    tick(int(judged[min((number + 1) * team.size, len(batches)) - 1]))
    finally:
        model.train(training)
    total_loss, total = team.sum(np.array([loss, done], np.float64)).tolist()
    answers.gather(data)
    return float(total_loss / max(1, total))


def _predict_batch(
    model: torch.nn.Module, batch: Mapping[str, torch.Tensor], labels: int
) -> tuple[torch.Tensor, float]:
    """[B, C] logits of these examples, and the mean of their loss."""
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    output = call_with_states(model, batch)
    check_output(output, batch, labels)
    return output.logits.float().cpu(), float(output.loss.float().mean())


class Answers:
    """The answers to a split as they come; in a team, to one process's share of it."""

    def __init__(self, into: npt.NDArray[Any], team: Team) -> None:
        """`into` [N, W] is filled; elsewhere than on the leader N is 0."""
        self._team, self._into = team, into
        self._seen = np.zeros(len(into), dtype=np.int64)
        self._mine: list[tuple[Indices, torch.Tensor]] = []

    def add(self, indices: Indices, rows: torch.Tensor) -> None:
        """`rows` [B, W] of some examples, on the CPU."""
        if not self._team.leads:
            self._mine.append((indices, rows))
            return
        self._into[indices] = rows.numpy()
        np.add.at(self._seen, indices, 1)

    def gather(self, data: SplitData) -> None:
        """Put together what all the team has, each example exactly once, on the leader."""
        mine = (np.zeros(0, np.int64), torch.zeros(0, self._into.shape[1]))
        if self._mine:
            indices, logits = zip(*self._mine, strict=True)
            mine = (np.concatenate(indices), torch.cat(logits))
            self._mine.clear()
        for theirs, rows in self._team.shares(*mine):
            self.add(theirs, rows)
        if self._team.leads:
            _check_all(data, self._seen, self._into)


def _check_all(data: SplitData, seen: Indices, logits: npt.NDArray[Any]) -> None:
    wrong = np.flatnonzero(seen != 1)
    if len(wrong):
        raise StepError(
            f"{len(wrong)} examples were met not exactly once: {_format_example_ids(data, wrong)}"
        )
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise StepError(
            f"the logits of {len(broken)} of {len(data)} artifacts are not finite: "
            f"{_format_example_ids(data, broken)}",
            remedy="try PRECISION = fp32, or a lower LEARNING_RATE",
        )


def _format_example_ids(data: SplitData, indices: Indices, limit: int = 10) -> str:
    more = f" and {len(indices) - limit} more" if len(indices) > limit else ""
    return ", ".join(data.ids(indices[:limit])) + more
