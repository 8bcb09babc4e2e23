"""Every request passes the API's own description of itself, offline."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.backends.base import Job
from handful.errors import StepError, UserError
from handful.jobs.events import EventWriter
from handful.jobs.log_metrics import best_line, best_name, metric_patterns, validation_line
from handful.sagemaker.jobs.requests import names, pieces
from handful.sagemaker.jobs.requests.build import KINDS, request
from handful.sagemaker.jobs.requests.common import has_local_disk
from handful.sagemaker.jobs.requests.ranges import overrides_of
from handful.sagemaker.jobs.requests.request_context import Channel
from tests.support.sagemaker_shapes import faults
from tests.support.sagemaker_works import PLAIN, TEXT, encrypted, settings, tuned, work

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "spot": {"USE_SPOT": True, "MAX_RUNTIME": 3600.0},
    "warm": {"KEEP_ALIVE": 1800.0},
    "network": {"SUBNETS": ("subnet-0a1b2c3d",), "SECURITY_GROUPS": ("sg-0a1b2c3d",)},
    "tags": {"TAGS": {"cost centre": "4711/π"}},
    "secrets": {
        "SECRETS": {
            "WANDB_API_KEY": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:wandb-AbCdEf"
        }
    },
}


@pytest.mark.parametrize("task", list(KINDS))
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_request_passes_the_apis_own_validation(tmp_path: Path, task: str, variant: str) -> None:
    read = settings(tmp_path, **VARIANTS[variant])
    for full in (read, encrypted(read)):
        made = request(tuned(full), work(task))
        assert faults(made.operation, made.parameters) == []
        assert json.loads(json.dumps(made.parameters)) == made.parameters


def test_the_checker_itself_finds_what_is_wrong(tmp_path: Path) -> None:
    made = request(settings(tmp_path), work("train"))
    for spoilt in (
        {"TrainingJobName": "a" * 64},
        {"TrainingJobName": "not_this"},
        {"HyperParameters": {"a": "x" * 2501}},
        {"HyperParameters": {"a": "two\nlines"}},
        {"HyperParameters": {str(i): "" for i in range(101)}},
        {"RoleArn": "arn:aws:iam::12:role/short-account-number"},
        {"Unknown": 1},
        {"ResourceConfig": {"InstanceCount": "two"}},
    ):
        assert faults(made.operation, {**made.parameters, **spoilt}), spoilt


def test_training_with_spot_a_checkpoint_and_retries(tmp_path: Path) -> None:
    read = settings(tmp_path, **VARIANTS["spot"])
    made = request(read, work("train")).parameters
    assert made["EnableManagedSpotTraining"] is True
    assert made["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3600,
        "MaxWaitTimeInSeconds": 7200,
    }
    assert made["CheckpointConfig"]["S3Uri"].startswith("s3://research/")
    assert made["RetryStrategy"]["MaximumRetryAttempts"] == 3
    assert "KeepAlivePeriodInSeconds" not in made["ResourceConfig"]


def test_the_longest_runtime_with_spot_stays_within_the_limit(tmp_path: Path) -> None:
    read = settings(tmp_path, USE_SPOT=True, MAX_RUNTIME=28 * 86_400.0)
    stopping = request(read, work("train")).parameters["StoppingCondition"]
    assert stopping["MaxWaitTimeInSeconds"] >= stopping["MaxRuntimeInSeconds"]


def test_another_instance_type_may_be_asked_for(tmp_path: Path) -> None:
    read = settings(tmp_path)
    first = request(read, work("train")).parameters
    second = request(read, work("train", instance_type="ml.m5.xlarge")).parameters
    assert first["ResourceConfig"]["InstanceType"] == "ml.g5.xlarge"
    assert second["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"


def test_prepare_takes_all_instances_and_the_others_one(tmp_path: Path) -> None:
    read = settings(tmp_path)

    def count(task: str) -> int:
        resources = request(read, work(task)).parameters["ProcessingResources"]
        return int(resources["ClusterConfig"]["InstanceCount"])

    assert [count(task) for task in ("reconcile", "prepare", "test")] == [1, 3, 1]


def test_artifacts_are_never_sharded_by_key(tmp_path: Path) -> None:
    for task in KINDS:
        text = json.dumps(request(tuned(settings(tmp_path)), work(task)).parameters)
        assert "ShardedByS3Key" not in text


def test_a_volume_key_is_left_out_where_the_disk_is_the_instances_own(tmp_path: Path) -> None:
    read = encrypted(settings(tmp_path))
    nvme = request(read, work("train")).parameters["ResourceConfig"]
    plain = request(read, work("train", instance_type="ml.m5.xlarge")).parameters["ResourceConfig"]
    assert "VolumeKmsKeyId" not in nvme
    assert plain["VolumeKmsKeyId"].startswith("arn:aws:kms")
    with_disk = ["ml.g5.xlarge", "ml.p4d.24xlarge", "ml.p4de.24xlarge", "ml.r5d.large"]
    assert all(has_local_disk(kind) for kind in with_disk)
    assert not any(has_local_disk(f"ml.{kind}.large") for kind in ("m5", "c5n", "r5", "p3", "m6i"))


def test_no_secret_is_in_a_request_only_where_it_is(tmp_path: Path) -> None:
    made = request(settings(tmp_path, **VARIANTS["secrets"]), work("train")).parameters
    arn = VARIANTS["secrets"]["SECRETS"]["WANDB_API_KEY"]
    assert made["Environment"]["HANDFUL_SECRET_WANDB_API_KEY"] == arn


@pytest.mark.parametrize(
    ("keys", "task", "words"),
    [
        ({"ROLE_ARN": None}, "train", "ROLE_ARN"),
        ({"IMAGE_URI": None}, "test", "IMAGE_URI"),
        ({"TRAIN_INSTANCE_TYPE": ()}, "train", "TRAIN_INSTANCE_TYPE"),
        ({"TEST_INSTANCE_TYPE": None}, "test", "TEST_INSTANCE_TYPE"),
        ({"PREPARE_INSTANCE_TYPE": "m5.xlarge"}, "prepare", r"write ml\.m5\.xlarge"),
        ({"SUBNETS": ("subnet-1",)}, "train", "SECURITY_GROUPS"),
        ({"USE_SPOT": True, "KEEP_ALIVE": 60.0}, "train", "KEEP_ALIVE"),
        ({"KEEP_ALIVE": 7200.0}, "train", "an hour at most"),
        ({"MAX_RUNTIME": 29 * 86_400.0}, "train", "28 days"),
        ({"MAX_RUNTIME": 10 * 86_400.0}, "prepare", "9 days"),
        ({"TAGS": {"what?": "x"}}, "prepare", "TAGS"),
        ({"SECRETS": {"A-B": "arn"}}, "train", "SECRETS"),
    ],
)
def test_what_sagemaker_would_refuse_is_refused_before(
    tmp_path: Path, keys: dict[str, Any], task: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        request(settings(tmp_path, **keys), work(task))


@pytest.mark.parametrize(("task", "limit"), [("train", 20), ("tune", 20), ("test", 9)])
def test_more_models_than_a_job_takes_inputs_are_refused(
    tmp_path: Path, task: str, limit: int
) -> None:
    """A processing job's own channel is the tenth."""
    told = tuned(settings(tmp_path))
    some = [Channel(f"weights-{number}", f"s3://bucket/{number}") for number in range(limit + 1)]
    request(told, replace(work(task), channels=tuple(some[:limit])))
    with pytest.raises(UserError, match=f"MODEL_NAMES.*takes {max(10, limit)} inputs"):
        request(told, replace(work(task), channels=tuple(some)))


# --- tuning --------------------------------------------------------------------------------------


def test_tuning_has_the_ranges_and_carries_the_settings(tmp_path: Path) -> None:
    made = request(tuned(settings(tmp_path)), work("tune")).parameters
    config = made["HyperParameterTuningJobConfig"]
    ranges = config["ParameterRanges"]
    assert ranges["ContinuousParameterRanges"][0] == {
        "Name": "train.LEARNING_RATE",
        "MinValue": "1e-05",
        "MaxValue": "0.001",
        "ScalingType": "Logarithmic",
    }
    assert ranges["IntegerParameterRanges"][0]["MaxValue"] == "5"
    assert [one["Name"] for one in ranges["CategoricalParameterRanges"]] == [
        "train.BATCH_SIZE",
        "user.POOLING",
    ]
    assert config["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 4,
        "MaxParallelTrainingJobs": 2,
    }
    assert config["HyperParameterTuningJobObjective"] == {
        "Type": "Maximize",
        "MetricName": "best:macro_f1",
    }
    definition = made["TrainingJobDefinition"]
    measured = definition["AlgorithmSpecification"]["MetricDefinitions"]
    assert "best:macro_f1" in [one["Name"] for one in measured]
    assert "ContainerEntrypoint" not in definition["AlgorithmSpecification"]
    static = definition["StaticHyperParameters"]
    assert pieces.join_pieces("settings", static) == TEXT
    assert Job.from_json(pieces.join_pieces("job", static) or "").task == "tune"


def test_a_trials_values_come_back_as_overrides() -> None:
    told = {"train.EPOCHS": "3", "user.POOLING": "cls", "model": "m", "job.00": "xyz", "seed": "0"}
    assert overrides_of(told, "./m") == ("train:./m.EPOCHS=3", "user.POOLING=cls")


def test_tuning_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to search"):
        request(tuned(settings(tmp_path), ranges=()), work("tune"))


# --- pieces --------------------------------------------------------------------------------------


@given(st.text(max_size=20_000))
def test_what_is_cut_is_joined_again(text: str) -> None:
    carried = pieces.cut("settings", text)
    assert all(len(value) <= 2500 and value.isascii() for value in carried.values())
    shuffled = dict(sorted(carried.items(), reverse=True))
    assert pieces.join_pieces("settings", {**shuffled, "settings": "no", "job.00": "no"}) == text


def test_a_long_text_takes_many_pieces_and_one_that_is_too_long_is_refused() -> None:
    long = "".join(f"{number * 7919 % 1_000_003} " for number in range(30_000))
    carried = pieces.cut("job", long)
    assert len(carried) > 10
    assert pieces.join_pieces("job", carried) == long
    with pytest.raises(UserError, match="90 fit"):
        pieces.cut("job", "".join(f"{number * 7919 % 1_000_003} " for number in range(200_000)))


def test_a_lost_or_changed_piece_is_noticed() -> None:
    carried = pieces.cut("job", "".join(str(number * 7919) for number in range(9_000)))
    lost = {key: value for key, value in carried.items() if key != "job.01"}
    spoilt = {**carried, "job.02": carried["job.02"][:-8] + "AAAAAAAA"}
    for damaged in (lost, spoilt, {**carried, "job.00": "?"}):
        with pytest.raises(StepError, match="damaged"):
            pieces.join_pieces("job", damaged)
    assert pieces.join_pieces("settings", carried) is None


# --- names ---------------------------------------------------------------------------------------

_PATTERN = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


@given(
    st.fixed_dictionaries({word: st.text(max_size=90) for word in ("experiment", "task", "what")}),
    st.dictionaries(st.text(), st.integers() | st.text(), max_size=4),
    st.integers(1, 999),
    st.sampled_from([names.JOB_LIMIT, names.TUNING_LIMIT]),
)
def test_a_name_is_within_the_limits_and_always_the_same(
    words: dict[str, str], identity: dict[str, Any], attempt: int, limit: int
) -> None:
    name = names.stem(words, identity, limit).attempt(attempt)
    assert 1 <= len(name) <= limit
    assert _PATTERN.fullmatch(name)
    again = names.stem(dict(reversed(words.items())), dict(reversed(identity.items())), limit)
    assert again.attempt(attempt) == name


@given(st.text(max_size=80), st.text(max_size=80))
def test_another_work_has_another_name(one: str, other: str) -> None:
    words = {"experiment": "EXP-1", "task": "train", "what": "a-very-long-model-name-indeed" * 3}
    found = [names.stem(words, {"store": text}).text for text in (one, other)]
    assert (found[0] == found[1]) == (one == other)


def test_names_read_well_and_attempts_differ() -> None:
    words = {"experiment": "EXP-3333-longformer", "task": "train", "what": "MiniLM seed 0"}
    stem = names.stem(words, {"store": "s3://a/b"})
    assert stem.text.startswith("EXP-3333-longformer-train-MiniLM-seed-0-")
    assert stem.attempt(1) != stem.attempt(2)
    with pytest.raises(StepError, match="999"):
        stem.attempt(1000)


@pytest.mark.parametrize("task", list(KINDS))
def test_the_longest_names_pass(tmp_path: Path, task: str) -> None:
    limit = names.TUNING_LIMIT if task == "tune" else names.JOB_LIMIT
    words = {"experiment": "e" * 90, "task": task, "what": "m" * 90}
    name = names.stem(words, {}, limit).attempt(999)
    made = request(tuned(settings(tmp_path)), work(task, name))
    assert faults(made.operation, made.parameters) == []


# --- metrics -------------------------------------------------------------------------------------


def found_in(log: str, metric: str) -> dict[str, list[float]]:
    return {
        one.name: [float(value) for value in re.findall(one.regex, log)]
        for one in metric_patterns(metric)
    }


def test_the_patterns_find_what_is_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with EventWriter(log) as events:
        figures = {"loss": 1.0986, "lr": 2.5e-05, "docs/s": 151.3, "padding": "3.1%"}
        events.advance("train m seed 0", 10, 20, "steps", figures)
        events.note(validation_line("m seed 0", 1.5, ("macro_f1", 0.4321), 0.9876, best=True))
        events.advance("validate m seed 0", 3, 3, "documents")
        events.note(best_line("m seed 0", 1.5, ("macro_f1", 0.4321)))
    assert found_in(log.read_text(), "macro_f1") == {
        "train:loss": [1.0986],
        "train:learning_rate": [2.5e-05],
        "train:documents_per_second": [151.3],
        "validation:loss": [0.9876],
        "validation:macro_f1": [0.4321],
        "best:macro_f1": [0.4321],
    }


def test_a_metric_of_any_name_and_sign_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with EventWriter(log) as events:
        events.note(best_line("m", 2, ('f("β") + 1', -0.5)))
    assert found_in(log.read_text(), 'f("β") + 1')['best:f("β") + 1'] == [-0.5]


@pytest.mark.parametrize("metric", ["loss", "log_loss", "macro_f1"])
def test_no_two_patterns_bear_one_name(metric: str) -> None:
    names_of = [one.name for one in metric_patterns(metric)]
    assert len(set(names_of)) == len(names_of)
    log = validation_line("m", 1, (metric, 0.25), 0.5, best=False)
    assert found_in(log, metric)["validation:loss"] == [0.5]


def test_the_patterns_of_a_long_name_stay_within_the_limits(tmp_path: Path) -> None:
    read = settings(tmp_path)
    read = replace(read, train=replace(read.train, METRIC="m" * 200))
    made = request(read, work("train"))
    assert faults(made.operation, made.parameters) == []
    assert len(best_name("m" * 200)) < 255
    assert PLAIN["TRAIN_INSTANCE_COUNT"] == 2
