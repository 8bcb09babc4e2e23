"""The sections about data: where it comes from, and what becomes of it.

One declaration a key, and nothing about a key anywhere else: the reader, `handful settings`, the
page in docs/ and the fingerprints are all made from these. A step stands in `counts` if the RESULT
of that step depends on the key; what only changes speed, patience or access does not count.
"""
# ruff: noqa: RUF009 - `key` declares a field; it is no default that instances would share

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handful.settings.declare import key
from handful.settings.values import key_patterns, names
from handful.settings.values.lists import mapping, or_auto, split, words_list
from handful.settings.values.parse import (
    boolean,
    choice,
    duration_of,
    limit,
    long_text,
    optional,
    size_of,
    text,
    whole,
)
from handful.settings.values.types import Limit

SEED_MAX = 2**32 - 1
_FILES = words_list(names.file_name, "names or globs")
_PATIENCE = 0.1, 30 * 86_400.0
"""Seconds that may be waited for one artifact: from those of a tiny function to a month."""
_CORES = optional(whole(1, 4096, "processes"), "cores")
_WORD = optional(text())


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
        counts="prepare tune compare",
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
    ASSUME_ROLE_ARN: str | None = key(
        optional(text("ARN", names.role_arn)), None, "A role to assume for STORE."
    )
    CA_BUNDLE: Path | None = key(
        optional(text("path of a PEM file")),
        None,
        "The certificates to trust when STORE is opened, a company's own among them.",
        said="AWS_CA_BUNDLE, else the profile's, else the public ones",
    )
    PUBLIC_VARIABLES: tuple[str, ...] = key(
        words_list(names.variable, "names"),
        "",
        "Environment variables whose values are no secrets: what [user], DATABASE_URL and "
        "LABEL_QUERY take from them is shown, and travels with jobs.",
    )
    KMS_KEY: str | None = key(
        _WORD, None, "The KMS key (id, alias or ARN) that encrypts what is written to STORE."
    )


@dataclass(frozen=True)
class ProductionSection:
    """The running business: its label database and its files. Only ever read."""

    DATABASE_URL: str = key(
        text("SQLAlchemy URL", names.database_url),
        None,
        "The label database. Keep the password in an environment variable: `${NAME}`.",
        required=True,
        secret=True,
        counts="reconcile",
    )
    LABEL_QUERY: str = key(
        long_text,
        None,
        "SQL that gives the columns artifact_id, label, file_hash if there is one, and any others.",
        said="this or LABEL_QUERY_FILE is required",
        secret=True,
        counts="reconcile",
    )
    LABEL_QUERY_FILE: Path | None = key(
        optional(text("path")), None, "A file that holds the label query, instead of LABEL_QUERY."
    )
    FILES_URL: str = key(
        text("s3://… or directory | none", names.place),
        None,
        "The root of the artifacts' files; `none`: there are none, and the documents are columns "
        "of the label rows, which FILES_FROM_PROD names.",
        required=True,
        counts="reconcile",
    )
    KEY_PATTERN: str = key(
        text("pattern", key_patterns.key_pattern),
        "{artifact_id}/{file}",
        "Where below FILES_URL a file of an artifact lies; without {file} its name is the key's "
        f"last segment. Examples: {', '.join(f'`{one}`' for one in key_patterns.EXAMPLES)}.",
        counts="reconcile",
    )
    FILE_KEY_COLUMN: str | None = key(
        optional(text("column", names.file_key_column)),
        None,
        "A column of the label rows that names each file: a key below FILES_URL, an s3:// URL, or "
        "a path. Nothing is listed then; an artifact may have several rows, or a list in one.",
        said="none: FILES_URL is listed, and KEY_PATTERN read",
        counts="reconcile",
    )
    FILE_BUCKETS: tuple[str, ...] = key(
        words_list(unit="buckets, or s3://bucket/prefix", read=names.file_bucket),
        "",
        "Where FILE_KEY_COLUMN may lead beside FILES_URL. All else is `unsafe_name`.",
        said="none: only below FILES_URL",
        counts="reconcile",
    )
    ID_FORMAT: str = key(
        choice("exact", "guid"),
        "exact",
        "How ids are compared: as they are written, or GUIDs in one form (lower case, dashes).",
        counts="reconcile",
    )
    FILES_FROM_PROD: tuple[str, ...] = key(
        _FILES,
        None,
        "The files of each artifact to copy. With FILES_URL = none, `text.txt` is the column "
        "`text`.",
        required=True,
        counts="reconcile",
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
    ASSUME_ROLE_ARN: str | None = key(
        optional(text("ARN", names.role_arn)), None, "A role to assume for FILES_URL."
    )
    CA_BUNDLE: Path | None = key(
        optional(text("path of a PEM file")),
        None,
        "The certificates to trust when FILES_URL is opened, a company's own among them.",
        said="AWS_CA_BUNDLE, else the profile's, else the public ones",
    )

    @property
    def holds_documents(self) -> bool:
        """Are the documents columns of the label rows, and are there no files?"""
        return self.FILES_URL == names.NO_PLACE


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
        "A CSV of artifact id and label, or a label_review.csv, applied before matching.",
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
    PROCESS_TIMEOUT: float = key(
        duration_of(*_PATIENCE), "5m", "How long process_func may take for one artifact."
    )
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
        "At most so many: a stratified sample by SEED, a smaller one contained in a larger.",
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
    KEEP_LABEL_IDS: bool = key(
        boolean,
        "false",
        "true: from the first prepare with it on, a label keeps its id for good, and an output in "
        "every model, although no artifact has it any more; new labels are appended. false: ids "
        "are 0, 1, 2, … over the labels that there are, so that the others move up when one goes.",
        counts="prepare",
    )
    SPLIT: tuple[float, float, float] = key(
        split,
        "0.8/0.1/0.1",
        "The shares of train, validation and test; `80/10/10` and `80%/10%/10%` mean the same.",
        counts="prepare",
    )
    SPLIT_FROM: str | None = key(
        _WORD, None, "Another experiment in STORE, whose split is taken.", counts="prepare"
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
    NEAR_DUPLICATE_FILES: tuple[str, ...] | None = key(
        or_auto(_FILES),
        "auto",
        "The files whose words tell near-duplicates; each must be among FILES_ON_RESEARCH. `auto`: "
        "production's own MODEL_INPUT_FILES, or what process_func made of them if only that holds "
        "text.",
        counts="prepare",
    )
    NUM_PROCESSES: int | None = key(_CORES, None, "Worker processes for encode_data.", said="cores")
    ENCODE_TIMEOUT: float = key(
        duration_of(*_PATIENCE), "2m", "How long encode_data may take for one instance."
    )
    MAX_INSTANCE_BYTES: int = key(
        size_of("100B", "1TB"),
        "10MB",
        "An instance whose files are larger is quarantined.",
        counts="prepare",
    )
    WORKER_MEMORY: int | None = key(
        optional(size_of("100MB", "100TB")),
        None,
        "A worker that takes more memory is ended, and costs the instance in its hand.",
    )
    MAX_QUARANTINED: Limit = key(
        limit(), "1%", "How many instances may be quarantined before the step fails."
    )
