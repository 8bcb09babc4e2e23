"""An experiment that was tested already, with answers that a test makes up: for `compare` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from handful.experiment.context import Experiment, open_experiment
from handful.records import Evaluation, Prepared, Run, Trained
from handful.records import Tested as Results
from handful.training.evaluation.results import write_predictions
from tests.support.encoded import SETTINGS
from tests.support.progress import Recording

MADE_FROM = {"[train] METRIC": "macro_f1"}


@dataclass
class Compared:
    """Writes results as `test` and the baselines would, without a model."""

    directory: Path
    labels: tuple[str, ...] = ("invoice", "letter", "report")
    runs: list[Run] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    probes: list[Evaluation] = field(default_factory=list)

    @property
    def label2id(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    @property
    def results(self) -> Path:
        return self.directory.parent / "store" / self.directory.name / "results" / "full_dataset"

    @property
    def prepared(self) -> Prepared:
        return Prepared(
            made_from={},
            finished_at="2026-01-01T00:00:00+00:00",
            label2id=self.label2id,
            rows={run.model: {"validation": 1, "test": 1} for run in self.runs},
            quarantined={},
            left_out={},
            data_hash={run.model: "0" * 64 for run in self.runs},
            splits_hash="1" * 64,
        )

    @property
    def trained(self) -> Trained:
        return Trained(runs=tuple(self.runs), made_from={}, finished_at="x")

    @property
    def tested(self) -> Results:
        every, probes = tuple(self.evaluations), tuple(self.probes)
        return Results(every, looks=1, baselines=probes, made_from={}, finished_at="x")

    def open(self, scratch: Path, told: Recording | None = None, **train: str) -> Experiment:
        scratch.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        names = dict.fromkeys(run.model for run in self.runs)
        keys = {"MODEL_NAMES": ", ".join(f"./{name}" for name in names), **train}
        lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
        (self.directory / "settings.ini").write_text(f"{SETTINGS}{lines}\n")
        return open_experiment(self.directory, (), told or Recording(), scratch)

    def model(
        self,
        name: str,
        references: Sequence[int],
        predictions: Sequence[int],
        *,
        seed: int = 0,
        validation: float = 0.5,
        ids: Sequence[str] | None = None,
    ) -> None:
        """One model with one seed: what it answered, and its macro_f1 on validation."""
        logits = np.eye(len(self.labels))[np.asarray(predictions)] * 2.0
        self.answers(name, references, logits, seed=seed, ids=ids)
        weights = f"weights of {name} {seed}"
        self.runs.append(Run(name, seed, {"macro_f1": validation}, 1, 60.0, weights, 1_000))
        count = len(references)
        metrics = {"macro_f1": 0.5, "own": 0.25}
        self.evaluations.append(Evaluation(name, seed, metrics, count, 2.0, f"{name} {seed}"))

    def baseline(
        self,
        name: str,
        references: Sequence[int],
        predictions: Sequence[int],
        validation: Mapping[str, float] | None = None,
    ) -> None:
        logits = np.eye(len(self.labels))[np.asarray(predictions)] * 2.0
        folder = self.answers(f"baseline-{name}", references, logits)
        told = {
            "baseline": True,
            "validation": dict(validation or {"macro_f1": 0.4}),
            "metrics": {"accuracy": 0.5},
            "seconds": 0.5,
        }
        (folder / "metrics.json").write_text(json.dumps(told))

    def probe(
        self,
        model: str,
        references: Sequence[int],
        predictions: Sequence[int],
        validation: float = 0.4,
    ) -> None:
        """The probe of a model: what it answered, and its macro_f1 on validation."""
        logits = np.eye(len(self.labels))[np.asarray(predictions)] * 2.0
        folder = self.answers(f"baseline-probe--{model}", references, logits)
        told = {
            "model": f"baseline-probe--{model}",
            "seed": 0,
            "metrics": {"macro_f1": 0.5, "own": 0.25},
            "artifacts": len(references),
            "seconds": 0.5,
            "predictions_hash": f"probe of {model}",
        }
        self.probes.append(Evaluation(**told))
        more = {
            "baseline": True,
            "probe_of": model,
            "weights_hash": f"weights of the probe of {model}",
            "validation": {"macro_f1": validation},
            "calibration": {"temperature": 1.5},
            "told": "logistic regression on its frozen features",
            "training_seconds": 2.0,
            "parameters": 30,
        }
        (folder / "metrics.json").write_text(json.dumps({**told, **more}))

    def answers(
        self,
        name: str,
        references: Sequence[int],
        logits: np.ndarray,
        *,
        seed: int = 0,
        ids: Sequence[str] | None = None,
    ) -> Path:
        """predictions.parquet as the product writes it; its folder."""
        folder = self.results / "evaluation" / name / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        names = list(ids or [f"a-{number:05d}" for number in range(len(references))])
        truth = np.asarray(references)
        write_predictions(
            folder / "predictions.parquet", names, truth, np.asarray(logits), list(self.labels)
        )
        return folder


def answered(
    references: np.ndarray, right: float, labels: int, chance: np.random.Generator
) -> np.ndarray:
    """Predictions that are right with a probability, else another label."""
    wrong = (references + chance.integers(1, labels, len(references))) % labels
    return np.where(chance.random(len(references)) < right, references, wrong)


def split_ledger(one: Compared, train: Sequence[str], test: Sequence[str]) -> None:
    """splits.parquet, as far as a comparison across experiments reads it."""
    import polars as pl

    folder = one.directory.parent / "store" / one.directory.name / "data/prepared_data/full_dataset"
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train"] * len(train) + ["test"] * len(test)
    table = pl.DataFrame({"artifact_id": [*train, *test], "split": splits})
    table.write_parquet(folder / "splits.parquet")
