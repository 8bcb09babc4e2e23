"""All sections together: what the reader makes, and what every step is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handful.errors.redaction import blotter
from handful.settings.sections.aws import SagemakerSection
from handful.settings.sections.data import (
    ExperimentSection,
    PrepareSection,
    ProductionSection,
    ReconcileSection,
)
from handful.settings.sections.models import (
    ComputeSection,
    ReportSection,
    TrackingSection,
    TrainSection,
    TuneSection,
)
from handful.settings.values.types import FrozenMap, User


@dataclass(frozen=True)
class Settings:
    """A whole settings.ini, read and checked."""

    experiment: ExperimentSection
    production: ProductionSection
    reconcile: ReconcileSection
    prepare: PrepareSection
    train: TrainSection
    tune: TuneSection
    user: User
    tracking: TrackingSection
    compute: ComputeSection
    report: ReportSection
    sagemaker: SagemakerSection
    for_models: Mapping[str, Mapping[str, Any]] = field(default_factory=FrozenMap)
    """Model name → the keys of its `[train:<model>]`, as values."""
    as_written: Mapping[str, str] = field(default_factory=FrozenMap, repr=False)
    """"[section] KEY" → its text before a relative path was made absolute, or with its `${NAME}`
    if `[user]` took it from the environment. See `handful.settings.counted`."""
    concealed: Mapping[str, str] = field(default_factory=FrozenMap, repr=False)
    """"[section] KEY" → how its value is shown, where that holds a secret: with `***`, or with the
    `${NAME}` that it came from. See `handful.settings.secrets`."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """What is to be blotted out of words that come from elsewhere."""

    def train_for(self, model: str) -> TrainSection:
        """`[train]` with the overrides of `[train:<model>]`."""
        return replace(self.train, **self.for_models.get(model, {}))

    def hide(self, text: str) -> str:
        """`text`, such as the words of a user's exception, with every known secret as `***`."""
        return blotter(self.secrets)(text) if self.secrets else text


SECTIONS: Mapping[str, type] = {
    "experiment": ExperimentSection,
    "production": ProductionSection,
    "reconcile": ReconcileSection,
    "prepare": PrepareSection,
    "train": TrainSection,
    "tune": TuneSection,
    "tracking": TrackingSection,
    "compute": ComputeSection,
    "report": ReportSection,
    "sagemaker": SagemakerSection,
}
"""The sections with declared keys, in the order in which they are shown; `[user]` has none."""
