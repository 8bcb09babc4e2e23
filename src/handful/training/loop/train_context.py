"""What one run of the training loop is given: what is trained, on what, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from handful.settings import TrainSection
from handful.settings.recipe import Recipe
from handful.training.data.batches import Plan
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData
from handful.training.evaluation.metrics import Metrics
from handful.training.loop.objective import Objective
from handful.training.loop.optimizer import EVEN, Pace
from handful.training.loop.process_group import Team
from handful.training.loop.pruning import Pruning
from handful.training.tracking import Tracking

if TYPE_CHECKING:
    from handful.storage.base import Store


@dataclass(frozen=True)
class Work:
    """What is trained on what: fixed from the first step to the last."""

    name: str
    """As the progress shows it: "MiniLM seed 0"."""
    section: TrainSection
    seed: int
    train: SplitData
    validation: SplitData
    collate: Collator
    objective: Objective
    metrics: Metrics
    log: tuple[Store, str]
    """The store and the key of metrics.jsonl."""
    team: Team
    tracking: Tracking
    recipe: Recipe
    about: Mapping[str, Any] = field(default_factory=dict)
    """What each checkpoint tells beside its position: the label map, the settings."""
    pruning: Pruning | None = None
    """Of a trial: when it is given up."""
    smallest: int = 1
    """Examples that a batch has at least: see `epoch_batches`."""
    metric_is_given: bool = True
    """Does `compute_metrics` give METRIC? If not, it is a figure of ours."""

    pace: Pace = EVEN
    """Of the head."""
    begins_judged: bool = False
    """Is the model validated before the first step, so that it may stay the best?"""

    @property
    def plan(self) -> Plan:
        recipe = self.recipe
        return Plan(len(self.train), recipe.batch_size, recipe.epochs, self.smallest)

    @property
    def labels(self) -> int:
        return len(self.metrics.label2id)
