"""The driver against moto's control plane; what a job does there, the entry does here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from handful.backends.base import Job
from handful.errors import Denied, Interrupted, StepError, Unreachable, UserError
from handful.experiment.context import Experiment
from handful.jobs import arguments
from handful.jobs.arguments import PrepareArgs, TrainArgs
from handful.layout import job_result, job_sent
from handful.sagemaker.jobs import backend as backends
from handful.sagemaker.jobs.backend import SageMaker
from handful.sagemaker.jobs.requests.build import Request
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording
from tests.support.sagemaker_host import Host
from tests.support.sagemaker_works import PLAIN

REGION = "eu-central-1"


class Killed(BaseException):
    """The driver is gone, at once."""


class Cloud:
    """moto's SageMaker; jobs stay in progress until somebody says what became of them."""

    def __init__(self) -> None:
        self.client = boto3.client("sagemaker", region_name=REGION)
        self.sent: list[Request] = []
        self.client.meta.events.register("provide-client-params.sagemaker.*", self._seen)

    def _seen(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name.startswith("Create"):
            self.sent.append(Request(model.name, params))

    def jobs(self) -> dict[str, Any]:
        found = sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION]
        return {**found.training_jobs, **found.processing_jobs}

    def becomes(self, name: str, state: str, reason: str = "") -> None:
        job = self.jobs()[name]
        word = "training" if hasattr(job, "training_job_status") else "processing"
        setattr(job, f"{word}_job_status", state)
        job.failure_reason = reason


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield Cloud()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return make(tmp_path_factory.mktemp("encoded") / "EXP-1")


@pytest.fixture
def experiment(one: Encoded, tmp_path: Path) -> Experiment:
    """Each test with a store of its own."""
    one.settings(f"[experiment]\nSTORE = {tmp_path / 'store'}\n")
    found = one.open(tmp_path / "s")
    section = replace(found.settings.sagemaker, **{**PLAIN, "TRAIN_INSTANCE_COUNT": 1})
    return replace(found, settings=replace(found.settings, sagemaker=section))


def job(experiment: Experiment, **more: Any) -> Job:
    told = TrainArgs(str(experiment.directory / "model"), 0, **more)
    return Job(told, str(experiment.directory))


def driver(experiment: Experiment, cloud: Cloud, *happenings: Callable[[], object]) -> SageMaker:
    """A driver; between two looks at its job the next of the happenings comes about."""
    left = list(happenings)

    def pause(_: float) -> None:
        assert left, "it waits for nothing"
        left.pop(0)()

    return SageMaker(experiment, cloud.client, pause)


def answered(experiment: Experiment, cloud: Cloud, answer: dict[str, Any]) -> None:
    """The last job writes its answer and is completed."""
    name = next(reversed(cloud.jobs()))
    experiment.store.write(job_result(name), json.dumps(answer).encode())
    cloud.becomes(name, "Completed")


def fresh(cloud: Cloud, state: str = "InProgress", reason: str = "") -> Callable[[], None]:
    """The last job is not done at once, as moto has it."""
    return lambda: cloud.becomes(next(reversed(cloud.jobs())), state, reason)


@pytest.fixture(autouse=True)
def _a_store_that_no_request_could_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory stands for the bucket here."""
    monkeypatch.setattr(backends, "refuse", lambda *_: None)


@pytest.fixture(autouse=True)
def _in_progress_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.sagemaker.models import FakeProcessingJob, FakeTrainingJob

    for kind, word in ((FakeTrainingJob, "training"), (FakeProcessingJob, "processing")):
        init = kind.__init__

        def begun(self: Any, *a: Any, init: Any = init, word: str = word, **k: Any) -> None:
            init(self, *a, **k)
            setattr(self, f"{word}_job_status", "InProgress")

        monkeypatch.setattr(kind, "__init__", begun)


def test_a_job_is_sent_followed_and_answered(experiment: Experiment, cloud: Cloud) -> None:
    told = Recording()
    run = driver(
        experiment, cloud, fresh(cloud), lambda: answered(experiment, cloud, {"result": {"x": 1}})
    )
    assert run.run(job(experiment), told) == {"x": 1}
    (name,) = cloud.jobs()
    assert name.startswith("EXP-1-train-model-s0-")
    assert any(f"sent the job {name}" in note for note in told.notes)
    assert [one.operation for one in cloud.sent] == ["CreateTrainingJob"]


def test_the_real_container_trains_what_the_driver_sent(
    one: Encoded, cloud: Cloud, tmp_path: Path
) -> None:
    """moto keeps the books; the entry point runs for real from the very request that was sent."""
    one.settings()
    found = one.open(tmp_path / "s")
    section = replace(found.settings.sagemaker, **{**PLAIN, "TRAIN_INSTANCE_COUNT": 1})
    full = replace(found, settings=replace(found.settings, sagemaker=section))
    whole = job(
        full,
        label2id=dict(one.prepared.label2id),
        rows=dict(one.prepared.rows["model"]),
        data_hash="0" * 64,
        made_from={},
        processes=1,
    )

    def work() -> None:
        done = Host(tmp_path / "ml", cloud.sent[-1]).run()
        fresh(cloud, "Failed" if done.returncode else "Completed")()

    result = driver(full, cloud, work).run(whole, Recording())
    assert result["steps"] == 24
    assert result["model"] == "model"


# --- found again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_driver_that_is_killed_at_any_moment_finds_its_job(
    experiment: Experiment, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed before or after each write and call, one after the other; one job comes of it."""
    calls = 0
    limit = 0

    def dying(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > limit and moment == "before":
                raise Killed
            answer = function(*args, **kwargs)
            if calls > limit:
                raise Killed
            return answer

        return call

    watched = [(type(experiment.store), name) for name in ("write", "create", "send_tree")]
    watched += [(backends.Control, name) for name in ("create", "status")]
    for kind, name in watched:
        monkeypatch.setattr(kind, name, dying(getattr(kind, name)))
    answers: list[Any] = []
    for number in range(1, 40):
        limit, calls = number, 0
        run = driver(experiment, cloud, _done_outside(experiment, cloud))
        try:
            answers.append(run.run(job(experiment), Recording()))
            break
        except Killed:
            continue
    assert answers == [{"x": 1}]
    assert limit > 3, "it was killed at several moments"
    assert len(cloud.jobs()) == 1


def _done_outside(experiment: Experiment, cloud: Cloud) -> Callable[[], None]:
    """The job comes to its end; what the container writes does not go through the driver."""

    def done() -> None:
        name = next(reversed(cloud.jobs()))
        path = Path(experiment.store.url) / job_result(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"result": {"x": 1}}))
        cloud.becomes(name, "Completed")

    return done


def test_an_answer_is_taken_once_and_then_done_anew(experiment: Experiment, cloud: Cloud) -> None:
    done = lambda: answered(experiment, cloud, {"result": {"x": 1}})  # noqa: E731

    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        driver(experiment, cloud, killed).run(job(experiment), Recording())
    done()  # while nobody looks
    assert driver(experiment, cloud).run(job(experiment), Recording()) == {"x": 1}
    assert len(cloud.jobs()) == 1
    driver(experiment, cloud, done).run(job(experiment), Recording())
    assert [name.rpartition("-")[2] for name in cloud.jobs()] == ["1", "2"]


def test_the_answer_of_a_test_may_be_taken_until_it_is_recorded(
    experiment: Experiment, cloud: Cloud
) -> None:
    """A driver killed between the two would start the job again, and look at the test split."""
    one = {"model": "model", "seed": 0}
    result = {"evaluations": [one], "baselines": [{"model": "baseline-tfidf", "seed": 0}]}
    test = Job(arguments.TestArgs(), str(experiment.directory))
    mine = experiment.layout

    def done() -> None:
        for name in ("model", "baseline-tfidf"):
            experiment.store.write(mine.predictions(name, 0), b"rows")
        answered(experiment, cloud, {"result": result})

    assert driver(experiment, cloud, done).run(test, Recording()) == result
    told = Recording()
    assert driver(experiment, cloud).run(test, told) == result
    assert any("takes the answer of the job" in note for note in told.notes)
    assert len(cloud.jobs()) == 1
    experiment.store.write(mine.tested_record, b'{"note": "the first"}')
    assert driver(experiment, cloud, done).run(test, Recording()) == result, "it was asked for anew"
    assert driver(experiment, cloud).run(test, Recording()) == result
    assert len(cloud.jobs()) == 2
    # Somebody removes the results: an answer about what is gone is none.
    experiment.store.delete([mine.predictions("model", 0)])
    driver(experiment, cloud, done).run(test, Recording())
    assert len(cloud.jobs()) == 3


def test_the_error_of_a_test_is_told_once(experiment: Experiment, cloud: Cloud) -> None:
    fault = ["", "it broke", ""]
    error = {"class": "StepError", "faults": [fault], "traceback": "Traceback"}
    done = lambda: answered(experiment, cloud, {"error": error})  # noqa: E731
    test = Job(arguments.TestArgs(), str(experiment.directory))
    for jobs in (1, 2):
        with pytest.raises(StepError, match="it broke"):
            driver(experiment, cloud, done).run(test, Recording())
        assert len(cloud.jobs()) == jobs


def test_a_job_of_other_content_is_not_taken_for_this_one(
    experiment: Experiment, cloud: Cloud
) -> None:
    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        driver(experiment, cloud, killed).run(job(experiment), Recording())
    other = job(experiment, made_from={"it": "changed"})
    with pytest.raises(UserError, match="with other settings"):
        driver(experiment, cloud).run(other, Recording())
    fresh(cloud, "Stopped")()
    done = lambda: answered(experiment, cloud, {"result": {"x": 2}})  # noqa: E731
    assert driver(experiment, cloud, done).run(other, Recording()) == {"x": 2}


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize(
    "overrides",
    [("sagemaker.VOLUME_SIZE_GB=50",), ("sagemaker.USE_SPOT=true", "report.SHOW_DOCUMENTS=false")],
)
def test_a_flag_more_that_decides_nothing_finds_the_job_of_before(
    overrides: tuple[str, ...], running: bool, experiment: Experiment, cloud: Cloud
) -> None:
    """Neither refused nor paid for twice: it is followed, or its answer is taken."""

    def killed() -> None:
        if not running:
            answered(experiment, cloud, {"result": {"x": 1}})
        raise Killed

    with pytest.raises(Killed):
        driver(experiment, cloud, killed).run(job(experiment), Recording())
    again = replace(job(experiment), overrides=overrides)
    done = [lambda: answered(experiment, cloud, {"result": {"x": 1}})] if running else []
    assert driver(experiment, cloud, *done).run(again, Recording()) == {"x": 1}
    assert len(cloud.jobs()) == 1


def test_ctrl_c_leaves_the_job_and_it_is_found_again(experiment: Experiment, cloud: Cloud) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="goes on without you"):
        driver(experiment, cloud, interrupt).run(job(experiment), Recording())
    told = Recording()
    done = lambda: answered(experiment, cloud, {"result": {}})  # noqa: E731
    driver(experiment, cloud, done).run(job(experiment), told)
    assert any("goes on with the job" in note for note in told.notes)
    assert len(cloud.jobs()) == 1


def test_a_processing_job_can_be_stopped(experiment: Experiment, cloud: Cloud) -> None:
    def killed() -> None:
        raise Killed

    prepare = Job(PrepareArgs(), str(experiment.directory))
    run = driver(experiment, cloud, killed)
    assert run.stop(prepare) is None
    with pytest.raises(Killed):
        run.run(prepare, Recording())
    name = run.stop(prepare)
    assert name in cloud.jobs()
    fresh(cloud, "Stopped")()
    with pytest.raises(StepError, match="was stopped from outside"):
        driver(experiment, cloud, fresh(cloud, "Stopped")).run(prepare, Recording())


# --- failures ------------------------------------------------------------------------------------


def test_the_next_type_of_instance_is_tried_without_capacity(
    experiment: Experiment, cloud: Cloud
) -> None:
    told = Recording()
    full = fresh(cloud, "Failed", "CapacityError: Unable to provision requested ML instances")
    done = lambda: answered(experiment, cloud, {"result": {"x": 1}})  # noqa: E731
    assert driver(experiment, cloud, full, done).run(job(experiment), told) == {"x": 1}
    kinds = [one.parameters["ResourceConfig"]["InstanceType"] for one in cloud.sent]
    assert kinds == ["ml.g5.xlarge", "ml.m5.xlarge"]
    assert "no ml.g5.xlarge is to be had" in told.warnings[0]


def test_without_capacity_anywhere_it_says_what_to_do(experiment: Experiment, cloud: Cloud) -> None:
    full = fresh(cloud, "Failed", "CapacityError: Unable to provision requested ML instances")
    with pytest.raises(StepError, match="TRAIN_INSTANCE_TYPE"):
        driver(experiment, cloud, full, full).run(job(experiment), Recording())


class Refusing:
    """A client whose calls fail as AWS's do."""

    def __init__(self, cloud: Cloud, method: str, *errors: Exception) -> None:
        self._client, self._method, self._errors = cloud.client, method, list(errors)

    def __getattr__(self, name: str) -> Any:
        def call(**parameters: Any) -> Any:
            if name == self._method and self._errors:
                raise self._errors.pop(0)
            return getattr(self._client, name)(**parameters)

        return call


def refused(code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "X")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (refused("AccessDeniedException"), Denied, "iam:PassRole"),
        (refused("ExpiredTokenException"), Denied, "log in again"),
        (refused("ThrottlingException"), Unreachable, "in a while"),
        (refused("InternalFailure", 500), Unreachable, "in a while"),
        (refused("ValidationException"), StepError, "no"),
        (EndpointConnectionError(endpoint_url="https://x"), Unreachable, "check the network"),
    ],
)
def test_what_aws_refuses_is_told(
    experiment: Experiment, cloud: Cloud, error: Exception, kind: type[Exception], words: str
) -> None:
    client = Refusing(cloud, "create_training_job", error)
    with pytest.raises(kind, match=words):
        SageMaker(experiment, client, lambda _: None).run(job(experiment), Recording())


def test_no_quota_for_one_type_leads_to_the_next(experiment: Experiment, cloud: Cloud) -> None:
    client = Refusing(cloud, "create_training_job", refused("ResourceLimitExceeded"))
    done = lambda _: answered(experiment, cloud, {"result": {"x": 1}})  # noqa: E731
    assert SageMaker(experiment, client, done).run(job(experiment), Recording()) == {"x": 1}
    assert [name.rpartition("-")[2] for name in cloud.jobs()] == ["1"]


def test_an_outage_while_following_is_waited_for(experiment: Experiment, cloud: Cloud) -> None:
    told = Recording()
    error = EndpointConnectionError(endpoint_url="https://x")
    client = Refusing(cloud, "describe_training_job", *[error] * 3)
    happenings = iter([None, None, None, True])

    def pause(_: float) -> None:
        if next(happenings):
            answered(experiment, cloud, {"result": {"x": 1}})

    assert SageMaker(experiment, client, pause).run(job(experiment), told) == {"x": 1}
    assert len(told.warnings) == 3


def test_the_workers_own_error_comes_home(experiment: Experiment, cloud: Cloud) -> None:
    error = {"class": "UserError", "faults": [["here", "it is wrong", "mend it"]], "traceback": ""}

    def failed() -> None:
        answered(experiment, cloud, {"error": error})
        fresh(cloud, "Failed", "AlgorithmError: it is wrong")()

    with pytest.raises(UserError, match="it is wrong"):
        driver(experiment, cloud, failed).run(job(experiment), Recording())


def test_a_job_without_words_fails_with_sagemakers(experiment: Experiment, cloud: Cloud) -> None:
    failed = fresh(cloud, "Failed", "AlgorithmError: , exit code: 137")
    with pytest.raises(StepError, match="the memory ran out"):
        driver(experiment, cloud, failed).run(job(experiment), Recording())


def test_a_completed_job_without_an_answer_is_told(experiment: Experiment, cloud: Cloud) -> None:
    with pytest.raises(StepError, match="left no answer"):
        driver(experiment, cloud, fresh(cloud, "Completed")).run(job(experiment), Recording())


def test_what_was_sent_is_noted_before(experiment: Experiment, cloud: Cloud) -> None:
    client = Refusing(cloud, "create_training_job", refused("AccessDeniedException"))
    with pytest.raises(Denied):
        SageMaker(experiment, client, lambda _: None).run(job(experiment), Recording())
    done = lambda: answered(experiment, cloud, {"result": {"x": 1}})  # noqa: E731
    assert driver(experiment, cloud, done).run(job(experiment), Recording()) == {"x": 1}
    (name,) = cloud.jobs()
    assert json.loads(experiment.store.read(job_sent(name)))["operation"] == "CreateTrainingJob"
