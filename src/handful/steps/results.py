"""The results of `test` and `compare` on the screen: when they come, and when they are asked for.

Whoever asks for a step that is up to date sees again what it found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handful.errors import Absent
from handful.layout import Layout, model_folder
from handful.progress import Progress, Scalar
from handful.records import Compared, Record, Tested
from handful.settings import Settings
from handful.storage.base import Store

SHOWN = ("accuracy", "macro_f1", "log_loss")
"""Beside METRIC."""
SAME = 1e-9


def tell_again(
    store: Store, layout: Layout, settings: Settings, progress: Progress, record: Record
) -> None:
    """What the step of this record found; nothing for one that has nothing to say."""
    if isinstance(record, Tested):
        tell_tested(store, layout, settings, progress, record)
    elif isinstance(record, Compared):
        from handful.steps.compare.written import tell

        tell(progress, json.loads(store.read(layout.comparison)))


def tell_tested(
    store: Store, layout: Layout, settings: Settings, progress: Progress, tested: Tested
) -> None:
    """The figures of every model and baseline, with 95 % intervals where they have some."""
    train = settings.train
    wanted = {model_folder(model): settings.train_for(model).METRIC for model in train.MODEL_NAMES}
    every = (*tested.evaluations, *tested.baselines)
    asked = (train.METRIC, *wanted.values(), *SHOWN)
    names = [
        name
        for name in dict.fromkeys(asked)
        if any(one.metrics.get(name) is not None for one in every)
    ]
    models = {f"{one.model} seed {one.seed}": one for one in tested.evaluations}
    models |= {one.model: one for one in tested.baselines}
    rows: list[list[Scalar]] = []
    for shown, one in models.items():
        intervals = _read_metric_intervals(store, layout.metrics(one.model, one.seed))
        cells = [_cell(one.metrics.get(name), intervals.get(name)) for name in names]
        rows.append([shown, one.artifacts, *cells])
    times = "once" if tested.looks == 1 else f"{tested.looks} times"
    title = f"On the held-out split, which was looked at {times} (with 95 % intervals)"
    progress.table(title, ("model", "artifacts", *names), rows)


def _cell(value: float | None, interval: Mapping[str, Any] | None) -> str:
    if value is None:
        return ""
    # A metric of the user's that bears one of our names has a value of its own, no interval.
    known = interval and interval.get("low") is not None and abs(interval["value"] - value) <= SAME
    if not interval or not known:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _read_metric_intervals(store: Store, key: str) -> Mapping[str, Any]:
    try:
        told = json.loads(store.read(key))
    except (Absent, ValueError):
        return {}
    intervals: Mapping[str, Any] = told.get("intervals", {})
    return intervals
