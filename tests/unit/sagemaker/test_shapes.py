"""What SageMaker would refuse is refused before it is sent, by the key that is at fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.errors import UserError
from handful.experiment.context import open_experiment
from handful.progress import Silent
from handful.sagemaker.jobs.requests.build import KINDS, Request, request
from handful.sagemaker.jobs.requests.preview import preview_requests
from handful.sagemaker.jobs.requests.request_context import Channel
from handful.sagemaker.jobs.requests.shapes import bucket_fault, faults, refuse
from handful.settings import Settings
from tests.support.sagemaker_works import TEXT, encrypted, settings, tuned, work


def keys_of(made: Request, region: str | None = "eu-central-1") -> set[str]:
    return {one.key for one in faults(made.operation, made.parameters, region)}


SECTIONS: list[tuple[str, str, Any, set[str]]] = [
    ("ROLE_ARN", "train", "arn:aws:iam::12:role/short", {"[sagemaker] ROLE_ARN"}),
    ("ROLE_ARN", "prepare", "handful", {"[sagemaker] ROLE_ARN"}),
    ("ROLE_ARN", "tune", "arn:aws:iam::123456789012:role/" + "r" * 2_048, {"[sagemaker] ROLE_ARN"}),
    ("IMAGE_URI", "train", "i" * 256, {"[sagemaker] IMAGE_URI"}),
    ("IMAGE_URI", "test", "i" * 256, {"[sagemaker] IMAGE_URI"}),
    ("VOLUME_SIZE_GB", "prepare", 16_385, {"[sagemaker] VOLUME_SIZE_GB"}),
    ("PREPARE_INSTANCE_COUNT", "prepare", 101, {"[sagemaker] PREPARE_INSTANCE_COUNT"}),
    ("SUBNETS", "train", ("subnet 1",), {"[sagemaker] SUBNETS"}),
    ("SUBNETS", "prepare", ("s" * 33,), {"[sagemaker] SUBNETS"}),
    ("SECURITY_GROUPS", "test", ("sg 1",), {"[sagemaker] SECURITY_GROUPS"}),
]


@pytest.mark.parametrize(("key", "task", "value", "told"), SECTIONS)
def test_each_key_is_named(key: str, task: str, value: Any, told: set[str], tmp_path: Path) -> None:
    network = {"SUBNETS": ("subnet-1",), "SECURITY_GROUPS": ("sg-1",)}
    plain = settings(tmp_path, **network)
    assert keys_of(request(tuned(plain), work(task))) == set()
    read = settings(tmp_path, **{**network, key: value})
    assert keys_of(request(tuned(read), work(task))) == told


def changed(read: Settings, section: str, **keys: Any) -> Settings:
    return replace(read, **{section: replace(getattr(read, section), **keys)})


def test_keys_of_other_sections_are_named(tmp_path: Path) -> None:
    read = settings(tmp_path)
    key = changed(encrypted(read), "experiment", KMS_KEY="a key!")
    assert keys_of(request(key, work("prepare"))) == {"[experiment] KMS_KEY"}
    seed = changed(read, "experiment", SEED=-1)
    assert keys_of(request(tuned(seed), work("tune"))) == {"[experiment] SEED"}
    many = tuned(read, trials=0)
    made = request(many, work("tune"))
    limits = made.parameters["HyperParameterTuningJobConfig"]["ResourceLimits"]
    limits["MaxNumberOfTrainingJobs"] = 0
    assert keys_of(made) == {"[tune] TRIALS"}


@pytest.mark.parametrize("task", list(KINDS))
def test_what_is_not_decided_by_a_key_is_told_too(task: str, tmp_path: Path) -> None:
    made = request(tuned(settings(tmp_path)), work(task, name="not_this"))
    assert keys_of(made) == {"the request to SageMaker"}
    with pytest.raises(UserError, match="SageMaker would not take it: 'not_this'") as caught:
        refuse(made.operation, made.parameters, None)
    assert caught.value.exit_status == 2


def test_types_and_unknown_members_are_told(tmp_path: Path) -> None:
    made = request(settings(tmp_path), work("train"))
    for spoilt in ({"Unknown": 1}, {"ResourceConfig": {"InstanceCount": "two"}}, {"RoleArn": None}):
        assert list(faults(made.operation, {**made.parameters, **spoilt})), spoilt


NAMES = {
    "ab": False,
    "abc": True,
    "a" * 63: True,
    "a" * 64: False,
    "my-bucket.of.mine": True,
    "my..bucket": False,
    "-bucket": False,
    "bucket-": False,
    "bucket.": False,
    "My_Bucket": False,
    "192.168.5.4": False,
    "bücket": False,
    "my bucket": False,
    "": False,
}


@pytest.mark.parametrize("name", list(NAMES))
def test_names_of_buckets(name: str, tmp_path: Path) -> None:
    assert (bucket_fault(name, "eu-central-1") == "") == NAMES[name]
    read = settings(tmp_path)
    for task in ("train", "prepare"):
        folder = f"s3://{name}/experiments/EXP-1/jobs/it"
        made = request(read, work(task, folder=folder))
        assert ("[experiment] STORE" in keys_of(made)) != NAMES[name]


def test_an_old_name_may_be_one_of_us_east_1() -> None:
    assert bucket_fault("My_Bucket", "us-east-1") == ""
    assert bucket_fault("My_Bucket", None) == ""
    assert bucket_fault("My_Bucket", "eu-west-1")


def test_the_bucket_of_a_model_is_a_models(tmp_path: Path) -> None:
    channels = (Channel("weights-0", "s3://ab/model"),)
    made = request(settings(tmp_path), work("train", channels=channels, origins=("s3://ab/model",)))
    assert keys_of(made) == {"[train] MODEL_NAMES"}


def test_the_dry_run_refuses_a_bucket_of_two_letters(tmp_path: Path) -> None:
    directory = tmp_path / "EXP-1"
    read = settings(directory)
    (directory / "functions.py").write_text("")
    (directory / "settings.ini").write_text(TEXT.replace("s3://research", "s3://ab"))
    experiment = open_experiment(directory, (), Silent(), tmp_path)
    section = replace(experiment.settings.sagemaker, **vars(read.sagemaker))
    experiment = replace(experiment, settings=replace(experiment.settings, sagemaker=section))
    with pytest.raises(UserError, match=r"\[experiment\] STORE: .*'ab' is no name of a bucket"):
        preview_requests(experiment, ("train",))


def test_the_offline_switch_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, there in (("1", "1"), ("true", "1"), ("ON", "1"), ("0", None), ("", None)):
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
            monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
            monkeypatch.setenv(name, value)
            assert sent_environment(tmp_path).get("HF_HUB_OFFLINE") == there, (name, value)


def sent_environment(folder: Path) -> dict[str, str]:
    directory = folder / "EXP-1"
    read = settings(directory)
    (directory / "functions.py").write_text("")
    experiment = replace(open_experiment(directory, (), Silent(), folder), settings=read)
    (one,) = preview_requests(experiment, ("train",))
    found: dict[str, str] = one.parameters["Environment"]
    return found
