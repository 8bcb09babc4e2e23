"""The container's entry, for real: a process on a root that is laid out as SageMaker documents."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful import errors
from handful.backends.base import Job
from handful.backends.local import Local
from handful.experiment.context import Experiment
from handful.jobs import arguments
from handful.jobs.arguments import ModelArgs, PrepareArgs, RunToTest, TrainArgs, TuneArgs
from handful.jobs.log_metrics import metric_patterns
from handful.layout import job_result
from handful.sagemaker.jobs.requests.build import request
from handful.sagemaker.jobs.requests.plan import plan, upload, work_of
from tests.support import tiny
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording
from tests.support.sagemaker_host import Host
from tests.support.sagemaker_works import PLAIN, RANGES


def train_job(one: Encoded, kind: type[ModelArgs] = TrainArgs, **more: Any) -> Job:
    arguments: dict[str, Any] = {
        "model": str(one.directory / "model"),
        "seed": 0,
        "label2id": dict(one.prepared.label2id),
        "rows": dict(one.prepared.rows["model"]),
        "data_hash": "0" * 64,
        "made_from": {"it": "always the same"},
        "processes": 1,
    }
    return Job(kind(**{**arguments, **more}), str(one.directory))


def host(experiment: Experiment, job: Job, root: Path, **sagemaker: Any) -> Host:
    """A job's container, from the very request that would be sent."""
    planned = plan(experiment, job)
    name = planned.stem.attempt(1)
    upload(experiment.store, planned, name)
    settings = experiment.settings
    section = replace(settings.sagemaker, **{**PLAIN, "TRAIN_INSTANCE_COUNT": 1, **sagemaker})
    tune = replace(settings.tune, ranges=RANGES[:2], TRIALS=2)
    full = replace(settings, sagemaker=section, tune=tune)
    return Host(
        root, request(full, work_of(full, experiment.store.url, experiment.layout, planned, name))
    )


def answer(experiment: Experiment, container: Host) -> dict[str, Any]:
    body = container.request.parameters
    name = body.get("TrainingJobName") or body["ProcessingJobName"]
    found: dict[str, Any] = json.loads(experiment.store.read(job_result(name)))
    return found


def test_training_in_a_container_gives_the_bits_of_home(tmp_path: Path) -> None:
    home, there = make(tmp_path / "a" / "EXP-1"), make(tmp_path / "b" / "EXP-1")
    expected = Local().run(train_job(home), Recording())
    experiment = there.open(tmp_path / "s")
    container = host(experiment, train_job(there), tmp_path / "ml")
    done = container.run()
    assert done.returncode == 0, done.stderr
    result = answer(experiment, container)["result"]
    assert result["weights_hash"] == expected["weights_hash"]
    assert result["metrics"] == expected["metrics"]
    assert (there.store / "results/full_dataset/models/model/seed-0/final").is_dir()
    # What SageMaker would read off the log, for each metric that the request names.
    for one in metric_patterns("macro_f1"):
        assert re.findall(one.regex, done.stdout), one.name
    best = re.findall(metric_patterns("macro_f1")[-1].regex, done.stdout)
    assert [float(value) for value in best] == pytest.approx([result["metrics"]["macro_f1"]], 1e-5)


@pytest.mark.slow
def test_the_encoded_data_are_those_that_the_channels_brought(tmp_path: Path) -> None:
    """Nothing is fetched a second time."""
    one = make(tmp_path / "EXP-1")
    experiment = one.open(tmp_path / "s")
    container = host(experiment, train_job(one), tmp_path / "ml", TRAIN_INPUT_MODE="fastfile")
    modes = {c["ChannelName"]: c["InputMode"] for c in channels_of(container)}
    assert {name: modes[name] for name in ("train", "validation")} == {
        "train": "FastFile",
        "validation": "FastFile",
    }
    container.lay_out()
    for split in ("train", "validation"):
        shutil.rmtree(one.store / "data/prepared_data/full_dataset/model" / split)
    done = container.end(container.start())
    assert done.returncode == 0, done.stderr
    assert answer(experiment, container)["result"]["rows"] == dict(one.prepared.rows["model"])


@pytest.mark.slow
def test_of_a_split_without_rows_the_worker_tells(tmp_path: Path) -> None:
    """A channel that finds nothing would end the job with other words, or none."""
    one = make(tmp_path / "EXP-1")
    rows = {**one.prepared.rows["model"], "validation": 0}
    empty = host(one.open(tmp_path / "s"), train_job(one, rows=rows), tmp_path / "ml")
    assert [c["ChannelName"] for c in channels_of(empty)] == ["experiment", "model-0", "train"]
    assert empty.run().returncode == 1
    assert "the validation split" in empty.failure


def channels_of(container: Host) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = container.request.parameters["InputDataConfig"]
    return found


@pytest.mark.slow
def test_the_experiments_own_functions_and_modules_come_along(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    (one.directory / "helper.py").write_text("SCORE = 0.625\n")
    one.functions(
        "\nfrom helper import SCORE\n\ndef compute_metrics():\n    return {'macro_f1': SCORE}\n"
    )
    experiment = one.open(tmp_path / "s")
    container = host(experiment, train_job(one), tmp_path / "ml")
    (one.directory / "helper.py").unlink()  # it is the bundle's that counts
    done = container.run()
    assert done.returncode == 0, done.stderr
    assert answer(experiment, container)["result"]["metrics"] == {"macro_f1": 0.625}


@pytest.mark.slow
def test_a_trial_trains_with_its_own_values(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    experiment = one.open(tmp_path / "s")
    container = host(experiment, train_job(one, TuneArgs), tmp_path / "ml")
    container.trial = {"train.EPOCHS": "1", "train.LEARNING_RATE": "0.001"}
    name = container.request.parameters["HyperParameterTuningJobName"]
    container.variables = {"TRAINING_JOB_NAME": f"{name}-002-0a1b2c3d"}
    done = container.run()
    assert done.returncode == 0, done.stderr
    results = one.store / "results/full_dataset"
    record = json.loads((results / "tuning/model/trial-0001/trial.json").read_text())
    assert record["values"] == {"EPOCHS": "1", "LEARNING_RATE": "0.001"}
    assert (record["state"], len(record["seen"])) == ("complete", 1)
    result = json.loads(experiment.store.read(job_result(f"{name}-002-0a1b2c3d")))
    assert result["result"]["value"] == record["value"]
    assert not (results / "models").exists(), "a trial is no run"


HOLD = """
import os, time
from transformers import AutoModelForSequenceClassification as Auto
import torch

class Slow(torch.nn.Module):
    def __init__(self, model_name, label2id):
        super().__init__()
        self.bert = Auto.from_pretrained(
            model_name, num_labels=len(label2id), ignore_mismatched_sizes=True
        )
        self.steps = 0

    def forward(self, input_ids, attention_mask, labels):
        if self.training:
            self.steps += 1
            if str(self.steps) == os.environ.get("HOLD_AT"):
                open(os.environ["HELD"], "w").close()
                time.sleep(1)
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, labels=labels)

def load_model(model_name, label2id):
    return Slow(model_name, label2id)
"""


@pytest.mark.slow
def test_a_spot_interruption_leaves_a_checkpoint_and_the_restart_ends_the_same(
    tmp_path: Path,
) -> None:
    home, there = make(tmp_path / "a" / "EXP-1"), make(tmp_path / "b" / "EXP-1")
    for one in (home, there):
        one.functions(HOLD)
    expected = Local().run(train_job(home), Recording())
    experiment = there.open(tmp_path / "s")
    first = host(experiment, train_job(there), tmp_path / "ml-1", USE_SPOT=True)
    held = tmp_path / "held"
    first.variables = {"HOLD_AT": "17", "HELD": str(held)}
    first.lay_out()
    process = first.start()
    until = time.monotonic() + 120
    while not held.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGTERM)
    assert first.end(process).returncode != 0
    assert first.failure.startswith("stopped by SIGTERM at step 17")
    assert "run again to go on" in first.failure
    name = first.request.parameters["TrainingJobName"]
    assert not (there.store / job_result(name)).exists(), "an interruption is no answer"
    again = Host(tmp_path / "ml-2", first.request)
    done = again.run()
    assert done.returncode == 0, done.stderr
    assert "goes on from the checkpoint of step 17 of 24" in done.stdout
    assert answer(experiment, again)["result"]["weights_hash"] == expected["weights_hash"]


def two_hosts(tmp_path: Path, experiment: Experiment, job: Job) -> list[Host]:
    container = host(experiment, job, tmp_path / "ml-1", TRAIN_INSTANCE_COUNT=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    names = ("127.0.0.1", "localhost")
    hosts = [
        Host(tmp_path / f"ml-{name}", container.request, name, names[::-1], port) for name in names
    ]
    for each in hosts:
        each.lay_out()
    return hosts


@pytest.mark.slow
def test_two_hosts_train_together(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    experiment = one.open(tmp_path / "s")
    hosts = two_hosts(tmp_path, experiment, train_job(one))
    container = hosts[0]
    processes = [each.start() for each in hosts]
    done = [each.end(process) for each, process in zip(hosts, processes, strict=True)]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert answer(experiment, container)["result"]["environment"]["processes"] == 2
    assert '"event": "advance"' in done[0].stdout
    assert '"event": "advance"' not in done[1].stdout, "only the first tells"


@pytest.mark.slow
@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)], ids=["leader", "other", "both"])
def test_an_ordinary_stop_of_two_hosts_shows_no_traceback(
    told: tuple[int, ...], tmp_path: Path
) -> None:
    """SageMaker tells both; whoever hears it first takes the other along."""
    one = make(tmp_path / "EXP-1")
    one.functions(HOLD)
    experiment = one.open(tmp_path / "s")
    hosts = two_hosts(tmp_path, experiment, train_job(one))
    for each in hosts:
        each.variables = {"HOLD_AT": "7", "HELD": str(tmp_path / f"held-{each.name}")}
    processes = [each.start() for each in hosts]
    until = time.monotonic() + 180
    while len(list(tmp_path.glob("held-*"))) < 2:
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < until
        time.sleep(0.02)
    for number in told:
        processes[number].send_signal(signal.SIGTERM)
    done = [each.end(process) for each, process in zip(hosts, processes, strict=True)]
    for each, ended in zip(hosts, done, strict=True):
        assert ended.returncode not in {0, -signal.SIGTERM}, ended.stderr
        assert "Traceback" not in ended.stderr + ended.stdout
        assert each.failure.startswith("stopped by ")
        assert "run again to go on" in each.failure
    name = hosts[0].request.parameters["TrainingJobName"]
    assert not (one.store / job_result(name)).exists(), "a stop is no answer"


@pytest.mark.slow
@pytest.mark.parametrize("guilty", [0, 1], ids=["leader", "other"])
def test_of_two_hosts_the_one_that_fails_is_the_headline(guilty: int, tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.functions(
        HOLD.replace(
            "        if self.training:\n",
            "        if self.steps == 3 and 'FAILS_HERE' in os.environ:\n"
            "            raise ValueError('my own words')\n        if self.training:\n",
        )
    )
    experiment = one.open(tmp_path / "s")
    hosts = two_hosts(tmp_path, experiment, train_job(one))
    hosts[guilty].variables = {"FAILS_HERE": "1"}
    processes = [each.start() for each in hosts]
    done = [each.end(process) for each, process in zip(hosts, processes, strict=True)]
    assert [ended.returncode for ended in done] == [1, 1]
    for each in hosts:
        assert "my own words" in each.failure.splitlines()[0], (each.failure, done)
    error = answer(experiment, hosts[0])["error"]
    assert "my own words" in error["faults"][0][1]


# --- processing jobs -----------------------------------------------------------------------------


@pytest.mark.slow
def test_testing_runs_as_a_processing_job(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    trained = Local().run(train_job(one), Recording())
    experiment = one.open(tmp_path / "s")
    run: dict[str, Any] = {
        "model": str(one.directory / "model"),
        "seed": 0,
        "weights_hash": trained["weights_hash"],
        "rows": {name: one.prepared.rows["model"][name] for name in ("validation", "test")},
    }
    look = {"runs": [], "settings": {}, "settings_hash": ""}
    told = arguments.TestArgs(dict(one.prepared.label2id), [RunToTest(**run)], look=look)
    job = Job(told, str(one.directory))
    container = host(experiment, job, tmp_path / "ml")
    done = container.run()
    assert done.returncode == 0, (done.stderr, container.failure)
    (evaluation,) = answer(experiment, container)["result"]["evaluations"]
    assert (evaluation["model"], evaluation["artifacts"]) == ("model", 30)


@pytest.fixture(scope="module")
def reconciled(tmp_path_factory: pytest.TempPathFactory) -> tiny.Tiny:
    one = tiny.make(tmp_path_factory.mktemp("tiny"), artifacts=30)
    # What must only happen in a container says so.
    functions = one.experiment / "functions.py"
    text = functions.read_text().replace(
        "def encode_data(instance, label2id, model_name):\n",
        "def encode_data(instance, label2id, model_name):\n"
        "    import os\n"
        "    if 'HANDFUL_TEST_AT_HOME' in os.environ:\n"
        "        raise RuntimeError('encoded at home')\n",
    )
    functions.write_text(text)
    done = one.handful("reconcile")
    assert done.returncode == 0, done.stderr
    return one


@pytest.mark.slow
def test_prepare_on_two_instances_and_the_joining(reconciled: tiny.Tiny, tmp_path: Path) -> None:
    from handful.experiment.context import open_experiment

    (tmp_path / "s").mkdir()
    experiment = open_experiment(reconciled.experiment, (), Recording(), tmp_path / "s")
    job = Job(PrepareArgs(), str(reconciled.experiment))
    container = host(experiment, job, tmp_path / "ml-0")
    names = ("algo-1", "algo-2")
    for name in names:
        done = Host(tmp_path / name, container.request, name, names).run()
        assert done.returncode == 0, done.stderr
        assert "taken as it stands" not in done.stdout, "what travels is not what has changed"
    # At home nothing is encoded any more: the functions would fail if they were asked.
    done = reconciled.handful("prepare", env={"HANDFUL_TEST_AT_HOME": "1"})
    assert done.returncode == 0, (done.stdout, done.stderr)
    prepared = json.loads(
        (reconciled.store / "data/prepared_data/full_dataset/prepared.json").read_text()
    )
    assert sum(prepared["rows"]["model"].values()) == 30
    assert prepared["quarantined"] == {"model": 0}


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_error_of_the_users_functions_is_the_reason_of_the_failure(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", functions="\ndef load_model():\n    return 'no module'\n")
    experiment = one.open(tmp_path / "s")
    container = host(experiment, train_job(one), tmp_path / "ml")
    assert container.run().returncode == 1
    assert container.failure.startswith("returned str, not a torch.nn.Module")
    assert "[load_model in functions.py]" in container.failure
    assert answer(experiment, container)["error"]["class"] == "UserError"


def test_a_bundle_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    container = host(one.open(tmp_path / "s"), train_job(one), tmp_path / "ml")
    container.lay_out()
    arrived = container.root / "input/data/experiment/experiment.tar"
    arrived.write_bytes(arrived.read_bytes() + b"\0")
    assert container.end(container.start()).returncode == 1
    assert container.failure.startswith("the experiment's bundle cannot be used")
    assert "What to do: start the job anew" in container.failure


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"HANDFUL_VERSION_torch": "0.1"}, "the image has torch"),
        ({"HANDFUL_VERSION_no_such_library": "1"}, "the image has no_such_library none"),
    ],
)
def test_other_versions_than_the_callers_are_refused(
    tmp_path: Path, variables: dict[str, str], words: str
) -> None:
    one = make(tmp_path / "EXP-1")
    container = host(one.open(tmp_path / "s"), train_job(one), tmp_path / "ml")
    container.variables = variables
    assert container.run().returncode == 1
    assert container.failure.startswith(words)
    assert "What to do: build the image again" in container.failure


def test_requirements_that_cannot_be_installed_are_told(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    (one.directory / "requirements.txt").write_text("./no/such/package\n")
    container = host(one.open(tmp_path / "s"), train_job(one), tmp_path / "ml")
    assert container.run().returncode == 1
    assert container.failure.startswith("requirements.txt cannot be installed")


def test_a_place_that_is_no_container_is_told(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    container = host(one.open(tmp_path / "s"), train_job(one), tmp_path / "ml")
    container.root.mkdir()
    assert container.end(container.start()).returncode == 1
    assert container.failure.startswith("this is no container of a training or processing job")


def test_a_verb_that_fails_leaves_its_last_words(reconciled: tiny.Tiny, tmp_path: Path) -> None:
    from handful.experiment.context import open_experiment

    (tmp_path / "s").mkdir()
    overrides = ("prepare.ENCODED_DATA_DIR=other", "prepare.SPLIT_FROM=EXP-9")
    experiment = open_experiment(reconciled.experiment, overrides, Recording(), tmp_path / "s")
    job = Job(PrepareArgs(), str(reconciled.experiment), overrides)
    container = host(experiment, job, tmp_path / "ml")
    assert container.run().returncode in {1, 2}
    assert "SPLIT_FROM" in container.failure
    error = answer(experiment, container)["error"]
    assert issubclass(getattr(errors, error["class"]), errors.UserError), "2 as a job, as at home"
