"""tune, whole: trials on validation only, exact after a kill, and what comes after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from handful.backends.base import Job
from handful.backends.inline import Inline
from handful.backends.local import Local
from handful.errors import StepError
from handful.experiment.context import with_values
from handful.jobs.arguments import TrainArgs, TrialArgs
from handful.progress import Progress
from handful.records import Tuned
from handful.settings import read_settings
from handful.steps.train import train as run_train
from handful.steps.tune import trials
from handful.steps.tune import tune as run_tune
from handful.steps.tune.drawing import draw
from handful.steps.tune.trials import State, Trial
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

LOAD_MODEL = """
def load_model(model_name, label2id, settings):
    from transformers import AutoModelForSequenceClassification

    if settings.user.POOLING not in ("cls", "mean"):
        raise ValueError(f"no such pooling: {settings.user.POOLING}")
    model = AutoModelForSequenceClassification.from_pretrained(
        model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
    )
    model.config.pooling = settings.user.POOLING
    return model
"""
TUNE = """
[tune]
TRIALS = 3
LEARNING_RATE = log 1e-4 1e-1
BATCH_SIZE = choice 8 16
user.POOLING = choice cls mean
[user]
POOLING = none
"""
FOLDER = "results/full_dataset/tuning/model"


def training(job: Job) -> TrainArgs:
    assert isinstance(job.arguments, TrainArgs)
    return job.arguments


def trial(job: Job) -> TrialArgs:
    found = training(job).trial
    assert found is not None
    return found


class Jobs(Inline):
    """Runs jobs here, and remembers them."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Progress) -> Any:
        self.jobs.append(job)
        return super().run(job, progress)


def made(root: Path, tune: str = TUNE, **train: str) -> Encoded:
    one = make(root / "EXP-1", functions=LOAD_MODEL)
    one.settings(tune, **{"EPOCHS": "2", **train})
    return one


def tune(one: Encoded, scratch: Path, backend: Inline | None = None) -> tuple[Tuned, Recording]:
    told = Recording()
    experiment = one.open(scratch, told)
    return run_tune(experiment, one.prepared, backend or Inline(), made_from={}), told


def trials_of(one: Encoded) -> list[dict[str, Any]]:
    """What is the same however often a search was interrupted."""
    found = json.loads((one.store / FOLDER / "tuning.json").read_text())
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in found["trials"]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoded, Tuned, Jobs]:
    """A straight search, without a test split in the store."""
    root = tmp_path_factory.mktemp("tuned")
    one, backend = made(root), Jobs()
    shutil.rmtree(one.store / "data/prepared_data/full_dataset/model/test")
    tuned, _ = tune(one, root / "scratch", backend)
    return one, tuned, backend


def test_the_best_trial_by_validation_is_found_without_a_test_split(
    done: tuple[Encoded, Tuned, Jobs],
) -> None:
    one, tuned, backend = done
    trials = trials_of(one)
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert {trial["state"] for trial in trials} == {"complete"}
    best = max(trials, key=lambda trial: trial["value"])
    assert (tuned.best[0].trial, tuned.best[0].value) == (best["number"], best["value"])
    assert tuned.values_for("model") == best["values"]
    assert all(set(training(job).rows) == {"train", "validation"} for job in backend.jobs)
    assert Tuned.from_json(tuned.to_json()) == tuned


def test_a_trial_leaves_its_record_and_no_model(done: tuple[Encoded, Tuned, Jobs]) -> None:
    one, _, _ = done
    folder = one.store / FOLDER / "trial-0000"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", "trial.json"]
    assert not (one.store / "results/full_dataset/models").exists()
    trial = json.loads((folder / "trial.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seen = [line["validation"]["macro_f1"] for line in lines if "validation" in line]
    assert trial["seen"] == seen
    assert trial["value"] == max(seen)
    losses = [line["validation"]["loss"] for line in lines if "validation" in line]
    assert trial["loss"] == losses[seen.index(max(seen))]
    assert trials_of(one)[0]["loss"] == trial["loss"]


def test_best_ini_is_read_by_the_reader_as_the_best_trial(
    done: tuple[Encoded, Tuned, Jobs], tmp_path: Path
) -> None:
    one, tuned, _ = done
    written = (one.directory / "settings.ini").read_text().partition("[train]")[0]
    (tmp_path / "settings.ini").write_text(written + (one.store / FOLDER / "best.ini").read_text())
    read = read_settings(tmp_path)
    values = tuned.values_for("model")
    assert float(values["LEARNING_RATE"]) == read.train.LEARNING_RATE
    assert int(values["BATCH_SIZE"]) == read.train.BATCH_SIZE
    assert values["user.POOLING"] == read.user.POOLING
    assert read.train.EPOCHS == 2


def test_train_goes_on_with_the_best_settings(
    done: tuple[Encoded, Tuned, Jobs], tmp_path: Path
) -> None:
    one, tuned, _ = done
    told = Recording()
    experiment = one.open(tmp_path / "s", told)
    trained = run_train(experiment, one.prepared, Inline(), made_from={}, tuned=tuned)
    values = tuned.values_for("model")
    assert any("the settings that tune found" in note for note in told.notes)
    # The same settings, data and seed: bit for bit what the trial saw.
    assert trained.runs[0].metrics["macro_f1"] == tuned.best[0].value
    final = one.store / "results/full_dataset/models/model/seed-0/final"
    record = json.loads((final / "handful.json").read_text())
    assert record["settings"]["[train] LEARNING_RATE"] == values["LEARNING_RATE"]
    config = json.loads((final / "config.json").read_text())
    assert config["pooling"] == values["user.POOLING"]


def test_a_second_search_keeps_the_trials_and_adds_more(
    done: tuple[Encoded, Tuned, Jobs], tmp_path: Path
) -> None:
    one, _, _ = done
    copy = Encoded(tmp_path / "EXP-1", one.prepared)
    shutil.copytree(one.directory, copy.directory)
    shutil.copytree(one.store, copy.store)
    before = trials_of(copy)
    copy.settings(TUNE.replace("TRIALS = 3", "TRIALS = 4"))
    # The directory moved with its relative paths, and with it its trials.
    backend = Jobs()
    tune(copy, tmp_path / "s", backend)
    assert [trial(job).number for job in backend.jobs] == [3]
    assert trials_of(copy)[:3] == before


DRIVER = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[3])
from tests.support.encoded import Encoded, make
from handful.backends.local import Local
from handful.records import Prepared
from handful.steps.tune import tune

prepared = Prepared.from_json(Path(sys.argv[2]).read_bytes())
experiment = Encoded(Path(sys.argv[1]), prepared).open(Path(sys.argv[1]).parent / "scratch")
tune(experiment, prepared, Local(), made_from={})
"""


@pytest.mark.slow
def test_a_killed_search_ends_as_a_straight_one(
    done: tuple[Encoded, Tuned, Jobs], tmp_path: Path
) -> None:
    one = made(tmp_path, TUNE, EPOCHS="2", CHECKPOINT_EVERY="0.001s")
    record = tmp_path / "prepared.json"
    record.write_bytes(one.prepared.to_json())
    root = str(Path(__file__).parents[2])
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(one.directory), str(record), root],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    trial = one.store / FOLDER / "trial-0001"
    deadline = time.monotonic() + 300
    while not list(trial.glob("checkpoints/*/checkpoint.json")):
        assert driver.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    _gone(trial)
    assert not (trial / "trial.json").exists()
    told = Recording()
    experiment = one.open(tmp_path / "s", told)
    tuned = run_tune(experiment, one.prepared, Local(), made_from={})
    assert any("1 trials stand" in note for note in told.notes)
    assert any("trial 1: goes on from the checkpoint" in note for note in told.notes)
    straight, expected, _ = done
    assert trials_of(one) == trials_of(straight)
    assert tuned.best == expected.best


def _gone(folder: Path) -> None:
    """Wait until the worker has felt its leash: nothing below `folder` changes any more."""
    still, before = 0, None
    while still < 20:
        now = sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.exists())
        still, before = (still + 1, before) if now == before else (0, now)
        time.sleep(0.05)


def test_parallel_trials_run_at_once_with_the_values_of_their_round(tmp_path: Path) -> None:
    text = TUNE.replace("TRIALS = 3", "TRIALS = 2\nPARALLEL = 2")
    one, told = made(tmp_path, text, EPOCHS="1"), Recording()
    experiment = one.open(tmp_path / "s", told)
    run_tune(experiment, one.prepared, Local(), made_from={})
    drawn = draw(experiment.settings.tune.ranges, "max", 0, (0, 1), ())
    assert [trial["values"] for trial in trials_of(one)] == drawn
    assert drawn[0] != drawn[1]


def test_without_trials_nothing_is_done(tmp_path: Path) -> None:
    one, backend = made(tmp_path, "[user]\nPOOLING = cls\n"), Jobs()
    tuned, told = tune(one, tmp_path / "s", backend)
    assert tuned.best == ()
    assert backend.jobs == []
    assert any("no [tune] TRIALS" in note for note in told.notes)
    assert not (one.store / "results").exists()


def test_when_every_trial_fails_the_first_failures_are_told_and_the_next_run_tries_again(
    tmp_path: Path,
) -> None:
    wrong = TUNE.replace("choice cls mean", "choice max min")
    one, backend = made(tmp_path, wrong), Jobs()
    for _ in range(2):
        with pytest.raises(StepError, match="of 3 trials of model 3 failed") as error:
            tune(one, tmp_path / "s", backend)
        assert "trial 0" in str(error.value)
        assert "no such pooling: m" in str(error.value)
    assert [trial(job).number for job in backend.jobs] == [0, 1, 2] * 2


class Hopeless(Inline):
    """Trials that end as they are told: pruned, or failed."""

    def __init__(self, one: Encoded, scratch: Path, *states: State) -> None:
        self.experiment, self.states = one.open(scratch), states
        self.asked: list[int] = []

    def run(self, job: Job, progress: Progress) -> Any:
        told = trial(job)
        self.asked.append(told.number)
        if self.states[told.number] is State.FAILED:
            raise StepError("it broke")
        made_from, values = training(job).made_from, told.values
        pruned = Trial(told.number, values, State.PRUNED, made_from, value=0.1, seen=(0.1,))
        mine = self.experiment
        trials.write(mine.store, mine.layout, training(job).model, pruned)
        return {}


def test_when_all_trials_are_pruned_or_failed_that_is_told_and_the_next_run_tries_again(
    tmp_path: Path,
) -> None:
    one = made(tmp_path)
    backend = Hopeless(one, tmp_path / "b", State.PRUNED, State.FAILED, State.PRUNED)
    for _ in range(2):
        with pytest.raises(StepError, match="of 3 trials of model 1 failed and 2 were pruned") as e:
            tune(one, tmp_path / "s", backend)
        assert "trial 1: it broke" in str(e.value)
        assert "narrower ranges; the next run tries again" in str(e.value)
        assert not (one.store / FOLDER / "best.ini").exists()
    assert backend.asked == [0, 1, 2] * 2


@pytest.mark.slow
def test_a_failed_trial_is_passed_over(tmp_path: Path) -> None:
    some = TUNE.replace("choice cls mean", "choice cls mean max min")
    one = made(tmp_path, some.replace("TRIALS = 3", "TRIALS = 4"), EPOCHS="1")
    tuned, told = tune(one, tmp_path / "s")
    states = [trial["state"] for trial in trials_of(one)]
    assert set(states) == {"complete", "failed"}
    assert trials_of(one)[tuned.best[0].trial]["state"] == "complete"
    assert any("failed" in warning for warning in told.warnings)


def test_a_hopeless_trial_is_given_up_and_so_again_after_an_interruption(tmp_path: Path) -> None:
    one = made(tmp_path, TUNE.replace("TRIALS = 3", "TRIALS = 1"), EPOCHS="3")
    experiment = with_values(one.open(tmp_path / "s"), "./model", {})
    values = {"LEARNING_RATE": "1e-05", "BATCH_SIZE": "8", "user.POOLING": "cls"}
    model = experiment.settings.train.MODEL_NAMES[0]
    mine = with_values(experiment, model, values)
    arguments: dict[str, Any] = {
        "model": model,
        "seed": 0,
        "label2id": dict(one.prepared.label2id),
        "rows": {"train": 90, "validation": 24},
        "data_hash": "0" * 64,
        "made_from": {},
        "trial": TrialArgs(6, values, before=[[0.99, 1.0, 1.0]] * 5),
    }
    answer = Inline().run(
        Job(TrainArgs(**arguments), str(one.directory), mine.overrides), Recording()
    )
    assert answer["state"] == "pruned"
    assert len(answer["seen"]) == 1
    folder = one.store / FOLDER / "trial-0006"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", "trial.json"]


def test_the_first_trial_tries_the_settings_as_they_stand(tmp_path: Path) -> None:
    text = TUNE.replace("TRIALS = 3", "TRIALS = 2").replace("POOLING = none", "POOLING = mean")
    one = made(tmp_path, text, LEARNING_RATE="auto", EPOCHS="1")
    _, told = tune(one, tmp_path / "s")
    first, second = trials_of(one)
    kept = json.loads((one.store / FOLDER / "trial-0000/trial.json").read_text())
    assert kept["values"] == {"LEARNING_RATE": "auto", "BATCH_SIZE": "8", "user.POOLING": "mean"}
    assert float(first["values"]["LEARNING_RATE"]) == float(kept["recipe"]["LEARNING_RATE"])
    assert second["values"]["LEARNING_RATE"] != first["values"]["LEARNING_RATE"]
    assert any("as the settings stand" in note for note in told.notes)


def test_no_trial_begins_when_the_time_is_over(tmp_path: Path) -> None:
    # A run that goes on counts the trials' own seconds: long enough that one takes more, anywhere.
    one = made(tmp_path, TUNE.replace("TRIALS = 3", "TUNE_TIME = 1s"), EPOCHS="40")
    tuned, told = tune(one, tmp_path / "s")
    assert len(trials_of(one)) == 1
    assert any("TUNE_TIME is over after" in note for note in told.notes)
    again, _ = tune(one, tmp_path / "t")
    assert again.best == tuned.best


def test_settings_outside_of_what_is_searched_are_not_tried(tmp_path: Path) -> None:
    text = TUNE.replace("TRIALS = 3", "TRIALS = 1").replace("POOLING = none", "POOLING = mean")
    one = made(tmp_path, text, LEARNING_RATE="0.5", EPOCHS="1")
    _, told = tune(one, tmp_path / "s")
    assert 1e-4 <= float(trials_of(one)[0]["values"]["LEARNING_RATE"]) <= 1e-1
    assert not any("as the settings stand" in note for note in told.notes)
