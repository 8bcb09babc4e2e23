"""Logits for every example of a split, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from handful.errors import StepError
from handful.training.batches import Indices, length_order
from handful.training.checks import check_output
from handful.training.collate import Collator
from handful.training.data import LABELS, SplitData
from handful.training.metrics import Logits
from handful.training.team import Team


@dataclass(frozen=True)
class Predicted:
    """What a model says about a split, in the split's own order."""

    logits: Logits
    """[N, C]"""
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
) -> Predicted:
    """Run `model` over `data` in length order; `tick` is told how many examples are done.

    In a `team` each process takes every n-th batch, and all get the whole answer.

    `StepError` if an example was met twice or never, or if a logit is no finite number. What
    `tick` raises is raised; the model is left in the mode in which it was.
    """
    started, training = time.monotonic(), model.training
    device = next(model.parameters()).device
    team = team or Team()
    logits = np.zeros((len(data), labels))
    seen = np.zeros(len(data), dtype=np.int64)
    loss, done = 0.0, 0
    model.eval()
    try:
        with torch.inference_mode():
            for indices in length_order(data.lengths, batch_size)[team.rank :: team.size]:
                batch = {k: v.to(device) for k, v in collate(data.batch(indices)).items()}
                output = model(**batch)
                check_output(output, batch, labels)
                logits[indices] = output.logits.float().cpu().numpy()
                seen[indices] += 1
                loss += float(output.loss.float().mean()) * len(batch[LABELS])
                done += len(indices)
                tick(min(done * team.size, len(data)))
    finally:
        model.train(training)
    logits, seen = team.sum(logits), team.sum(seen.astype(np.float64)).astype(np.int64)
    total_loss, total = team.sum(np.array([loss, done], np.float64)).tolist()
    _check_all(data, seen, logits)
    return Predicted(logits, total_loss / max(1, total), time.monotonic() - started)


def _check_all(data: SplitData, seen: Indices, logits: Logits) -> None:
    wrong = np.flatnonzero(seen != 1)
    if len(wrong):
        raise StepError(f"{len(wrong)} examples were met not exactly once: {_named(data, wrong)}")
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        raise StepError(
            f"the logits of {len(broken)} of {len(data)} artifacts are not finite: "
            f"{_named(data, broken)}",
            remedy="try PRECISION = fp32, or a lower LEARNING_RATE",
        )


def _named(data: SplitData, indices: Indices, limit: int = 10) -> str:
    more = f" and {len(indices) - limit} more" if len(indices) > limit else ""
    return ", ".join(data.ids(indices[:limit])) + more
