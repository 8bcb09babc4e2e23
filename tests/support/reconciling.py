"""A small business to reconcile: label rows in SQLite, files in a directory, and an experiment."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from handful import layout
from handful.experiment.context import Experiment, open_experiment
from handful.labels.base import LabelSource
from handful.pipeline.production import production_files, production_labels
from handful.records import Reconciled
from handful.steps.reconcile import reconcile
from handful.storage.base import Source, Store
from tests.support.progress import Recording

FUNCTIONS = """
def get_dataset_features(): ...
def encode_data(instance): ...
"""
PROCESS = """
import json

def process_func(artifact, files, artifact_path, experiment_path, overwrite, settings):
    told = {"id": artifact.id, "label": artifact.label, "row": dict(artifact.row), "files": files}
    (artifact_path / "truth.json").write_text(json.dumps(told, sort_keys=True))
"""


@dataclass
class Outcome:
    """What a run of reconcile left."""

    record: Reconciled
    store: Store
    heard: Recording

    @property
    def ledger(self) -> pl.DataFrame:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.parquet"
            self.store.fetch(layout.LEDGER, path)
            return pl.read_parquet(path, memory_map=False)

    def rows(self, artifact_id: str | None) -> list[dict[str, Any]]:
        """The ledger's rows of one artifact."""
        return self.ledger.filter(pl.col("artifact_id").eq_missing(artifact_id)).to_dicts()

    def fate(self, artifact_id: str | None) -> list[str]:
        return [row["fate"] for row in self.rows(artifact_id)]

    def reason(self, artifact_id: str) -> str:
        return " | ".join(row["reason"] for row in self.rows(artifact_id))


class Business:
    """Production below a folder, and an experiment beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "production"
        self.files.mkdir(parents=True)
        self.directory = folder / "EXP-1"
        self.directory.mkdir()
        self.database = folder / "labels.db"
        self.columns = "id AS artifact_id, label, hash AS file_hash, extra"
        self.settings: dict[str, dict[str, str]] = {
            "experiment": {},
            "production": {"FILES_FROM_PROD": "raw.txt"},
            "reconcile": {"NUM_PROCESSES": "2", "COPY_CONCURRENCY": "8"},
            "train": {"MODEL_NAMES": "a-model"},
        }
        self.functions = FUNCTIONS
        self._sql("CREATE TABLE labels (id TEXT, label TEXT, hash TEXT, extra INTEGER)")

    def _sql(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.database) as connection:
            connection.execute(statement, values)
        connection.close()

    def row(
        self, id: str | None, label: str | None, hash: str | None = None, extra: int = 0
    ) -> None:
        """A label row."""
        self._sql("INSERT INTO labels VALUES (?, ?, ?, ?)", id, label, hash, extra)

    def sql(self, statement: str, *values: Any) -> None:
        self._sql(statement, *values)

    def file(self, key: str, content: str | bytes = "text") -> Path:
        """A file of production."""
        path = self.files / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def artifact(self, id: str, label: str | None, content: str | None = None) -> None:
        """A good artifact: one row with a hash of its own, and one file."""
        self.row(id, label, f"hash of {content or id}")
        self.file(f"{id}/raw.txt", content or f"text of {id}")

    def some(self, count: int = 4) -> None:
        """Good artifacts good-0, good-1, … with the labels cat and dog."""
        for number in range(count):
            self.artifact(f"good-{number}", "cat" if number % 2 else "dog")

    def open(self, heard: Recording, scratch: Path) -> Experiment:
        """Write settings.ini and functions.py, and open the experiment."""
        production = {
            "DATABASE_URL": f"sqlite:///{self.database}",
            "LABEL_QUERY": f"SELECT {self.columns} FROM labels",
            "FILES_URL": str(self.files),
        }
        sections = {**self.settings, "production": production | self.settings["production"]}
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for name, keys in sections.items()
        )
        (self.directory / "settings.ini").write_text(text)
        (self.directory / "functions.py").write_text(self.functions)
        return open_experiment(self.directory, (), heard, scratch)

    def run(
        self,
        *,
        refresh: bool = False,
        prune: bool = False,
        compare_contents: bool = False,
        source: Source | None = None,
        store: Store | None = None,
        labels: LabelSource | None = None,
    ) -> Outcome:
        """Reconcile; the record is saved as the pipeline would."""
        heard = Recording()
        with tempfile.TemporaryDirectory() as scratch:
            experiment = self.open(heard, Path(scratch))
            if store is not None:
                experiment = replace(experiment, store=store)
            record = reconcile(
                experiment,
                labels or production_labels(experiment.settings, Path(scratch), heard),
                source or production_files(experiment.settings),
                made_from={},
                refresh=refresh,
                prune=prune,
                compare_contents=compare_contents,
            )
            experiment.store.write(layout.RECONCILED, record.to_json())
        return Outcome(record, experiment.store, heard)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def artifacts(business: Business) -> Path:
    """Where the copies lie, if the store is the directory beside the experiment."""
    return business.folder / "store" / "EXP-1" / layout.ARTIFACTS


def summary(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.store.read(layout.SUMMARY))
    return found


class Forbidden:
    """A production that must not be asked."""

    url = "forbidden"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"production was asked to {name}")

    def list(self, prefix: str = "", **_: Any) -> Iterator[pa.RecordBatch]:
        raise AssertionError("production was listed")


class Silent:
    def rows(self) -> Iterator[pa.RecordBatch]:
        raise AssertionError("the database was asked")
