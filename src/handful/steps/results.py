"""The results of `test` and `compare` on the screen: when they come, and when they are asked for.

Whoever asks for a step that is up to date sees again what it found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handful.errors import Absent
from handful.experiment.context import Experiment
from handful.layout import model_folder
from handful.progress import Scalar
from handful.records import Compared, Evaluation, Record, Tested

SHOWN = ("accuracy", "macro_f1", "log_loss")
"""Beside METRIC."""
SAME = 1e-9


def tell_again(experiment: Experiment, record: Record) -> None:
    """What the step of this record found; nothing for one that has nothing to say."""
    if isinstance(record, Tested):
        tell_tested(experiment, record)
    elif isinstance(record, Compared):
        from handful.steps.compare.written import tell

        tell(experiment.progress, json.loads(experiment.store.read(experiment.layout.comparison)))


def tell_tested(experiment: Experiment, tested: Tested) -> None:
    """The figures of every model and baseline, with 95 % intervals where they have some."""
    train = experiment.settings.train
    wanted = {
        model_folder(model): experiment.settings.train_for(model).METRIC
        for model in train.MODEL_NAMES
    }
    every = (*tested.evaluations, *tested.baselines)
    asked = (train.METRIC, *wanted.values(), *SHOWN)
    names = [
        name
        for name in dict.fromkeys(asked)
        if any(one.metrics.get(name) is not None for one in every)
    ]
    models = {f"{one.model} seed {one.seed}": one for one in tested.evaluations}
    models |= {one.model: one for one in tested.baselines}
    rows: list[list[Scalar]] = [
        [name, one.artifacts, *_format_result_cells(experiment, one, names)]
        for name, one in models.items()
    ]
    times = "once" if tested.looks == 1 else f"{tested.looks} times"
    title = f"On the held-out split, which was looked at {times} (with 95 % intervals)"
    experiment.progress.table(title, ("model", "artifacts", *names), rows)


def _format_result_cells(experiment: Experiment, one: Evaluation, names: list[str]) -> list[str]:
    intervals = _read_metric_intervals(experiment, one)
    return [_cell(one.metrics.get(name), intervals.get(name)) for name in names]


def _cell(value: float | None, interval: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    # A metric of the user's that bears one of our names has a value of its own, no interval.
    known = interval and interval.get("low") is not None and abs(interval["value"] - value) <= SAME
    if not interval or not known:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _read_metric_intervals(experiment: Experiment, one: Evaluation) -> Mapping[str, Any]:
    try:
        told = json.loads(experiment.store.read(experiment.layout.metrics(one.model, one.seed)))
    except (Absent, ValueError):
        return {}
    intervals: Mapping[str, Any] = told.get("intervals", {})
    return intervals
