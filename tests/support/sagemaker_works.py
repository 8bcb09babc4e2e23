"""Settings and works for the tests of SageMaker's requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from handful.backends.base import Job
from handful.jobs.arguments import ARGUMENTS, ModelArgs
from handful.sagemaker.jobs.requests.request_context import Channel, Work
from handful.settings import Range, Settings, read_settings

TEXT = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = text.txt
[experiment]
STORE = s3://research/experiments
[train]
MODEL_NAMES = bert-base-uncased
"""
PLAIN: dict[str, Any] = {
    "ROLE_ARN": "arn:aws:iam::123456789012:role/handful",
    "REGION": "eu-central-1",
    "IMAGE_URI": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/handful:1",
    "PREPARE_INSTANCE_TYPE": "ml.m5.xlarge",
    "PREPARE_INSTANCE_COUNT": 3,
    "TRAIN_INSTANCE_TYPE": ("ml.g5.xlarge", "ml.m5.xlarge"),
    "TRAIN_INSTANCE_COUNT": 2,
    "TEST_INSTANCE_TYPE": "ml.m5.xlarge",
}
RANGES = (
    Range("LEARNING_RATE", "log", 1e-5, 1e-3),
    Range("EPOCHS", "int", 2, 5),
    Range("WEIGHT_DECAY", "float", 0.0, 0.1),
    Range("BATCH_SIZE", "choice", choices=(16, 32)),
    Range("user.POOLING", "choice", choices=("cls", "mean")),
)
FOLDER = "s3://research/experiments/EXP-1/jobs/it"


def settings(directory: Path, **sagemaker: Any) -> Settings:
    """Settings with keys of `[sagemaker]` that settings.ini does not take yet."""
    directory.mkdir(exist_ok=True)
    (directory / "settings.ini").write_text(TEXT)
    read = read_settings(directory)
    return replace(read, sagemaker=replace(read.sagemaker, **{**PLAIN, **sagemaker}))


def tuned(read: Settings, trials: int = 4, **keys: Any) -> Settings:
    ranges = {"ranges": RANGES, "TRIALS": trials, "PARALLEL": 2, **keys}
    return replace(read, tune=replace(read.tune, **ranges))


def encrypted(read: Settings) -> Settings:
    key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    return replace(read, experiment=replace(read.experiment, KMS_KEY=key))


def work(task: str, name: str = "it-1", **changed: Any) -> Work:
    kind = ARGUMENTS[task]
    of_one = ("bert-base-uncased", 0, {"a": 0, "b": 1}) if issubclass(kind, ModelArgs) else ()
    plain = Work(
        name=name,
        job=Job(kind(*of_one), "experiment"),
        bundle_hash="ab" * 16,
        settings_text=TEXT,
        folder=FOLDER,
        channels=(Channel("experiment", "s3://research/experiments/EXP-1/bundles/abab"),),
        versions={"handful": "0.1.0"},
    )
    return replace(plain, **changed)
