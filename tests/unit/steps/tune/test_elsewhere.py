"""A search that is made as one job: its trials are written down, and made anew only when asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful import records
from handful.backends.base import Backend, Job
from handful.errors import StepError
from handful.experiment.context import Experiment, open_experiment
from handful.jobs.arguments import TuneArgs
from handful.pipeline.open_backend import open_backend
from handful.progress import Progress
from handful.settings import Range
from handful.steps.train import processes_for
from handful.steps.tune import tune
from tests.support.progress import Recording
from tests.support.sagemaker_works import TEXT

MODEL = "bert-base-uncased"
PREPARED = records.Prepared(
    made_from={},
    finished_at="2026-01-01T00:00:00+00:00",
    label2id={"a": 0, "b": 1},
    rows={MODEL: {"train": 8, "validation": 4, "test": 4}},
    quarantined={MODEL: 0},
    left_out={MODEL: 0},
    data_hash={MODEL: "0" * 64},
    splits_hash="1" * 64,
)


class Search(Backend):
    """Whoever makes the search: answers with these values of METRIC; None is a failure."""

    searches = True

    def __init__(self, *values: float | None) -> None:
        self.values = values
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Progress) -> Any:
        self.jobs.append(job)
        return {"trials": [self._trial(n, value) for n, value in enumerate(self.values)]}

    def _trial(self, number: int, value: float | None) -> dict[str, Any]:
        told = {"values": {"LEARNING_RATE": f"{number + 1}e-5"}}
        if value is None:
            return {**told, "error": "it broke"}
        result = {
            "number": 7,
            "values": {},
            "state": "complete",
            "value": value,
            "seen": [value],
            "made_from": {"it": "as over there"},
            "metrics": {"macro_f1": value},
            "best_epoch": 1.0,
            "seconds": 1.0,
        }
        return {**told, "result": result}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    directory = tmp_path / "EXP-1"
    directory.mkdir()
    (directory / "settings.ini").write_text(TEXT)
    functions = "def get_dataset_features():\n    return {}\ndef encode_data():\n    return {}\n"
    (directory / "functions.py").write_text(functions)
    overrides = (f"experiment.STORE={tmp_path / 'store'}",)
    (tmp_path / "s").mkdir()
    found = open_experiment(directory, overrides, Recording(), tmp_path / "s")
    settings = replace(
        found.settings,
        compute=replace(found.settings.compute, BACKEND="sagemaker"),
        tune=replace(
            found.settings.tune, TRIALS=3, ranges=(Range("LEARNING_RATE", "log", 1e-5, 1e-3),)
        ),
    )
    return replace(found, settings=settings)


def test_the_best_of_one_jobs_trials_is_taken(experiment: Experiment) -> None:
    search = Search(0.5, None, 0.75)
    found = tune(experiment, PREPARED, search, made_from={})
    (best,) = found.best
    assert (best.trial, best.value, best.values) == (2, 0.75, {"LEARNING_RATE": "3e-5"})
    (job,) = search.jobs
    assert job.task == "tune"
    assert isinstance(job.arguments, TuneArgs)
    assert "test" not in job.arguments.rows, "a trial is told of no test split"
    folder = experiment.layout.tuning(MODEL)
    told = json.loads(experiment.store.read(f"{folder}/tuning.json"))
    assert [one["state"] for one in told["trials"]] == ["complete", "failed", "complete"]
    assert told["trials"][1]["error"] == "it broke"
    assert b"LEARNING_RATE = 3e-05" in experiment.store.read(f"{folder}/best.ini")


def test_what_stands_is_not_searched_for_again_and_a_killed_search_is_the_same_job(
    experiment: Experiment,
) -> None:
    search = Search(0.5, 0.25, 0.75)
    tune(experiment, PREPARED, search, made_from={})
    tune(experiment, PREPARED, search, made_from={})
    assert len(search.jobs) == 1
    # As if the driver had been killed while it wrote the trials down.
    experiment.store.delete([f"{experiment.layout.trial(MODEL, 1)}/trial.json"])
    tune(experiment, PREPARED, search, made_from={})
    assert search.jobs[1] == search.jobs[0], "so the same job is found again"
    tune(experiment, PREPARED, search, made_from={}, anew=True)
    assert search.jobs[2] != search.jobs[0], "asked for anew it is another one"


def test_if_all_trials_failed_the_next_run_searches_anew(experiment: Experiment) -> None:
    search = Search(None, None, None)
    for _ in range(2):
        with pytest.raises(StepError, match="it broke"):
            tune(experiment, PREPARED, search, made_from={})
    assert search.jobs[1] != search.jobs[0]


def test_what_differs_by_backend_is_the_backends(experiment: Experiment) -> None:
    """And nothing is asked of a cloud before the first job."""
    section = replace(experiment.settings.sagemaker, TRAIN_INSTANCE_COUNT=2)
    settings = replace(experiment.settings, sagemaker=section)
    there = open_backend(replace(experiment, settings=settings))
    assert there.managed_steps == ("prepare", "tune", "train", "test")
    assert there.searches
    assert there.gpus() is None, "those of this machine do not count"
    assert processes_for(settings, there, MODEL) == 2
    four = replace(settings, compute=replace(settings.compute, TRAIN_PROCESSES=4))
    assert processes_for(four, there, MODEL) == 8
    home = replace(settings, compute=replace(settings.compute, BACKEND="local"))
    here = open_backend(replace(experiment, settings=home))
    assert (here.managed_steps, here.machines, here.searches) == ((), 1, False)
    assert not here.encode_shares({}, None)
