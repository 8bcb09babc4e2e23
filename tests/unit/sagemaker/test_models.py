"""What a job is told of models is told by the names that they have over there, everywhere in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from handful.backends.base import Backend, Job
from handful.experiment.context import Experiment
from handful.progress import Progress
from handful.records import Run, Trained
from handful.steps.test import test as run_test
from handful.steps.train import train
from handful.steps.tune import tune
from tests.support.encoded import Encoded, make


class Sent(Exception):
    """The job that a step wanted to be done."""


class Catching(Backend):
    """A backend that runs nothing."""

    def run(self, job: Job, progress: Progress) -> NoReturn:
        raise Sent(job)


def _train(experiment: Experiment, one: Encoded) -> object:
    return train(experiment, one.prepared, Catching(), made_from={})


def _tune(experiment: Experiment, one: Encoded) -> object:
    return tune(experiment, one.prepared, Catching(), made_from={})


def _test(experiment: Experiment, one: Encoded) -> object:
    run = Run("model", 0, {"macro_f1": 0.5}, 1, 1.0, "0" * 64)
    trained = Trained((run,), made_from={}, finished_at="2026-01-01T00:00:00+00:00")
    return run_test(experiment, one.prepared, trained, Catching(), made_from={})


@pytest.mark.parametrize("step", [_train, _tune, _test])
def test_no_model_keeps_its_name_of_here(
    step: Callable[[Experiment, Encoded], object], tmp_path: Path
) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings("[tune]\nTRIALS = 2\nLEARNING_RATE = log 1e-5 1e-3\n")
    with pytest.raises(Sent) as caught:
        step(one.open(tmp_path / "s"), one)
    (job,) = caught.value.args
    (name,) = one.open(tmp_path / "t").settings.train.MODEL_NAMES
    told = job.arguments.with_models(lambda model: "there" if model == name else model).to_json()
    assert f'"{name}"' in json.dumps(job.arguments.to_json()), "it stands in there as it is"
    # What it was made from names the model for people, by its folder.
    assert f'"{name}"' not in json.dumps(told)
    assert '"there"' in json.dumps(told)
