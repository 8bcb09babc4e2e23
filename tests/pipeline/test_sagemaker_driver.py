"""The driver against the stand-in over HTTP; its containers run a small program, no training."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.backends.base import Job
from handful.errors import Absent, Denied, LeftRunning, StepError, UserError
from handful.experiment.context import Experiment, open_experiment
from handful.jobs.arguments import TrainArgs
from handful.layout import job_result
from handful.sagemaker.jobs import following
from handful.sagemaker.jobs.backend import SageMaker
from handful.sagemaker.jobs.control import make_client
from handful.sagemaker.jobs.requests.build import Request
from handful.steps.prepare import start_over
from tests.support.progress import Recording
from tests.support.sagemaker_host import Host
from tests.support.sagemaker_jobs import NAMES, Bucket
from tests.support.sagemaker_jobs import Job as Running
from tests.support.sagemaker_standin import StandIn
from tests.support.sagemaker_works import PLAIN, TEXT, tuned
from tests.support.servers import S3Server

PROGRAM = """
import json, os, signal, sys, time
from pathlib import Path

root = Path(sys.argv[sys.argv.index("--root") + 1])
resources = json.loads(next(root.rglob("resourceconfig.json")).read_text())
host = resources["current_host"]
def told(words):
    output = root / "output"
    output.mkdir(exist_ok=True)
    for name in ("failure", "message"):
        (output / name).write_text(words)
def leave(*_):
    told("stopped by SIGTERM")
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
print(json.dumps({"event": "note", "message": f"{host} began"}), flush=True)
for step in range(1, 4):
    figures = {"loss": 1 / step}
    print(json.dumps({"event": "advance", "task": "train x", "done": step, "total": 3,
                      "unit": "steps", "figures": figures}), flush=True)
print(f"a line of {host}'s own", flush=True)
while os.environ.get("HOLD") and Path(os.environ["HOLD"]).exists():
    time.sleep(0.01)
if os.environ.get("FAIL"):
    print("Traceback: it broke", file=sys.stderr, flush=True)
    # The first that fails takes the others along: each lets the others speak before it goes.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (root.parent / "spoke").touch()
    others = f"{root.parent.name.rpartition('-')[0]}-*/spoke"
    until = time.monotonic() + 30
    while len(list(root.parent.parent.glob(others))) < len(resources["hosts"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    told(os.environ["FAIL"])
    sys.exit(int(os.environ.get("STATUS", "1")))
"""
TYPES = {
    "TRAIN_INSTANCE_TYPE": ("ml.g5.xlarge", "ml.m5.xlarge"),
    "TRAIN_INSTANCE_COUNT": 2,
    "PREPARE_INSTANCE_COUNT": 2,
}


@pytest.fixture
def cloud(s3_server: S3Server, tmp_path: Path) -> Iterator[StandIn]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with StandIn(s3_server, tmp_path / "hosts") as found:
        found.program = (sys.executable, str(program))
        yield found


@pytest.fixture
def experiment(cloud: StandIn, s3_server: S3Server, tmp_path: Path) -> Experiment:
    """Its store is on the S3 server; what a job's worker would answer is put there at its end."""
    overrides = (
        f"experiment.STORE={s3_server.place()}",
        f"experiment.S3_ENDPOINT_URL={s3_server.endpoint_url}",
    )
    (tmp_path / "s").mkdir()
    (tmp_path / "EXP-1").mkdir()
    (tmp_path / "EXP-1" / "settings.ini").write_text(TEXT)
    (tmp_path / "EXP-1" / "functions.py").write_text("")
    found = open_experiment(tmp_path / "EXP-1", overrides, Recording(), tmp_path / "s")
    keys = {**PLAIN, **TYPES, "REGION": "us-east-1", "ENDPOINT_URL": cloud.endpoint_url}
    section = replace(found.settings.sagemaker, **keys)
    found = replace(found, settings=replace(found.settings, sagemaker=section))

    def answer(job: Running) -> None:
        if not job.variables.get("FAIL"):
            found.store.write(job_result(job.name), b'{"result": {"x": 1}}')

    cloud.before_end = answer
    return found


def train(experiment: Experiment, **more: Any) -> Job:
    arguments = TrainArgs("bert-base-uncased", **{"seed": 0, **more})
    return Job(arguments, str(experiment.directory), experiment.overrides)


def quick(_: float) -> None:
    threading.Event().wait(0.05)


def followed(experiment: Experiment, told: Recording | None = None, **more: Any) -> Any:
    return SageMaker(experiment, pause=quick).run(train(experiment, **more), told or Recording())


@pytest.mark.slow
def test_lines_and_figures_of_every_host_are_streamed(
    experiment: Experiment, cloud: StandIn
) -> None:
    told = Recording()
    assert followed(experiment, told) == {"x": 1}
    for host in ("127.0.0.1", "localhost"):
        assert told.notes.count(f"{host}: {host} began") == 1
        assert told.notes.count(f"{host}: a line of {host}'s own") == 1
        steps = [(done, figures) for task, done, *_, figures in told.advances if host in task]
        assert steps == [(n, {"loss": 1 / n}) for n in (1, 2, 3)]
    assert any("Training" in note for note in told.notes), "its phases are told"
    assert told.warnings == []


REASONS = [
    ("the functions are wrong", 1, "", "its log in CloudWatch"),
    ("the Network and its quota: image.png not found", 1, "", "its log in CloudWatch"),
    (" ", 137, "", "the memory ran out"),
    ("x", 1, "ClientError: User is not authorized to perform: kms:Decrypt on it", "kms:Decrypt"),
]
"""What the container left, its status, SageMaker's own words if they are others, and the remedy;
the table of all is tests/unit/sagemaker/test_failures.py."""


def test_a_failed_job_ends_in_its_reason_its_last_lines_and_what_to_do(
    experiment: Experiment, cloud: StandIn
) -> None:
    backend = SageMaker(experiment, pause=quick)
    for number, (reason, status, own, remedy) in enumerate(REASONS):
        cloud.environment, cloud.reason = {"FAIL": reason, "STATUS": str(status)}, own
        with pytest.raises(StepError) as error:
            backend.run(train(experiment, seed=number), Recording())
        words = str(error.value)
        assert (own or f"AlgorithmError: {reason}, exit code: {status}") in words
        assert remedy in words
        for host in ("127.0.0.1", "localhost"):
            assert f"the last lines of {host}:\n" in words
        assert "    | Traceback: it broke" in words


@pytest.mark.slow
def test_the_next_type_is_tried_without_capacity_or_quota(
    experiment: Experiment, cloud: StandIn
) -> None:
    told = Recording()
    cloud.full = {"ml.g5.xlarge"}
    assert followed(experiment, told) == {"x": 1}
    kinds = [made.parameters["ResourceConfig"]["InstanceType"] for made in cloud.requests]
    assert kinds == ["ml.g5.xlarge", "ml.m5.xlarge"]
    assert "no ml.g5.xlarge is to be had" in told.warnings[0]
    cloud.refuse("CreateTrainingJob", "ResourceLimitExceeded")
    assert followed(experiment, told, other=1) == {"x": 1}
    cloud.full = {"ml.g5.xlarge", "ml.m5.xlarge"}
    with pytest.raises(StepError, match="name several in TRAIN_INSTANCE_TYPE"):
        followed(experiment, other=2)


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_stopped_and_that_is_told(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cloud.environment = {"HOLD": str(tmp_path / "hold")}
    section = replace(experiment.settings.sagemaker, MAX_RUNTIME=1.0)
    short = replace(experiment, settings=replace(experiment.settings, sagemaker=section))
    with pytest.raises(StepError, match=r"raise \[sagemaker\] MAX_RUNTIME"):
        followed(short)


@pytest.mark.slow
def test_a_job_runs_no_longer_than_its_part_of_the_cost_allows(
    experiment: Experiment, cloud: StandIn
) -> None:
    assert followed(replace(experiment, longest={("train", "bert-base-uncased"): 90.0}))
    assert followed(replace(experiment, longest={("train", "another"): 90.0}), other=1)
    limits = [one.parameters["StoppingCondition"]["MaxRuntimeInSeconds"] for one in cloud.requests]
    assert limits == [90, 86_400]


@pytest.mark.slow
def test_a_job_that_is_stopped_from_outside(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cloud.environment = {"HOLD": str(tmp_path / "hold")}
    cloud.on_line = lambda job, host, line: (
        make_client(experiment.settings).stop_training_job(TrainingJobName=job.name)
        if "own" in line and host == "localhost"
        else None
    )
    with pytest.raises(StepError, match="was stopped from outside"):
        followed(experiment)


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_and_can_stop_it(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cloud.environment = {"HOLD": str(tmp_path / "hold")}

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(LeftRunning, match="goes on without you") as left:
        SageMaker(experiment, pause=interrupt).run(train(experiment), Recording())
    (job,) = cloud.jobs
    left.value.stop()
    client = make_client(experiment.settings)
    state = lambda: client.describe_training_job(TrainingJobName=job)["TrainingJobStatus"]  # noqa: E731
    cloud.wait_for(lambda: state() == "Stopped")


@pytest.mark.slow
def test_throttled_and_failing_calls_are_repeated(experiment: Experiment, cloud: StandIn) -> None:
    cloud.refuse("CreateTrainingJob", "ThrottlingException", times=2)
    cloud.refuse("DescribeTrainingJob", "ThrottlingException", times=2)
    cloud.refuse("DescribeTrainingJob", "InternalFailure", status=500)
    assert followed(experiment) == {"x": 1}
    assert cloud.calls["CreateTrainingJob"] == 3
    assert len(cloud.jobs) == 1


@pytest.mark.slow
def test_an_expired_credential_in_the_middle(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    cloud.environment = {"HOLD": str(hold)}
    looks = 0

    def expires(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            cloud.refuse("DescribeTrainingJob", "ExpiredTokenException")

    with pytest.raises(Denied, match="log in again and run the same command"):
        SageMaker(experiment, pause=expires).run(train(experiment), Recording())
    hold.unlink()
    told = Recording()
    assert followed(experiment, told) == {"x": 1}
    assert len(cloud.jobs) == 1
    assert any("the job" in note for note in told.notes)


@pytest.mark.slow
def test_a_create_that_is_denied_says_what_is_missing(
    experiment: Experiment, cloud: StandIn
) -> None:
    cloud.refuse("CreateTrainingJob", "AccessDeniedException")
    with pytest.raises(Denied, match="iam:PassRole"):
        followed(experiment)
    told = "Could not assume role: it has to allow principal 'sagemaker.amazonaws.com'"
    cloud.refuse("CreateTrainingJob", "ValidationException", told)
    with pytest.raises(StepError, match="its trust policy names"):
        followed(experiment)
    assert followed(experiment) == {"x": 1}, "the name is still free"
    assert len(cloud.jobs) == 1


@pytest.mark.slow
def test_logs_that_may_not_be_read_are_said_once(experiment: Experiment, cloud: StandIn) -> None:
    from botocore.exceptions import ClientError

    class NoLogs:
        def get_paginator(self, _: str) -> Any:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeLogStreams")

    told = Recording()
    backend = SageMaker(experiment, pause=quick, logs=NoLogs())
    assert backend.run(train(experiment), told) == {"x": 1}
    assert len(told.warnings) == 1
    assert "cannot be read: AccessDeniedException" in told.warnings[0]


@pytest.mark.slow
def test_models_are_trained_side_by_side_and_the_quota_is_waited_for(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    cloud.environment = {"HOLD": str(hold)}
    sent: list[str] = []

    def one_of_three(job: Running, host: str, line: str) -> None:
        if "began" in line and host == "localhost":
            sent.append(job.name)
            if len(sent) == 2:
                hold.unlink()

    cloud.on_line = one_of_three
    # The first instances are there, those of the last job only when another has ended.
    jobs = [train(experiment, seed=seed) for seed in (0, 1, 2)]
    section = replace(experiment.settings.sagemaker, TRAIN_INSTANCE_TYPE=("ml.g5.xlarge",))
    mine = replace(experiment, settings=replace(experiment.settings, sagemaker=section))
    cloud.most_jobs = 2
    assert SageMaker(mine, pause=quick).run_all(jobs, Recording()) == [{"x": 1}] * 3
    assert len(cloud.jobs) == 3
    assert len(set(sent)) == 3


@pytest.mark.slow
def test_a_tuning_job_is_followed_and_its_trials_are_read_again_and_again(
    experiment: Experiment, cloud: StandIn
) -> None:
    mine = replace(experiment, settings=tuned(experiment.settings, trials=3))
    # The second trial fails without a word of its worker.
    cloud.before_end = lambda job: (
        None
        if "-002-" in job.name
        else experiment.store.write(job_result(job.name), b'{"result": {"value": 0.5}}')
    )
    job = replace(train(mine), task="tune")
    told = Recording()
    found = SageMaker(mine, pause=quick).run(job, told)["trials"]
    assert [one.get("result") for one in found] == [{"value": 0.5}, None, {"value": 0.5}]
    assert "without an answer" in found[1]["error"]
    keys = {"LEARNING_RATE", "EPOCHS", "WEIGHT_DECAY", "BATCH_SIZE", "user.POOLING"}
    assert all(one["values"].keys() == keys for one in found)
    assert len({one["values"]["LEARNING_RATE"] for one in found}) == 3
    assert told.advances[-1][1] == 3, "it is told how many trials have ended"
    # A driver that was killed before it wrote them down asks again, and nothing runs twice.
    assert SageMaker(mine, pause=quick).run(job, Recording())["trials"] == found
    assert len(cloud.searches) == 1
    assert len(cloud.jobs) == 3


class Leaves(Recording):
    """Presses Ctrl-C when a line of a host's own is shown."""

    def note(self, message: str) -> None:
        super().note(message)
        if "'s own" in message:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_preparing_anew_begins_once_and_not_below_a_job_that_runs(
    experiment: Experiment, cloud: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.05)
    hold = tmp_path / "hold"
    hold.touch()
    cloud.environment = {"HOLD": str(hold)}
    mine = experiment.layout
    kept = f"{mine.encoded('bert-base-uncased')}/quarantine.parquet"
    draw = [mine.splits, mine.label2id, mine.id2label, mine.split_metadata, mine.prepared_record]
    shard = f"{mine.encoded('bert-base-uncased')}/shards/x/00000.arrow"
    begun: list[int] = []

    def anew() -> None:
        begun.append(1)
        start_over(experiment.store, mine, ["bert-base-uncased"])

    for key in (*draw, shard, kept):
        experiment.store.write(key, b"{}")
    with pytest.raises(LeftRunning):
        SageMaker(replace(experiment, progress=Leaves())).encode_shares({"it": "1"}, anew)
    assert len(begun) == 1
    for key in (*draw, shard):
        with pytest.raises(Absent):
            experiment.store.head(key)
    experiment.store.head(kept)
    experiment.store.write(shard, b"of the job that runs")
    hold.unlink()
    SageMaker(experiment).encode_shares({"it": "1"}, anew)
    assert len(begun) == 1
    experiment.store.head(shard)
    SageMaker(experiment).encode_shares({"it": "1"}, anew)
    assert len(begun) == 2
    assert len(cloud.jobs) == 2


# --- a driver that is killed ---------------------------------------------------------------------

DRIVER = """
import json, sys, tempfile, threading
from dataclasses import replace
from pathlib import Path
from handful.backends.base import Job
from handful.sagemaker.jobs import following
from handful.sagemaker.jobs.backend import SageMaker
from handful.experiment.context import open_experiment
from handful.jobs.arguments import TrainArgs
from handful.progress import Silent

given = json.loads(sys.argv[1])
directory = Path(given["directory"])
with tempfile.TemporaryDirectory() as scratch:
    found = open_experiment(directory, tuple(given["overrides"]), Silent(), Path(scratch))
    job = Job(TrainArgs(**given["arguments"]), str(directory), found.overrides)
    pause = lambda _: threading.Event().wait(0.05)
    print("awake", flush=True)
    print(json.dumps(SageMaker(found, pause=pause).run(job, Silent())), flush=True)
"""


@pytest.mark.slow
def test_a_driver_killed_at_ten_random_moments_finds_its_job_each_time(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    cloud.environment = {"HOLD": str(hold)}
    keys = {**PLAIN, "REGION": "us-east-1", "ENDPOINT_URL": cloud.endpoint_url}
    keys["TRAIN_INSTANCE_TYPE"] = "ml.g5.xlarge"
    given = {
        "directory": str(experiment.directory),
        "overrides": [
            *experiment.overrides,
            "compute.BACKEND=sagemaker",
            *(f"sagemaker.{key}={value}" for key, value in keys.items()),
        ],
        "arguments": train(experiment).arguments.to_json(),
    }
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), json.dumps(given)]
    chance = random.Random(7)
    for number in range(11):
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert driver.stdout is not None
        assert driver.stdout.readline() == "awake\n"
        if number == 10:
            hold.unlink()
            out, _ = driver.communicate(timeout=60)
            assert json.loads(out) == {"x": 1}
        else:
            threading.Event().wait(chance.uniform(0, 0.6))
            driver.send_signal(signal.SIGKILL)
            driver.communicate()
    assert len(cloud.jobs) == 1, "no job was started twice"
    assert len(next(iter(cloud.jobs.values())).begun) == 1


@pytest.mark.parametrize("kind", ["ShardedByS3Key", "FullyReplicated"])
@pytest.mark.slow
def test_the_standin_deals_sharded_inputs_out_by_key(
    s3_server: S3Server, tmp_path: Path, kind: str
) -> None:
    """As AWS does; handful never asks for it, since it would tear an artifact's files apart."""
    files, where = [f"a-{number}/{name}" for number in range(3) for name in "xy"], s3_server.place()
    for name in files:
        Bucket(s3_server).put(f"{where}/in/{name}", name.encode())
    source = {
        "S3Uri": f"{where}/in/",
        "LocalPath": "/opt/ml/processing/input/data",
        "S3DataDistributionType": kind,
    }
    body = {
        "ProcessingInputs": [{"InputName": "data", "S3Input": source}],
        "ProcessingOutputConfig": {"Outputs": []},
    }
    found = []
    for name in NAMES:
        made = Request("CreateProcessingJob", body)
        host = Host(tmp_path / name, made, name, NAMES, bring=Bucket(s3_server).bring)
        host.lay_out()
        data = host.root / "processing" / "input" / "data"
        paths = [path for path in data.rglob("*") if path.is_file()]
        assert all(path.read_text() == str(path.relative_to(data)) for path in paths)
        found.append(sorted(str(path.relative_to(data)) for path in paths))
    assert found == ([files[::2], files[1::2]] if kind == "ShardedByS3Key" else [files, files])


@pytest.mark.slow
def test_a_job_of_other_content_is_left_alone(
    experiment: Experiment, cloud: StandIn, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cloud.environment = {"HOLD": str(tmp_path / "hold")}

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(LeftRunning):
        SageMaker(experiment, pause=interrupt).run(train(experiment), Recording())
    with pytest.raises(UserError, match="with other settings"):
        followed(experiment, made_from={"it": "changed"})
    assert len(cloud.jobs) == 1
