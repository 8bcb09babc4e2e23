"""`tune` with bad trials given up and with none, in turn: its seconds, and the best it found."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from train_parts import encoded

RANGES = "LEARNING_RATE = log 1e-5 1e-3\nWARMUP = float 0 0.3\nWEIGHT_DECAY = log 1e-3 1e-1\n"


@dataclass(frozen=True)
class Search:
    """What one search of a model came to."""

    seconds: float
    value: float
    """METRIC on validation, of the best trial."""
    epochs: int
    """That all of its trials were trained, in sum."""


def search(directory: Path, *, pruning: bool) -> Search:
    """All trials anew; `pruning`: bad ones are given up."""
    from handful.backends.inline import Inline
    from handful.experiment.context import open_experiment
    from handful.progress import Silent
    from handful.steps.tune import trials, tune

    prepared = encoded.prepared(directory)
    with tempfile.TemporaryDirectory() as scratch, _given_up(pruning=pruning):
        opened = open_experiment(directory, (), Silent(), Path(scratch))
        started = time.monotonic()
        found = tune(opened, prepared, Inline(), made_from={}, anew=True)
        seconds = time.monotonic() - started
        (model,) = opened.settings.train.MODEL_NAMES
        each = [
            trials.read(opened.store, opened.layout, model, number, opened.progress)
            for number in trials.numbers(opened.store, opened.layout, model)
        ]
    epochs = sum(len(trial.seen) for trial in each if trial)
    return Search(seconds, found.best[0].value, epochs)


@contextmanager
def _given_up(*, pruning: bool) -> Iterator[None]:
    if pruning:
        yield
        return
    with mock.patch("handful.training.loop.pruning.Pruning.hopeless", return_value=False):
        yield
