"""An experiment that nobody ran: its ledger, splits, curves, predictions, trials and suspects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from handful.evaluation.baseline.review import Review, to_csv
from handful.experiment.context import Experiment, open_experiment
from handful.layout import BASELINE_MAJORITY, BASELINE_TFIDF, LEDGER, artifact_file
from handful.progress import Silent
from handful.records import Compared, Evaluation, Prepared, Reconciled, Run, Tested, Trained
from handful.training.evaluation.results import (
    Answered,
    summary,
    write_confusion,
    write_predictions,
)

NAME = "EXP-2026-made-up"
WHEN = "2026-01-01T00:00:00+00:00"
WORDS = (
    "agreement",
    "party",
    "shall",
    "governed",
    "law",
    "notice",
    "given",
    "writing",
    "address",
    "invoice",
    "total",
    "amount",
    "due",
    "within",
    "thirty",
    "days",
    "after",
    "receipt",
    "the",
)
LABELS = (
    *("invoice", "credit note", "purchase order", "delivery note", "reminder", "contract"),
    *("non-disclosure agreement", "power of attorney", "annual report", "balance sheet"),
    *("bank statement", "tax assessment", "payslip", "travel expenses", "insurance policy"),
    *("claim", "expert opinion", "medical report", "prescription", "referral", "lab results"),
    *("certificate", "diploma", "letter of application", "reference", "warning letter"),
    *("notice of termination", "lease", "handover protocol", "utility bill", "land register"),
    *("articles of association", "minutes", "resolution", "offer", "order confirmation"),
    *("data processing agreement", "terms and conditions", "questionnaire", "other"),
)
SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = ./files
FILES_FROM_PROD = text.txt
[train]
MODEL_NAMES = {models}
[tune]
TRIALS = 24
LEARNING_RATE = log 1e-5 1e-3
BATCH_SIZE = choice 16 32
user.POOLING = choice cls mean
[user]
POOLING = mean
"""
RANGES = {
    "LEARNING_RATE": "log 1e-05 0.001",
    "BATCH_SIZE": "choice 16 32",
    "user.POOLING": "choice cls mean",
}
_MODEL_NAMES = ("bert-base-uncased", "all-MiniLM-L6-v2", "longformer", "distilbert", "deberta")


@dataclass(frozen=True)
class MadeUp:
    """Where it lies; records are read from its store."""

    root: Path

    @cached_property
    def experiment(self) -> Experiment:
        scratch = self.root / "scratch"
        scratch.mkdir(exist_ok=True)
        return open_experiment(self.root / NAME, (), Silent(), scratch)

    @property
    def page(self) -> Path:
        return self.root / "store" / NAME / self.experiment.layout.report

    def compare(self) -> Compared:
        from handful.steps.compare import compare

        return compare(self.experiment, self._prepared, self._trained, self._tested, made_from={})

    def report(self) -> None:
        from handful.steps.report import report

        reconciled = Reconciled.from_json((self.root / "reconciled.json").read_bytes())
        records = (reconciled, self._prepared, self._trained, self._tested)
        report(self.experiment, *records, made_from={})

    @property
    def _prepared(self) -> Prepared:
        return Prepared.from_json((self.root / "prepared.json").read_bytes())

    @property
    def _trained(self) -> Trained:
        return Trained.from_json((self.root / "trained.json").read_bytes())

    @property
    def _tested(self) -> Tested:
        return Tested.from_json((self.root / "tested.json").read_bytes())


def make(root: Path, artifacts: int, labels: int, models: int) -> MadeUp:
    """Write the whole experiment below `root`; the same for the same numbers."""
    names = _MODEL_NAMES[:models]
    (root / NAME).mkdir(parents=True)
    told = ", ".join(f"./{name}" for name in names)
    (root / NAME / "settings.ini").write_text(SETTINGS.format(models=told))
    (root / NAME / "functions.py").write_text("")
    made = MadeUp(root)
    chance = np.random.default_rng(0)
    shares = 0.8 ** np.arange(labels)
    truth = {
        split: chance.choice(labels, count, p=shares / shares.sum())
        for split, count in (("validation", artifacts // 4), ("test", artifacts))
    }
    names_of_labels = [*LABELS, *(f"label {n:02d}" for n in range(len(LABELS), labels))][:labels]
    world = _World(made, names_of_labels, truth)
    records = world.evaluated(names, chance)
    world.data(chance)
    world.tuned(names[0], chance)
    world.suspects()
    for name, record in records.items():
        (root / f"{name}.json").write_bytes(record.to_json())
    (root / "prepared.json").write_bytes(world.prepared(names).to_json())
    (root / "reconciled.json").write_bytes(world.reconciled().to_json())
    return made


@dataclass(frozen=True)
class _World:
    made: MadeUp
    labels: list[str]
    truth: Mapping[str, np.ndarray]

    @property
    def store(self) -> Any:
        return self.made.experiment.store

    def ids(self, split: str) -> list[str]:
        return [f"{split}-{number:07d}" for number in range(len(self.truth[split]))]

    def write(self, key: str, value: Any) -> None:
        self.store.write(key, json.dumps(value).encode())

    def table(self, key: str, table: pl.DataFrame) -> None:
        path = self.made.root / "table.parquet"
        table.write_parquet(path)
        self.store.write(key, path.read_bytes())

    def evaluated(self, names: tuple[str, ...], chance: np.random.Generator) -> dict[str, Any]:
        """Every model with one seed, and two baselines."""
        strength = {name: 3.4 - 0.5 * number for number, name in enumerate(names)}
        runs, tested, baselines = [], [], []
        for name, power in {**strength, BASELINE_TFIDF: 2.6, BASELINE_MAJORITY: 0.0}.items():
            answers = {
                split: self._answers(truth, power, chance) for split, truth in self.truth.items()
            }
            one = self._written(name, answers)
            if name in strength:
                tested.append(one)
                validation = {"macro_f1": one.metrics["macro_f1"] + 0.01, "loss": 0.5}
                runs.append(Run(name, 0, validation, 3, 1234.5, "0" * 64, 22_700_000))
                self._curves(name, power)
            else:
                baselines.append(one)
        self.store.write(self.made.experiment.layout.looks, _looks(names))
        made_from: dict[str, Any] = {"made_from": {}, "finished_at": WHEN, "seconds": 321.0}
        return {
            "trained": Trained(runs=tuple(runs), **made_from),
            "tested": Tested(
                evaluations=tuple(tested), baselines=tuple(baselines), looks=2, **made_from
            ),
        }

    def _answers(self, truth: np.ndarray, power: float, chance: np.random.Generator) -> np.ndarray:
        logits = chance.normal(size=(len(truth), len(self.labels)))
        logits[np.arange(len(truth)), truth] += power
        if not power:
            logits = np.tile(-np.arange(len(self.labels)) * 0.2, (len(truth), 1))
        # Neighbours are taken for each other more often, and all is a little too sure.
        logits[np.arange(len(truth)), (truth + 1) % len(self.labels)] += power / 3
        return logits * 2.2

    def _written(self, name: str, answers: Mapping[str, np.ndarray]) -> Evaluation:
        layout, folder = self.made.experiment.layout, self.made.root / "written"
        folder.mkdir(exist_ok=True)
        test = Answered(answers["test"], self.truth["test"])
        known = Answered(answers["validation"], self.truth["validation"])
        figures = summary(test, known, self.labels, {}, 0)
        ids = self.ids("test")
        write_predictions(folder / "p.parquet", ids, test.references, test.logits, self.labels)
        write_confusion(folder / "c.csv", test.logits, test.references, self.labels)
        self.store.write(layout.predictions(name, 0), (folder / "p.parquet").read_bytes())
        self.store.write(layout.confusion_matrix(name, 0), (folder / "c.csv").read_bytes())
        one = Evaluation(name, 0, figures["metrics"], len(ids), 60.0, name)
        more = {
            "baseline": name.startswith("baseline-"),
            "validation": {"macro_f1": figures["metrics"]["macro_f1"]},
        }
        more["told"] = "TF-IDF over input_ids" if name == BASELINE_TFIDF else "always the same"
        self.write(layout.metrics(name, 0), {**figures, **(more if more["baseline"] else {})})
        wrong = np.flatnonzero(test.logits.argmax(axis=1) != test.references)
        for number in wrong[:20_000].tolist():
            key = artifact_file(ids[number], "text.txt")
            path = self.made.root / "store" / NAME / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(" ".join(WORDS[(number + n) % len(WORDS)] for n in range(300)))
        return one

    def _curves(self, name: str, power: float) -> None:
        lines = []
        for step in range(1, 121):
            epoch = step / 40
            loss = 0.4 + 2.0 * np.exp(-epoch * power / 2) + 0.06 * np.sin(step)
            lines.append({"epoch": epoch, "loss": loss})
            if step % 40 == 0:
                found = {"loss": loss + 0.1, "macro_f1": 1 - np.exp(-epoch * power / 3)}
                lines.append({"epoch": epoch, "validation": found})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.store.write(self.made.experiment.layout.metrics_log(name, 0), text.encode())

    def data(self, chance: np.random.Generator) -> None:
        """Ledger, splits, leakage, truncation and quarantine."""
        layout = self.made.experiment.layout
        kept = [*self.ids("validation"), *self.ids("test")]
        fates = [
            ("missing_files", "production lacks 'text.txt'"),
            ("duplicate", "the same content"),
        ]
        rows = [(f"gone-{n:05d}", *fates[n % 3 == 0]) for n in range(len(kept) // 50)]
        ids = [*kept, *(row[0] for row in rows)]
        columns = {
            "artifact_id": ids,
            "label_source": ["query"] * len(ids),
            "files_made": [[] for _ in ids],
            "fate": ["kept"] * len(kept) + [row[1] for row in rows],
            "reason": [""] * len(kept) + [row[2] for row in rows],
        }
        self.table(LEDGER, pl.DataFrame(columns))
        truth = np.concatenate([self.truth["validation"], self.truth["test"]])
        train = chance.choice(self.truth["test"], len(self.truth["test"]) * 4)
        splits = ["validation"] * len(self.truth["validation"]) + ["test"] * len(self.truth["test"])
        names = [self.labels[n] for n in truth] + [self.labels[n] for n in train]
        splits += ["train"] * len(train)
        ids = [*kept, *(f"train-{number:07d}" for number in range(len(train)))]
        drawn = {"artifact_id": ids, "label": names, "split": splits}
        self.table(layout.splits, pl.DataFrame(drawn))
        leak = {"pairs": 840, "label_differs": 31, "test_artifacts": len(self.truth["test"])}
        pair = {"likeness": 0.97, "artifacts": kept[:2], "labels": self.labels[:2]}
        places = {"before": ["train", "test"], "after": ["train", "train"]}
        found = {
            "looked_for": True,
            "threshold": 0.8,
            "pairs": 2_310,
            "not_compared": 0,
            "before_grouping": {**leak, "test_artifacts_with_twin": 512},
            "after_grouping": {
                **leak,
                "pairs": 0,
                "label_differs": 0,
                "test_artifacts_with_twin": 0,
            },
            "examples": [{**pair, **places}] * 5,
        }
        self.write(layout.leakage, found)

    def prepared(self, names: tuple[str, ...]) -> Prepared:
        layout = self.made.experiment.layout
        count = {"train": 4 * len(self.truth["test"]), **{n: len(t) for n, t in self.truth.items()}}
        share = {"instances": 100, "share_truncated": 0.31, "share_of_tokens_unseen": 0.22}
        for name in names:
            found = {"overall": share, "labels": dict.fromkeys(self.labels, share)}
            self.write(f"{layout.encoded(name)}/truncation.json", found)
            error = "functions.py:12 encode_data: ValueError: no words"
            table = pl.DataFrame({"artifact_id": ["bad-1", "bad-2"], "error": [error] * 2})
            self.table(f"{layout.encoded(name)}/quarantine.parquet", table)
        return Prepared(
            label2id={label: number for number, label in enumerate(self.labels)},
            rows=dict.fromkeys(names, count),
            quarantined=dict.fromkeys(names, 2),
            left_out=dict.fromkeys(names, 5),
            data_hash=dict.fromkeys(names, "1" * 64),
            splits_hash="2" * 64,
            made_from={"the version of datasets": "5.2.0"},
            finished_at=WHEN,
            seconds=99.0,
        )

    def reconciled(self) -> Reconciled:
        kept = sum(map(len, self.truth.values()))
        return Reconciled(
            snapshot_at=WHEN,
            ledger_hash="3" * 64,
            fates={"kept": kept, "missing_files": kept // 50},
            labels={},
            kept=kept,
            copied=kept,
            made_from={},
            finished_at=WHEN,
            seconds=45.0,
        )

    def tuned(self, model: str, chance: np.random.Generator) -> None:
        trials = []
        for number in range(24):
            rate = float(10 ** chance.uniform(-5, -3))
            values = {
                "LEARNING_RATE": f"{rate:.3g}",
                "BATCH_SIZE": str(chance.choice([16, 32])),
                "user.POOLING": str(chance.choice(["cls", "mean"])),
            }
            value = 0.8 - 0.1 * (np.log10(rate) + 3.7) ** 2 + 0.02 * float(chance.normal())
            state = "pruned" if value < 0.7 else "complete"
            ended = {"state": state, "epochs": 3, "seconds": 61.5, "error": ""}
            trials.append({"number": number, "values": values, "value": value, **ended})
        best = max((t for t in trials if t["state"] == "complete"), key=lambda t: float(t["value"]))
        found = {
            "model": model,
            "metric": "macro_f1",
            "goal": "max",
            "seed": 0,
            "ranges": RANGES,
            "best": best["number"],
            "importance": {"LEARNING_RATE": 0.71, "user.POOLING": 0.2, "BATCH_SIZE": 0.09},
            "trials": trials,
        }
        self.write(f"{self.made.experiment.layout.tuning(model)}/tuning.json", found)

    def suspects(self) -> None:
        layout, ids = self.made.experiment.layout, self.ids("validation")
        rows = [
            Review(
                ids[n],
                self.labels[0],
                self.labels[1],
                f"{n / 1e4:.6f}",
                "baseline",
                "validation",
                "x",
            )
            for n in range(min(300, len(ids)))
        ]
        self.store.write(layout.label_review, to_csv(rows))
        note = {"source": "baseline", "splits": ["train", "validation"], "reason": ""}
        figures = {"artifacts": len(ids), "judged": len(ids), "suspects": len(rows)}
        self.write(layout.label_review_notes, [{**note, **figures}])


def _looks(names: tuple[str, ...]) -> bytes:
    runs = [{"model": name, "seed": 0, "weights_hash": "0" * 64} for name in names]
    first = {"when": WHEN, "runs": runs[:1], "settings_hash": "a" * 64, "finished": WHEN}
    second = {**first, "runs": runs, "after_verdict": True}
    return "".join(json.dumps(one) + "\n" for one in (first, second)).encode()
