"""What tune found, given to the steps after it: each model with its own best settings."""

from __future__ import annotations

from handful.experiment.context import Experiment, with_values
from handful.layout import model_folder
from handful.records import Tuned


def for_model(experiment: Experiment, tuned: Tuned | None, model: str) -> Experiment:
    """The experiment with the best settings that were found for `model`, if any were."""
    values = tuned.values_for(model_folder(model)) if tuned else {}
    return with_values(experiment, model, values)
