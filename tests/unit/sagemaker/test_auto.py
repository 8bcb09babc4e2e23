"""Keys that may be `auto`, on SageMaker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from handful.sagemaker.jobs.costs.durations import _most_epochs
from handful.sagemaker.jobs.requests.ranges import overrides_of, parameter_ranges
from handful.settings.values.ranges import parse_range


def test_auto_among_choices_comes_back_as_it_was_written() -> None:
    ranges = (
        parse_range("EPOCHS", "choice auto 3"),
        parse_range("LABEL_SMOOTHING", "choice 0 0.1"),
    )
    (epochs, _) = parameter_ranges(ranges)["CategoricalParameterRanges"]
    assert epochs["Values"] == ["auto", "3.0"]
    assert overrides_of({"train.EPOCHS": "auto"}, "m") == ("train:m.EPOCHS=auto",)


def test_the_forecast_takes_the_rules_epochs_for_auto() -> None:
    settings = SimpleNamespace(
        tune=SimpleNamespace(ranges=(parse_range("EPOCHS", "choice auto 3"),))
    )
    experiment: Any = SimpleNamespace(settings=settings)
    assert _most_epochs(experiment.settings.tune.ranges, 7.0) == 7.0
    assert _most_epochs(experiment.settings.tune.ranges, 2.0) == 3.0
