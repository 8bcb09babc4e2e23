"""Every section and key of settings.ini: one declaration each, read by everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from handful.settings import values as v
from handful.settings.values import Limit, Parser, Range

RECONCILE, PREPARE, TRAIN, TEST, REPORT = "reconcile", "prepare", "train", "test", "report"


@dataclass(frozen=True)
class Key:
    """How one key is read and explained."""

    parse: Parser
    meaning: str
    unit: str = ""
    default: str = ""
    """As a person reads it, where it is not just the value."""
    counts_for: frozenset[str] = frozenset()
    """The steps whose result depends on it."""
    built: bool = True


@dataclass(frozen=True)
class KeyDescription:
    """One row of `handful settings`."""

    section: str
    key: str
    unit: str
    default: str
    meaning: str
    required: bool
    built: bool


def _key(
    parse: Parser,
    meaning: str,
    default: Any = None,
    *,
    unit: str = "",
    shown: str = "",
    counts: tuple[str, ...] = (),
    built: bool = True,
) -> Any:
    """A field of a section. `shown` is the default as a person reads it."""
    key = Key(parse, meaning, unit, shown, frozenset(counts), built)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"key": key})
    return field(default=default, metadata={"key": key})


def _needed(parse: Parser, meaning: str, *, unit: str = "", counts: tuple[str, ...] = ()) -> Any:
    return field(metadata={"key": Key(parse, meaning, unit, "", frozenset(counts))})


@dataclass(frozen=True, kw_only=True)
class ExperimentSection:
    """`[experiment]`: what it is called and where its data lives."""

    NAME: str = _key(v.text, "the experiment's name", "", shown="the directory's name")
    STORE: str = _key(v.text, "s3://… or a local directory", "", shown="store, beside settings.ini")
    SEED: int = _key(
        v.whole(0), "draws the split, the sample and the weights", 0, counts=(PREPARE,)
    )
    S3_ENDPOINT_URL: str | None = _key(v.text, "another S3 server than AWS, for the store")
    AWS_PROFILE: str | None = _key(v.text, "the AWS profile for the store")
    ASSUME_ROLE_ARN: str | None = _key(v.text, "a role to assume for the store", built=False)
    KMS_KEY: str | None = _key(v.text, "the KMS key that encrypts the store", built=False)


@dataclass(frozen=True, kw_only=True)
class ProductionSection:
    """`[production]`: the running business, read only."""

    DATABASE_URL: str = _needed(v.text, "the label database, as SQLAlchemy writes it")
    LABEL_QUERY: str = _key(
        v.text, "gives artifact_id, label, optionally file_hash, and any others", ""
    )
    LABEL_QUERY_FILE: str | None = _key(v.text, "a file that holds the query instead")
    FILES_URL: str = _needed(v.text, "the file store: s3://… or a local directory")
    KEY_PATTERN: str = _key(
        v.text, "where a key holds the artifact id and the file name", "{artifact_id}/{file}"
    )
    FILES_FROM_PROD: tuple[str, ...] = _needed(
        v.names, "names or globs of the files to copy", unit="list", counts=(RECONCILE,)
    )
    S3_ENDPOINT_URL: str | None = _key(v.text, "another S3 server than AWS, for production")
    AWS_PROFILE: str | None = _key(v.text, "the AWS profile for production")
    ASSUME_ROLE_ARN: str | None = _key(v.text, "a role to assume for production", built=False)


@dataclass(frozen=True, kw_only=True)
class ReconcileSection:
    """`[reconcile]`: matching and copying."""

    FILES_ON_RESEARCH: tuple[str, ...] = _key(
        v.names,
        "names or globs that every kept artifact must have, those of process_func included",
        (),
        unit="list",
        shown="FILES_FROM_PROD",
        counts=(RECONCILE,),
    )
    LABEL_OVERRIDES: str | None = _key(
        v.text, "a CSV of artifact id and label, applied before matching", counts=(RECONCILE,)
    )
    OVERWRITE: bool = _key(v.boolean, "copy again what is there already", False)
    NUM_PROCESSES: int | None = _key(
        v.whole(1), "worker processes for process_func", shown="the machine's cores"
    )
    COPY_CONCURRENCY: int = _key(v.whole(1, 4096), "copies in flight", 256, unit="copies")
    ON_LABEL_CONFLICT: str = _key(
        v.choice("stop", "drop"),
        "when one id or one content has two labels: stop, or drop all its rows",
        "stop",
        counts=(RECONCILE,),
    )
    ON_MISSING_FILES: str = _key(
        v.choice("drop", "stop"), "when an artifact lacks files", "drop", counts=(RECONCILE,)
    )
    PROCESS_TIMEOUT: float = _key(
        v.duration, "how long process_func may take", 300.0, unit="per artifact", shown="5m"
    )
    MAX_FAILED: Limit = _key(
        v.limit, "failures before the step stops", Limit(0.01, True), unit="of artifacts"
    )


@dataclass(frozen=True, kw_only=True)
class PrepareSection:
    """`[prepare]`: labels, split and encoding."""

    MODEL_INPUT_FILES: tuple[str, ...] = _key(
        v.names,
        "what encode_data reads; contained in FILES_ON_RESEARCH",
        (),
        unit="list",
        shown="FILES_ON_RESEARCH",
        counts=(PREPARE,),
    )
    ENCODED_DATA_DIR: str = _key(
        v.text, "the name of this dataset; each has results of its own", "full_dataset"
    )
    MAX_ARTIFACTS: int | None = _key(
        v.whole(1), "a stratified sample of this size", shown="all", counts=(PREPARE,)
    )
    LABEL_ALIASES: Mapping[str, str] = _key(
        v.aliases, "labels to rename", {}, unit="`old = new` a line", counts=(PREPARE,)
    )
    IGNORED_LABELS: tuple[str, ...] = _key(
        v.names, "labels to leave out", (), unit="list", counts=(PREPARE,)
    )
    NUM_LABELS_THRESHOLD: int = _key(
        v.whole(0), "labels with fewer artifacts go", 0, unit="artifacts", counts=(PREPARE,)
    )
    SPLIT: tuple[float, float, float] = _key(
        v.split,
        "the shares of train, validation and test",
        (0.8, 0.1, 0.1),
        shown="0.8/0.1/0.1",
        counts=(PREPARE,),
    )
    SPLIT_FROM: str | None = _key(v.text, "another experiment's split ledger", built=False)
    GROUP_BY: str | None = _key(
        v.text, "a column of the label rows whose groups stay in one split", counts=(PREPARE,)
    )
    NEAR_DUPLICATES: str = _key(
        v.choice("group", "ignore"),
        "whether near-duplicate documents stay in one split",
        "group",
        counts=(PREPARE,),
    )
    NUM_PROCESSES: int | None = _key(
        v.whole(1), "worker processes for encode_data", shown="the machine's cores"
    )
    ENCODE_TIMEOUT: float = _key(
        v.duration, "how long encode_data may take", 120.0, unit="per instance", shown="2m"
    )
    MAX_INSTANCE_BYTES: int = _key(
        v.size,
        "larger instances are quarantined",
        10_000_000,
        unit="bytes",
        shown="10MB",
        counts=(PREPARE,),
    )
    WORKER_MEMORY: int | None = _key(v.size, "a cap for each worker", unit="bytes", built=False)
    MAX_QUARANTINED: Limit = _key(
        v.limit, "quarantined instances before the step stops", Limit(0.01, True), unit="of all"
    )


_T = (TRAIN,)


@dataclass(frozen=True, kw_only=True)
class TrainSection:
    """`[train]`, and `[train:<model>]` for one model."""

    MODEL_NAMES: tuple[str, ...] = _needed(
        v.names,
        "hub names, local directories or s3:// folders",
        unit="list",
        counts=(PREPARE, TRAIN, TEST),
    )
    EPOCHS: float = _key(v.number(0.001), "passes over the training split", 3.0, counts=_T)
    BATCH_SIZE: int = _key(v.whole(1), "over all processes", 32, unit="instances", counts=_T)
    AUTO_BATCH: bool = _key(v.boolean, "find the largest size that fits", False, built=False)
    LEARNING_RATE: float = _key(v.number(0), "at its highest", 2e-5, counts=_T)
    WARMUP: float = _key(v.number(0), "a share of all steps, or steps from 1", 0.1, counts=_T)
    WEIGHT_DECAY: float = _key(v.number(0), "not on biases and norms", 0.01, counts=_T)
    LABEL_SMOOTHING: float = _key(v.number(0, 1), "of the loss", 0.0, counts=_T)
    CLASS_WEIGHTS: str = _key(
        v.choice("none", "balanced"), "weigh rare labels up in the loss", "none", counts=_T
    )
    METRIC: str = _key(
        v.text, "a name that compute_metrics returns; chooses the best epoch", "macro_f1", counts=_T
    )
    METRIC_GOAL: str = _key(v.choice("max", "min"), "which way METRIC is better", "max", counts=_T)
    EARLY_STOPPING_PATIENCE: int | None = _key(
        v.whole(1), "epochs without a better METRIC before stopping", unit="epochs", counts=_T
    )
    PRECISION: str = _key(
        v.choice("auto", "fp32", "bf16", "fp16"), "auto: bf16 where it is faster", "auto", counts=_T
    )
    COMPILE: bool = _key(v.boolean, "compile the model", False, built=False)
    GRADIENT_CHECKPOINTING: bool = _key(v.boolean, "less memory, slower", False, counts=_T)
    SHARDING: str = _key(v.choice("none", "fsdp"), "shard the model", "none", built=False)
    CHECKPOINT_EVERY: float = _key(
        v.duration, "between checkpoints", 600.0, unit="time", shown="10m"
    )
    SEEDS: tuple[int, ...] = _key(
        v.wholes, "a training each", (), unit="list", shown="SEED", counts=(TRAIN, TEST)
    )


@dataclass(frozen=True, kw_only=True)
class TuneSection:
    """`[tune]`: how many trials, and the ranges of keys of `[train]` and `user.KEY`."""

    TRIALS: int | None = _key(v.whole(1), "how many trials", shown="no tuning", built=False)
    PARALLEL: int = _key(v.whole(1), "trials at once", 1, built=False)
    ranges: Mapping[str, Range] = field(default_factory=dict)


class UserSection:
    """`[user]`: anything; `settings.user.KEY`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__["values"] = dict(values)

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        known = ", ".join(sorted(values)) or "none"
        raise AttributeError(f"[user] has no key {name!r}; its keys: {known}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are read only: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UserSection) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class TrackingSection:
    """`[tracking]`"""

    TRACKER: str = _key(
        v.choice("none", "wandb", "trackio", "tensorboard"), "who is told", "none", built=False
    )
    PROJECT: str | None = _key(v.text, "the tracker's project", built=False)
    MODE: str = _key(v.choice("online", "offline"), "the tracker's mode", "online", built=False)


@dataclass(frozen=True, kw_only=True)
class ComputeSection:
    """`[compute]`: who runs the jobs."""

    BACKEND: str = _key(v.choice("local", "sagemaker"), "who runs the jobs", "local", built=False)
    TRAIN_PROCESSES: int | None = _key(
        v.whole(1),
        "training processes on one machine",
        shown="the machine's GPUs, else 1",
        built=False,
    )


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """`[report]`"""

    SHOW_DOCUMENTS: bool = _key(
        v.boolean, "show the beginning of documents", True, counts=(REPORT,)
    )


def _sm(
    parse: Parser, meaning: str, default: Any = None, *, unit: str = "", shown: str = ""
) -> Any:
    return _key(parse, meaning, default, unit=unit, shown=shown, built=False)


@dataclass(frozen=True, kw_only=True)
class SagemakerSection:
    """`[sagemaker]`"""

    ROLE_ARN: str | None = _sm(v.text, "the role of the jobs")
    REGION: str | None = _sm(v.text, "the AWS region")
    IMAGE_URI: str | None = _sm(v.text, "the container image; also spelled DOCKER_IMAGE_PATH")
    SAGEMAKER_LOCAL_DATA_DIR: str = _sm(
        v.text, "where a job keeps its inputs", "/opt/ml/processing/input/data"
    )
    VOLUME_SIZE_GB: int = _sm(v.whole(1), "a job's disk", 100, unit="GB")
    PREPARE_INSTANCE_TYPE: str | None = _sm(v.text, "for prepare")
    PREPARE_INSTANCE_COUNT: int = _sm(v.whole(1), "for prepare", 1, unit="instances")
    TRAIN_INSTANCE_TYPE: tuple[str, ...] = _sm(
        v.names, "for train, tried in order", (), unit="list"
    )
    TRAIN_INSTANCE_COUNT: int = _sm(v.whole(1), "for train", 1, unit="instances")
    TEST_INSTANCE_TYPE: str | None = _sm(v.text, "for test")
    USE_SPOT: bool = _sm(v.boolean, "train on spot instances", False)
    MAX_RUNTIME: float = _sm(v.duration, "a job's time", 86_400.0, unit="time", shown="24h")
    MAX_COST_USD: float | None = _sm(v.number(0), "refuse what may cost more", unit="USD")
    PRICE_PER_HOUR: float | None = _sm(v.number(0), "of an instance", unit="USD")
    KEEP_ALIVE: float | None = _sm(v.duration, "keep instances warm", unit="time")
    SUBNETS: tuple[str, ...] = _sm(v.names, "of the VPC", (), unit="list")
    SECURITY_GROUPS: tuple[str, ...] = _sm(v.names, "of the VPC", (), unit="list")
    SECRETS: Mapping[str, str] = _sm(
        v.aliases, "environment variables from Secrets Manager", {}, unit="`NAME = ARN` a line"
    )
    TAGS: Mapping[str, str] = _sm(v.aliases, "of the jobs", {}, unit="`key = value` a line")
    ENDPOINT_URL: str | None = _sm(v.text, "another endpoint than AWS")


SECTIONS: Mapping[str, type[Any]] = {
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
"""The sections with declared keys, by name; `[user]` is free."""


def keys_of(section: str) -> Mapping[str, Key]:
    """The declared keys of a section, in order."""
    return {f.name: f.metadata["key"] for f in fields(SECTIONS[section]) if "key" in f.metadata}


def is_required(section: str, name: str) -> bool:
    found = next(f for f in fields(SECTIONS[section]) if f.name == name)
    return found.default is MISSING and found.default_factory is MISSING
