"""What the driver asks of a training: one model, one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.layout import Layout, model_folder


@dataclass(frozen=True)
class Order:
    """What the driver asks for: the job's arguments."""

    model: str
    seed: int
    label2id: Mapping[str, int]
    rows: Mapping[str, int]
    """Split → rows."""
    data_hash: str
    made_from: Mapping[str, str]
    """The run's own fingerprint."""
    processes: int = 1
    """How many train together."""
    resume_anyway: bool = False
    """Go on from a checkpoint although something has changed."""
    owner: str = ""
    """Whose the checkpoints are, where that is not whoever holds the lock."""
    trial: Mapping[str, Any] | None = None
    """Of a trial: its `number`, its `values`, and what was seen of those `before` it. A trial
    leaves no final/ behind but a trial.json."""

    @property
    def name(self) -> str:
        """As a person reads it."""
        if self.trial is not None:
            return f"{model_folder(self.model)} trial {self.trial['number']}"
        return f"{model_folder(self.model)} seed {self.seed}"

    def folder(self, layout: Layout) -> str:
        """Where in the store the run leaves what it makes."""
        if self.trial is not None:
            return layout.trial(self.model, self.trial["number"])
        return layout.run(self.model, self.seed)
