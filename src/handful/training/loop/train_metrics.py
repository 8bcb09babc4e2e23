"""What a run tells while it trains: loss, rate, padding; and the alarm when the loss is no number.

Losses stay on the device until they are looked at, at most twice a second, so that a GPU never
waits for a figure on a screen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from handful.errors import StepError
from handful.training.data.batches import Indices, positions, share
from handful.training.data.splits import SplitData
from handful.training.loop.process_group import Team
from handful.training.loop.state import RunState

LOOK_SECONDS = 0.5
LINES = 200
"""About how many lines of training loss a run leaves in metrics.jsonl."""
_NAMED_IDS = 64


class Meter:
    """Collects steps, and turns them into figures for the progress and the history."""

    def __init__(
        self,
        data: SplitData,
        state: RunState,
        total_steps: int,
        overflows: bool,
        team: Team | None = None,
        parts: Callable[[Indices], Sequence[Indices]] = lambda indices: [indices],
    ) -> None:
        """`overflows`: fp16, whose gradients may overflow; the scaler then passes over the step.
        `parts`: how a process cuts its part of a batch."""
        self._data, self._state, self._overflows = data, state, overflows
        self._team, self._parts = team or Team(), parts
        self._line_every = max(1, total_steps // LINES)
        self._waiting: list[tuple[Indices, torch.Tensor, torch.Tensor]] = []
        self._looked = self._started = time.monotonic()
        self._documents = 0
        last: dict[str, Any] = next(
            (line for line in reversed(state.history) if "loss" in line), {}
        )
        self._last_loss = float(last.get("loss", 0.0))
        self._last_pace = float(last.get("documents_per_second", 0.0))

    def add(self, indices: Indices, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """One step: all its examples, its loss and its gradient's norm (scalars, on any device).

        In a team the loss is this process's part of the whole: their sum is the step's.

        `indices`: [n] rows of the whole batch.
        """
        self._waiting.append((indices, loss.detach(), norm.detach()))
        self._documents += len(indices)
        for rank in range(self._team.size):
            for part in self._parts(share(indices, rank, self._team.size)):
                real, padded = positions(self._data.lengths[part])
                self._state.real += real
                self._state.padded += padded

    @property
    def due(self) -> bool:
        """Is it time to look?"""
        at_line = self._state.step % self._line_every == 0
        return at_line or time.monotonic() - self._looked >= LOOK_SECONDS

    def look(self, rate: float, epoch: float) -> dict[str, float]:
        """The figures up to now; `StepError` with artifact ids if a loss was not finite.

        `rate`: the learning rate; `epoch` has a fraction.
        """
        self._looked = time.monotonic()
        losses = self._drain_waiting_losses()
        if losses:
            self._state.loss_sum += sum(losses)
            self._state.loss_steps += len(losses)
        # Looked at again before another step was made, the figures are those of the last one.
        if self._state.loss_steps:
            self._last_loss = self._state.loss_sum / self._state.loss_steps
        if self._documents:
            self._last_pace = self._documents / max(1e-9, self._looked - self._started)
        figures = {
            "loss": round(self._last_loss, 4),
            "lr": rate,
            "docs/s": round(self._last_pace, 1),
            "padding": round(self._state.padding, 4),
        }
        if self._state.step % self._line_every == 0 and self._state.loss_steps:
            self._line(rate, epoch, figures)
        return figures

    def _drain_waiting_losses(self) -> list[float]:
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, []
        parts = torch.stack([loss for _, loss, _ in waiting]).double().cpu().numpy()
        losses = self._team.sum(parts).tolist()
        norms = torch.stack([norm for _, _, norm in waiting]).float().cpu()
        finite = torch.isfinite(norms).tolist()
        first = self._state.step - len(waiting)
        for number, (indices, _, _) in enumerate(waiting):
            loss_is_finite = abs(losses[number]) < float("inf")
            if loss_is_finite and (finite[number] or self._overflows):
                continue
            what = "gradient" if loss_is_finite else "loss"
            raise self._alarm(what, first + number + 1, indices)
        return [float(loss) for loss in losses]

    def _alarm(self, what: str, step: int, indices: Indices) -> StepError:
        ids = self._data.ids(indices[:_NAMED_IDS])
        return StepError(
            f"the {what} became infinite or not a number at step {step}; "
            f"the artifacts of its batch: {', '.join(ids)}",
            remedy="look at these documents, lower LEARNING_RATE, or set PRECISION = fp32",
        )

    def _line(self, rate: float, epoch: float, figures: dict[str, float]) -> None:
        self._state.history.append(
            {
                "step": self._state.step,
                "epoch": round(epoch, 4),
                "loss": self._state.loss_sum / self._state.loss_steps,
                "lr": rate,
                "documents_per_second": figures["docs/s"],
                "padding": figures["padding"],
            }
        )
        self._state.loss_sum, self._state.loss_steps = 0.0, 0

    def restart_clock(self) -> None:
        """Begin to count documents per second anew: after a validation, or a resume."""
        self._started, self._documents = time.monotonic(), 0
