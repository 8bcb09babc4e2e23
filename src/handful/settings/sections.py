"""Every key of settings.ini: its type, how it is read, its default, its meaning, what it counts for.

One line a key, and nothing about a key anywhere else: the reader, `handful settings`, the page in
docs/ and the fingerprints are all made from these. A step stands in `counts` if the RESULT of that
step depends on the key; what only changes speed, patience or access does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from handful.settings import names
from handful.settings.declare import key
from handful.settings.types import FrozenMap, Limit, Range, User
from handful.settings.values import (
    Bounds,
    boolean,
    choice,
    duration,
    fraction,
    limit,
    long_text,
    mapping,
    optional,
    real,
    size,
    split,
    text,
    whole,
    whole_list,
    words_list,
)

SEED_MAX = 2**32 - 1
_FILES = words_list(names.file_name, "names or globs")
_CORES = optional(whole(1, 4096, "processes"), "cores")
_WORD = optional(text())
_POSITIVE = Bounds(0, low_open=True)


@dataclass(frozen=True)
class ExperimentSection:
    """What the experiment is called and where its data lives."""

    NAME: str = key(
        text("folder name", names.folder_name),
        None,
        "The experiment's folder in STORE.",
        said="the directory's name",
    )
    STORE: str = key(
        text("s3://… or directory", names.place),
        None,
        "Where experiments keep their data. A relative path begins at the experiment's directory.",
        said="`store` beside the experiment",
    )
    SEED: int = key(
        whole(0, SEED_MAX, "seed"),
        "0",
        "The seed of every draw: samples, splits, and training unless SEEDS is given.",
        counts="prepare",
    )
    S3_ENDPOINT_URL: str | None = key(
        optional(text("URL", names.server_url)),
        None,
        "The S3 server of STORE, if it is not AWS.",
        said="AWS",
    )
    AWS_PROFILE: str | None = key(
        _WORD,
        None,
        "The profile of the AWS configuration whose credentials open STORE.",
        said="AWS's own search",
    )
    ASSUME_ROLE_ARN: str | None = key(_WORD, None, "A role to assume for STORE.", built=False)
    KMS_KEY: str | None = key(
        _WORD, None, "The KMS key that encrypts what is written to STORE.", built=False
    )


@dataclass(frozen=True)
class ProductionSection:
    """The running business: its label database and its files. Only ever read."""

    DATABASE_URL: str = key(
        text("SQLAlchemy URL", names.database_url),
        None,
        "The label database. Keep the password in an environment variable: `${NAME}`.",
        required=True,
        counts="reconcile",
    )
    LABEL_QUERY: str = key(
        long_text,
        None,
        "SQL that gives the columns artifact_id and label, if there is one file_hash, and any others.",
        said="this or LABEL_QUERY_FILE is required",
        counts="reconcile",
    )
    LABEL_QUERY_FILE: Path | None = key(
        optional(text("path")), None, "A file that holds the label query, instead of LABEL_QUERY."
    )
    FILES_URL: str = key(
        text("s3://… or directory", names.place),
        None,
        "The root of the artifacts' files.",
        required=True,
        counts="reconcile",
    )
    KEY_PATTERN: str = key(
        text("pattern", names.key_pattern),
        "{artifact_id}/{file}",
        "Where below FILES_URL a file of an artifact lies.",
        counts="reconcile",
    )
    FILES_FROM_PROD: tuple[str, ...] = key(
        _FILES, None, "The files of each artifact to copy.", required=True, counts="reconcile"
    )
    S3_ENDPOINT_URL: str | None = key(
        optional(text("URL", names.server_url)),
        None,
        "The S3 server of FILES_URL, if it is not AWS.",
        said="AWS",
        counts="reconcile",
    )
    AWS_PROFILE: str | None = key(
        _WORD,
        None,
        "The profile of the AWS configuration whose credentials open FILES_URL.",
        said="AWS's own search",
    )
    ASSUME_ROLE_ARN: str | None = key(_WORD, None, "A role to assume for FILES_URL.", built=False)


@dataclass(frozen=True)
class ReconcileSection:
    """Labels are matched with files, and the artifacts are copied."""

    FILES_ON_RESEARCH: tuple[str, ...] = key(
        _FILES,
        None,
        "The files that each artifact must end with, those that process_func makes included.",
        said="= FILES_FROM_PROD",
        counts="reconcile",
    )
    LABEL_OVERRIDES: Path | None = key(
        optional(text("path of a CSV")),
        None,
        "A CSV of artifact id and label, applied to the label rows before matching.",
    )
    OVERWRITE: bool = key(boolean, "false", "Copy again what is there already.")
    NUM_PROCESSES: int | None = key(
        _CORES, None, "Worker processes for process_func.", said="cores"
    )
    COPY_CONCURRENCY: int = key(
        whole(1, 4096, "copies at once"), "256", "How many files are copied at the same time."
    )
    ON_LABEL_CONFLICT: str = key(
        choice("stop", "drop"),
        "stop",
        "What to do when one artifact has several labels: stop, or drop all rows of it.",
        counts="reconcile",
    )
    ON_MISSING_FILES: str = key(
        choice("drop", "stop"),
        "drop",
        "What to do with an artifact that lacks a file: drop it, or stop.",
        counts="reconcile",
    )
    PROCESS_TIMEOUT: float = key(duration, "5m", "How long process_func may take for one artifact.")
    MAX_FAILED: Limit = key(limit(), "1%", "How many artifacts may fail before the step does.")


@dataclass(frozen=True)
class PrepareSection:
    """Artifacts become encoded datasets, on one split for all models."""

    MODEL_INPUT_FILES: tuple[str, ...] = key(
        _FILES,
        None,
        "The files that encode_data is given; each must be among FILES_ON_RESEARCH.",
        said="= FILES_ON_RESEARCH",
        counts="prepare",
    )
    ENCODED_DATA_DIR: str = key(
        text("folder name", names.folder_name),
        "full_dataset",
        "The name of this dataset; each has results of its own.",
    )
    MAX_ARTIFACTS: int | None = key(
        optional(whole(1, unit="artifacts"), "all"),
        None,
        "At most so many artifacts: a stratified sample by SEED, a smaller one contained in a larger.",
        said="all",
        counts="prepare",
    )
    LABEL_ALIASES: Mapping[str, str] = key(
        mapping(), "", "Labels to rename before anything else looks at them.", counts="prepare"
    )
    IGNORED_LABELS: tuple[str, ...] = key(
        words_list(unit="labels"), "", "Labels whose artifacts are left out.", counts="prepare"
    )
    NUM_LABELS_THRESHOLD: int = key(
        whole(0, unit="artifacts"),
        "0",
        "Labels with fewer artifacts than this are left out.",
        counts="prepare",
    )
    SPLIT: tuple[float, float, float] = key(
        split,
        "0.8/0.1/0.1",
        "The shares of train, validation and test; `80/10/10` and `80%/10%/10%` mean the same.",
        counts="prepare",
    )
    SPLIT_FROM: str | None = key(
        _WORD, None, "Another experiment, whose split is taken.", counts="prepare", built=False
    )
    GROUP_BY: str | None = key(
        optional(text("column")),
        None,
        "A column of the label rows; artifacts that share its value stay in one split.",
        counts="prepare",
    )
    NEAR_DUPLICATES: str = key(
        choice("group", "ignore"),
        "group",
        "Keep near-duplicates in one split, or ignore that they are.",
        counts="prepare",
    )
    NUM_PROCESSES: int | None = key(_CORES, None, "Worker processes for encode_data.", said="cores")
    ENCODE_TIMEOUT: float = key(duration, "2m", "How long encode_data may take for one instance.")
    MAX_INSTANCE_BYTES: int = key(
        size, "10MB", "An instance whose files are larger is quarantined.", counts="prepare"
    )
    WORKER_MEMORY: int | None = key(
        optional(size), None, "A cap on the memory of each worker.", built=False
    )
    MAX_QUARANTINED: Limit = key(
        limit(), "1%", "How many instances may be quarantined before the step fails."
    )


@dataclass(frozen=True)
class TrainSection:
    """Every model is trained with every seed. `[train:<model>]` overrides keys for one model."""

    MODEL_NAMES: tuple[str, ...] = key(
        words_list(names.model_name, "names"),
        None,
        "Hub names, local directories (beginning with ./ or /) or s3:// folders.",
        required=True,
        counts="prepare train",
    )
    EPOCHS: float = key(
        real(_POSITIVE, "epochs"),
        "3",
        "How often the training split is gone through.",
        counts="train",
    )
    BATCH_SIZE: int = key(
        whole(1, unit="examples"),
        "32",
        "Examples in one step of the optimizer, over all processes.",
        counts="train",
    )
    AUTO_BATCH: bool = key(
        boolean, "false", "Find the largest batch per device that fits.", built=False
    )
    LEARNING_RATE: float = key(
        real(_POSITIVE), "2e-5", "The highest learning rate.", counts="train"
    )
    WARMUP: float = key(
        fraction(),
        "0.1",
        "The share of the steps in which the learning rate rises.",
        counts="train",
    )
    WEIGHT_DECAY: float = key(real(Bounds(0)), "0.01", "AdamW's weight decay.", counts="train")
    LABEL_SMOOTHING: float = key(
        fraction(high_open=True),
        "0",
        "How much of the target is spread over all labels.",
        counts="train",
    )
    CLASS_WEIGHTS: str = key(
        choice("none", "balanced"),
        "none",
        "balanced: the rarer a label, the more its examples weigh in the loss.",
        counts="train",
    )
    METRIC: str = key(
        text("name"),
        "macro_f1",
        "The validation metric that picks the best checkpoint; one that compute_metrics returns.",
        counts="train",
    )
    METRIC_GOAL: str = key(
        choice("max", "min"), "max", "Is METRIC better when it is higher or lower?", counts="train"
    )
    EARLY_STOPPING_PATIENCE: int | None = key(
        optional(whole(1, unit="evaluations")),
        None,
        "Stop after so many evaluations without a better METRIC.",
        said="none",
        counts="train",
    )
    PRECISION: str = key(
        choice("auto", "fp32", "bf16", "fp16"),
        "auto",
        "The arithmetic of training; auto: bf16 where the hardware is faster with it.",
        counts="train",
    )
    COMPILE: bool = key(boolean, "false", "Compile the model.", built=False)
    GRADIENT_CHECKPOINTING: bool = key(boolean, "false", "Trade time for memory.")
    SHARDING: str = key(
        choice("none", "fsdp"), "none", "Spread a model over several GPUs.", built=False
    )
    CHECKPOINT_EVERY: float = key(duration, "10m", "How often a checkpoint is written.")
    SEEDS: tuple[int, ...] = key(
        whole_list(0, SEED_MAX, "seeds"),
        None,
        "Train each model once with each of these.",
        said="= SEED",
        counts="train",
    )


@dataclass(frozen=True)
class TuneSection:
    """The search for better settings, by the validation split only."""

    TRIALS: int | None = key(
        optional(whole(1, unit="trials")),
        None,
        "How many settings to try.",
        said="none: no tuning",
        counts="train",
        built=False,
    )
    PARALLEL: int = key(
        whole(1, unit="trials at once"), "1", "How many trials run at the same time.", built=False
    )
    ranges: tuple[Range, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class TrackingSection:
    """Another place that is told how training goes."""

    TRACKER: str = key(
        choice("none", "wandb", "trackio", "tensorboard"),
        "none",
        "The tracker that is told.",
        built=False,
    )
    PROJECT: str | None = key(_WORD, None, "The tracker's project.", built=False)
    MODE: str = key(
        choice("online", "offline"), "online", "Does the tracker use the network?", built=False
    )


@dataclass(frozen=True)
class ComputeSection:
    """Where the work is done."""

    BACKEND: str = key(
        choice("local", "sagemaker"),
        "local",
        "This machine, or SageMaker (not built yet).",
        works=("local",),
    )
    TRAIN_PROCESSES: int | None = key(
        optional(whole(1, 1024, "processes")),
        None,
        "Training processes on one machine (only 1 is built yet).",
        said="GPUs, else 1",
        works=(None, 1),
    )


@dataclass(frozen=True)
class ReportSection:
    """The page about it all."""

    SHOW_DOCUMENTS: bool = key(
        boolean, "true", "false keeps the documents' text out of reports.", counts="report"
    )


@dataclass(frozen=True)
class SagemakerSection:
    """Managed machines, for BACKEND = sagemaker."""

    ROLE_ARN: str | None = key(_WORD, None, "The role of the jobs.", built=False)
    REGION: str | None = key(_WORD, None, "The AWS region.", built=False)
    IMAGE_URI: str | None = key(
        _WORD, None, "The container image.", also=("DOCKER_IMAGE_PATH",), built=False
    )
    SAGEMAKER_LOCAL_DATA_DIR: str = key(
        text("path"),
        "/opt/ml/processing/input/data",
        "Where a processing job finds its input.",
        built=False,
    )
    VOLUME_SIZE_GB: int = key(whole(1, unit="GB"), "100", "The disk of each instance.", built=False)
    PREPARE_INSTANCE_TYPE: str | None = key(_WORD, None, "The instances that prepare.", built=False)
    PREPARE_INSTANCE_COUNT: int = key(
        whole(1, unit="instances"), "1", "How many prepare.", built=False
    )
    TRAIN_INSTANCE_TYPE: tuple[str, ...] = key(
        words_list(unit="types"),
        "",
        "The instances that train; of a list, the next is tried when there is no capacity.",
        built=False,
    )
    TRAIN_INSTANCE_COUNT: int = key(
        whole(1, unit="instances"), "1", "How many train together.", built=False
    )
    TEST_INSTANCE_TYPE: str | None = key(_WORD, None, "The instance that tests.", built=False)
    USE_SPOT: bool = key(boolean, "false", "Use spot instances.", built=False)
    MAX_RUNTIME: float = key(duration, "24h", "A job that takes longer is stopped.", built=False)
    MAX_COST_USD: float | None = key(
        optional(real(_POSITIVE, "US dollars")),
        None,
        "Refuse to start what is forecast to cost more.",
        built=False,
    )
    PRICE_PER_HOUR: float | None = key(
        optional(real(_POSITIVE, "US dollars")),
        None,
        "The price of an instance, where AWS's list is out of reach.",
        built=False,
    )
    KEEP_ALIVE: float | None = key(
        optional(duration), None, "How long an instance stays warm for the next job.", built=False
    )
    SUBNETS: tuple[str, ...] = key(
        words_list(unit="ids"), "", "The subnets of the jobs.", built=False
    )
    SECURITY_GROUPS: tuple[str, ...] = key(
        words_list(unit="ids"), "", "The security groups of the jobs.", built=False
    )
    SECRETS: Mapping[str, str] = key(
        mapping(unit="NAME = ARN per line"),
        "",
        "Environment variables of the jobs, out of Secrets Manager.",
        built=False,
    )
    TAGS: Mapping[str, str] = key(
        mapping(unit="name = value per line"), "", "Tags of all that is made on AWS.", built=False
    )
    ENDPOINT_URL: str | None = key(
        optional(text("URL", names.server_url)),
        None,
        "Another server than AWS, for tests.",
        built=False,
    )


@dataclass(frozen=True)
class Settings:
    """A whole settings.ini, read and checked."""

    experiment: ExperimentSection
    production: ProductionSection
    reconcile: ReconcileSection
    prepare: PrepareSection
    train: TrainSection
    tune: TuneSection
    user: User
    tracking: TrackingSection
    compute: ComputeSection
    report: ReportSection
    sagemaker: SagemakerSection
    for_models: Mapping[str, Mapping[str, Any]] = field(default_factory=FrozenMap)
    """Model name → the keys of its `[train:<model>]`, as values."""
    as_written: Mapping[str, str] = field(default_factory=FrozenMap)
    """"[section] KEY" → its text before a relative path was made absolute, or with its `${NAME}`
    if the value came from the environment into free text. See `handful.settings.counted`."""

    def train_for(self, model: str) -> TrainSection:
        """`[train]` with the overrides of `[train:<model>]`."""
        return replace(self.train, **self.for_models.get(model, {}))


SECTIONS: Mapping[str, type] = {
    "experiment": ExperimentSection,
    "production": ProductionSection,
    "reconcile": ReconcileSection,
    "prepare": PrepareSection,
    "train": TrainSection,
    "tune": TuneSection,
    "tracking": TrackingSection,
    "compute": ComputeSection,
    "report": ReportSection,
    "sagemaker": SagemakerSection,
}
"""The sections with declared keys, in the order in which they are shown; `[user]` has none."""
