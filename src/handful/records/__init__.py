"""The frozen records that pass between the steps, and how they are kept as JSON.

    settings → reconcile → Reconciled → prepare → Prepared → tune → Tuned → train → Trained
             → test → Tested → compare → Compared → report → Reported

Each is saved in the experiment's store, together with the `Fingerprint` of what it was made from,
so that a step can be started alone, skipped when nothing that matters changed, and tested from a
fixture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Self

from handful.records import json_types
from handful.records.json_types import Moment

Fingerprint = Mapping[str, str]
"""What a step was made from: a name a person understands → its value, or the hash of it."""


class Fate(StrEnum):
    """What became of a label row, or of an artifact in the file store (`ledger.parquet`)."""

    KEPT = "kept"
    DUPLICATE_ROW = "duplicate_row"
    FILE_ROW = "file_row"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    NO_LABEL = "no_label"
    NO_FILES = "no_files"
    MISSING_FILES = "missing_files"
    ARCHIVED = "archived"
    NO_LABEL_ROW = "no_label_row"
    UNSAFE_NAME = "unsafe_name"
    AMBIGUOUS_KEY = "ambiguous_key"
    PROCESS_FAILED = "process_failed"
    COPY_FAILED = "copy_failed"
    FORGOTTEN = "forgotten"


class Split(StrEnum):
    """Where an artifact went (`splits.parquet`)."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEFT_OUT = "left_out"


@dataclass(frozen=True)
class Record:
    """What a step hands to the next one. `made_from` decides whether it is up to date."""

    made_from: Fingerprint = field(kw_only=True)
    finished_at: Moment = field(kw_only=True)
    """ISO 8601, UTC."""
    seconds: float = field(kw_only=True, default=0.0)
    """How long the step took."""
    files: Mapping[str, tuple[int, str]] = field(kw_only=True, default_factory=dict)
    """Key → bytes and SHA-256 of each file that a later step reads; of older builds none."""

    def to_json(self) -> bytes:
        told = asdict(self)
        if not self.files:
            del told["files"]
        return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The record; ValueError or TypeError if `data` is not one of this class."""
        return json_types.from_json(cls, json_types.loads(data))


@dataclass(frozen=True)
class Reconciled(Record):
    """The artifacts stand in the store, verified, and the ledger says why the others do not."""

    snapshot_at: Moment
    """When production was asked; ISO 8601, UTC."""
    ledger_hash: str
    """sha256 over what later steps read: kept ids, labels, rows, files with sizes and etags."""
    fates: Mapping[str, int]
    """Ledger rows per fate."""
    labels: Mapping[str, int]
    """Kept artifacts per label, most frequent first."""
    kept: int
    copied: int
    """Files copied by the run that made this record."""


@dataclass(frozen=True)
class Prepared(Record):
    """Every model's Arrow datasets stand in the store, on one split."""

    label2id: Mapping[str, int]
    rows: Mapping[str, Mapping[str, int]]
    """Model → split → rows. Records name a model by its folder, so that an experiment may move."""
    quarantined: Mapping[str, int]
    """Model → instances that could not be encoded."""
    left_out: Mapping[str, int]
    """Model → instances for which `encode_data` returned None."""
    data_hash: Mapping[str, str]
    """Model → sha256 of its encoded datasets."""
    splits_hash: str


@dataclass(frozen=True)
class Best:
    """The best trial of one model, by validation."""

    model: str
    """The model's folder."""
    trial: int
    value: float
    """Of `[train] METRIC` on validation."""
    values: Mapping[str, str]
    """Key of `[train]`, or `user.KEY` → its value as settings.ini would write it."""


@dataclass(frozen=True)
class Tuned(Record):
    """Better settings were searched for on validation; nothing in `best` if none were asked for."""

    best: tuple[Best, ...] = ()

    def values_for(self, model: str) -> Mapping[str, str]:
        """The settings found for the model of that folder; empty if none were."""
        return next((one.values for one in self.best if one.model == model), {})


@dataclass(frozen=True)
class Run:
    """One model trained with one seed."""

    model: str
    """The model's folder."""
    seed: int
    metrics: Mapping[str, float | None]
    """Validation metrics of the best checkpoint; None for what was no finite number."""
    best_epoch: int
    seconds: float
    weights_hash: str
    """sha256 of `final/model.safetensors`."""
    parameters: int = 0


@dataclass(frozen=True)
class Trained(Record):
    """Every model × seed stands under `results/<ENCODED_DATA_DIR>/models`."""

    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Evaluation:
    """One trained model on the held-out split."""

    model: str
    seed: int
    metrics: Mapping[str, float | None]
    """None for what was no finite number."""
    artifacts: int
    seconds: float
    predictions_hash: str


@dataclass(frozen=True)
class Tested(Record):
    """Every model × seed was evaluated on the test split, in one look."""

    evaluations: tuple[Evaluation, ...]
    looks: int
    """How often the test split was looked at, this time included."""
    baselines: tuple[Evaluation, ...] = ()
    """Simple models on the same split, in the same look."""


@dataclass(frozen=True)
class Compared(Record):
    """All models stand in a ranking, and what is really different is said (`comparison.json`)."""

    winner: str
    """The folder of the model, or of the probe; chosen on validation."""
    verdict: str
    ranking: tuple[str, ...]
    """Models and baselines, the best on validation first."""
    beats_baseline: bool | None
    """Of the winner; None if there is no baseline."""
    artifacts: int
    """Those that all were tested on."""
    looks_after_verdict: int
    """Looks at the test split that came after a verdict, at other models or weights."""


@dataclass(frozen=True)
class Reported(Record):
    """The report stands at `key` in the store."""

    key: str
    url: str
    size: int


def finite_metrics(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Without those that were no finite number."""
    return {name: value for name, value in metrics.items() if value is not None}
