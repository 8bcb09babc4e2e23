"""How far a run has come, and the random state: all that a checkpoint holds beside weights."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from handful.training.data.batches import Cut


@dataclass
class RunState:
    """The position of a run; plain JSON values."""

    step: int = 0
    """Steps of the optimizer done; the data's position and the learning rate follow from it."""
    validated: int = 0
    """The step of the last validation, or one behind it with none due; 0 before the first."""
    best_step: int = 0
    best_value: float | None = None
    best_epoch: float = 0.0
    best_metrics: dict[str, float | None] = field(default_factory=dict)
    """None for what was no finite number."""
    per_device: int = 0
    """Examples that one process takes at once; 0 before it is known."""
    positions: int = 0
    """Positions that it takes at once, padding included; 0: any number."""
    waited: int = 0
    """Validations since the best one of the training's own; that of the model as it began, at step
    0, is none."""
    own_best: float | None = None
    """Of these, as long as the model as it began is better."""
    seconds: float = 0.0
    """Time spent training and validating, earlier processes included."""
    loss_sum: float = 0.0
    """Of the steps since the last line of the history, `loss_steps` of them."""
    loss_steps: int = 0
    real: int = 0
    """Positions that were trained on, without padding."""
    padded: int = 0
    """The same, with padding."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The lines of metrics.jsonl so far."""
    batch_size: int = 0
    """With which it goes on; 0 in checkpoints of earlier builds."""
    examples: int = 0
    """The same."""
    shift: int = 0
    """As `Plan` has it."""
    cuts: list[dict[str, int]] = field(default_factory=list)
    """Of epochs that were begun with another batch size: `epoch`, and what `Cut` has."""

    @property
    def padding(self) -> float:
        """Padding's share of all positions, 0 to 1."""
        return 1 - self.real / self.padded if self.padded else 0.0

    def cuts_of(self, epoch: int) -> tuple[Cut, ...]:
        """Earlier parts of `epoch` that had batches of another size."""
        return tuple(
            Cut(cut["batch_size"], cut["steps"], cut["smallest"])
            for cut in self.cuts
            if cut["epoch"] == epoch
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def take(
        self, value: float, metrics: Mapping[str, float | None], epoch: float, goal: str
    ) -> bool:
        """Note a validation's result; True if it is the best so far.

        `value`: of METRIC, better as `goal` (max or min) says; `epoch` has a fraction.
        """
        self.validated = self.step
        if self.step:
            rival = self.best_value if self.best_step else self.own_best
            if _is_better(value, rival, goal):
                self.waited, self.own_best = 0, value
            else:
                self.waited += 1
        if not _is_better(value, self.best_value, goal):
            return False
        self.best_step, self.best_epoch = self.step, epoch
        self.best_value, self.best_metrics = value, dict(metrics)
        return True

    def best_loss(self) -> float | None:
        """The loss on validation at the best epoch; None if it is no number."""
        told = [line for line in self.history if "validation" in line]
        losses = [line["validation"]["loss"] for line in told if line["step"] == self.best_step]
        loss = losses[-1] if losses else None
        return float(loss) if loss is not None and math.isfinite(loss) else None


def _is_better(value: float, rival: float | None, goal: str) -> bool:
    return rival is None or (value > rival if goal == "max" else value < rival)


def random_state() -> dict[str, Any]:
    """The state of every generator that a model may draw from, as tensors and plain values."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached),
        "python": (version, torch.tensor(words, dtype=torch.int64), gauss),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Go on drawing where `random_state` was taken."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
