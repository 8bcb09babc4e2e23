"""Artifacts that are reconciled already, in a store of their own: for tests of prepare alone."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from handful import layout
from handful.experiment.context import Experiment, open_experiment
from handful.records import Fate, Prepared, Reconciled
from handful.steps.prepare import prepare
from tests.support.progress import Recording

SETTINGS = """
[experiment]
STORE = {store}
NAME = exp
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = raw_text.json
[prepare]
SPLIT = 0.6/0.2/0.2
NUM_PROCESSES = 1
MAX_QUARANTINED = 10%
[train]
MODEL_NAMES = tiny
"""

FUNCTIONS = """
import json
import zlib

from datasets import Features, Sequence, Value


def get_dataset_features():
    tokens, mask = Sequence(Value("int32")), Sequence(Value("int8"))
    return Features({"input_ids": tokens, "attention_mask": mask})


def numbers(path):
    text = json.loads(path.read_text())["text"]
    return [zlib.crc32(word.encode()) % 1000 for word in text.split()]


def encode_data(instance):
    ids = numbers(instance["raw_text.json"])
    return {"input_ids": ids, "attention_mask": [1] * len(ids)}
"""
WORDS = [f"word{number}" for number in range(400)]
NO_LEDGER: dict[str, Any] = {"label_source": "query", "reason": "", "repaired": False}


def random_text(number: int, words: int = 60) -> str:
    return " ".join(random.Random(number).choices(WORDS, k=words))


@dataclass
class Bench:
    """An experiment whose artifacts are in the store, and what `prepare` makes of them."""

    root: Path
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Artifact id → label, files (name → bytes), row (the label row's other columns)."""
    told: Recording = field(default_factory=Recording)
    url: str | None = None
    """Of the store, if it is not a directory below `root`."""
    endpoint_url: str | None = None

    @property
    def directory(self) -> Path:
        return self.root / "experiment"

    @property
    def store(self) -> Path:
        return self.root / "store" / "exp"

    @property
    def prepared(self) -> Path:
        return self.store / "data/prepared_data/full_dataset"

    def functions(self, source: str) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "functions.py").write_text(source)

    def settings(self) -> None:
        text = SETTINGS.format(store=self.url or self.root / "store")
        if self.endpoint_url:
            text = text.replace("NAME = exp", f"NAME = exp\nS3_ENDPOINT_URL = {self.endpoint_url}")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "settings.ini").write_text(text)

    def add(self, artifact_id: str, label: str, text: str | None = None, **more: Any) -> None:
        """One more artifact; `files`, `made` (names among them), `row` and `file_hash` are free."""
        text = random_text(len(self.artifacts)) if text is None else text
        files = {"raw_text.json": json.dumps({"text": text}).encode()}
        self.artifacts[artifact_id] = {"label": label, "files": files, "row": {}, **more}

    def fill(self, count: int, labels: tuple[str, ...] = ("invoice", "letter", "report")) -> None:
        for number in range(count):
            self.add(f"artifact-{number:04d}", labels[number % len(labels)])

    @contextmanager
    def open(self, **settings: Any) -> Iterator[Experiment]:
        """The experiment; `prepare_SPLIT="..."` overrides `[prepare] SPLIT`."""
        overrides = tuple(f"{k.replace('_', '.', 1)}={v}" for k, v in settings.items())
        with tempfile.TemporaryDirectory(dir=self.root) as scratch:
            yield open_experiment(self.directory, overrides, self.told, Path(scratch))

    def write(self, experiment: Experiment) -> Reconciled:
        """Put the artifacts and their ledger into the store, as reconcile leaves them."""
        rows = []
        for artifact_id, one in self.artifacts.items():
            for name, content in one["files"].items():
                experiment.store.write(layout.artifact_file(artifact_id, name), content)
            rows.append(
                {
                    "artifact_id": artifact_id,
                    "label": one["label"],
                    "file_hash": one.get("file_hash"),
                    "fate": Fate.KEPT.value,
                    "files": sorted(one.get("named", one["files"])),
                    "files_made": sorted(one.get("made", [])),
                    "row": json.dumps(one["row"]),
                    **NO_LEDGER,
                }
            )
        rows.append({**rows[0], "artifact_id": "gone", "fate": Fate.NO_FILES.value, "files": []})
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), file)
        experiment.store.write(layout.LEDGER, file.getvalue())
        told = json.dumps(rows) + repr([one["files"] for one in self.artifacts.values()])
        return Reconciled(
            made_from={},
            finished_at="2026-01-01T00:00:00+00:00",
            snapshot_at="2026-01-01T00:00:00+00:00",
            ledger_hash=hashlib.sha256(told.encode()).hexdigest(),
            fates={},
            labels={},
            kept=len(self.artifacts),
            copied=0,
        )

    def prepare(self, *, redo: bool = False, **settings: Any) -> Prepared:
        with self.open(**settings) as experiment:
            return prepare(experiment, self.write(experiment), made_from={"a": "b"}, redo=redo)

    # --- what it left -----------------------------------------------------------------------------

    def json(self, name: str, dataset: str = "full_dataset") -> Any:
        return json.loads((self.prepared.parent / dataset / name).read_text())

    def rows(self, split: str, model: str = "tiny") -> list[dict[str, Any]]:
        return list(datasets.load_from_disk(str(self.prepared / model / split)))

    def all_rows(self) -> dict[str, dict[str, Any]]:
        splits = ("train", "validation", "test")
        return {row["artifact_id"]: row for split in splits for row in self.rows(split)}

    def splits(self, dataset: str = "full_dataset") -> dict[str, dict[str, Any]]:
        table = pq.read_table(self.prepared.parent / dataset / "splits.parquet")
        return {row["artifact_id"]: row for row in table.to_pylist()}

    def quarantine(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.prepared / "tiny/quarantine.parquet").to_pylist())

    def bytes(self) -> dict[str, str]:
        """Every file of prepare → sha256."""
        return {
            str(path.relative_to(self.prepared)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.prepared.rglob("*"))
            if path.is_file()
        }


def bench(root: Path, count: int = 30, functions: str = FUNCTIONS) -> Bench:
    made = Bench(root)
    made.settings()
    made.functions(functions)
    made.fill(count)
    return made
