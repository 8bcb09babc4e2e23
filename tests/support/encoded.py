"""An experiment whose data is encoded already: for tests of training and testing alone."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.experiment.context import Experiment, open_experiment
from handful.records import Prepared
from tests.support.progress import Recording

LABELS = ("invoice", "letter", "report")
VOCABULARY = 60
ROWS = {"train": 90, "validation": 24, "test": 30}

SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = text.txt
[train]
"""
TRAIN = {
    "MODEL_NAMES": "./model",
    "EPOCHS": "2",
    "BATCH_SIZE": "8",
    "LEARNING_RATE": "3e-3",
    "PRECISION": "fp32",
    "HEAD_INIT": "random",
}
FUNCTIONS = """
def get_dataset_features():
    raise AssertionError("training reads what was encoded")


def encode_data():
    raise AssertionError("training reads what was encoded")
"""


@dataclass(frozen=True)
class Encoded:
    """The experiment's directory, and the record that prepare would have written."""

    directory: Path
    prepared: Prepared

    def open(self, scratch: Path, progress: Recording | None = None) -> Experiment:
        scratch.mkdir(parents=True, exist_ok=True)
        return open_experiment(self.directory, (), progress or Recording(), scratch)

    @property
    def store(self) -> Path:
        return self.directory.parent / "store" / self.directory.name

    def settings(self, extra: str = "", **train: str) -> None:
        """Write settings.ini, with these keys of `[train]`, and `extra` sections after it."""
        keys = {**TRAIN, **train}
        lines = [f"{key} = {value}" for key, value in keys.items()]
        text = SETTINGS + "\n".join(lines) + "\n" + extra
        (self.directory / "settings.ini").write_text(text)

    def functions(self, more: str) -> None:
        (self.directory / "functions.py").write_text(FUNCTIONS + more)


def make(
    directory: Path,
    rows: Mapping[str, int] | None = None,
    functions: str = "",
    *,
    numbered: bool = False,
) -> Encoded:
    """Write an experiment with a random two-layer BERT and encoded splits below `directory`.

    `numbered`: the model is given the `number` of each artifact id, too.
    """
    directory.mkdir(parents=True)
    rows = dict(ROWS if rows is None else rows)
    tiny_bert(directory / "model")
    label2id = {label: number for number, label in enumerate(LABELS)}
    prepared = Prepared(
        made_from={},
        finished_at="2026-01-01T00:00:00+00:00",
        label2id=label2id,
        rows={"model": rows},
        quarantined={"model": 0},
        left_out={"model": 0},
        data_hash={"model": "0" * 64},
        splits_hash="1" * 64,
    )
    one = Encoded(directory, prepared)
    one.settings()
    one.functions(functions)
    folder = one.store / "data" / "prepared_data" / "full_dataset"
    folder.mkdir(parents=True)
    for split, count in rows.items():
        if count:
            found = examples(split, count)
            if numbered:
                found = [{**row, "number": int(row["artifact_id"][-4:])} for row in found]
            write_split(folder / "model" / split, split, found)
    (folder / "label2id.json").write_text(json.dumps(label2id))
    return one


def examples(split: str, count: int) -> list[dict[str, Any]]:
    """Ragged, learnable examples: a label's tokens are mostly drawn from its own third."""
    chance = random.Random(split)
    found = []
    for number in range(count):
        label = number % len(LABELS)
        third = VOCABULARY // len(LABELS)
        own = range(max(1, label * third), (label + 1) * third)
        ids = [
            chance.choice(own) if chance.random() < 0.8 else chance.randrange(1, VOCABULARY)
            for _ in range(chance.randint(3, 30))
        ]
        found.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "labels": label,
                "artifact_id": f"{split}-{number:04d}",
                "length": len(ids),
            }
        )
    return found


def write_split(folder: Path, split: str, rows: list[dict[str, Any]]) -> None:
    from datasets import Dataset, Features, List, Value

    features = Features(
        {
            "input_ids": List(Value("int32")),
            "attention_mask": List(Value("int8")),
            "labels": Value("int64"),
            "artifact_id": Value("string"),
            "length": Value("int32"),
        }
    )
    if "number" in rows[0]:
        features["number"] = Value("int64")
    Dataset.from_list(rows, features=features).save_to_disk(str(folder))


def tiny_bert(folder: Path, **config: Any) -> None:
    """Save a random BERT of two layers, 32 wide, without a tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    wanted = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    model = BertForSequenceClassification(BertConfig(**{**wanted, **config}))
    model.save_pretrained(folder)
