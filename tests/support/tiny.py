"""A whole experiment in small: SQLite, local files, a random two-layer BERT, two easy labels."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
WORDS = {
    "invoice": "amount due total payment account bank transfer net days order".split(),
    "letter": "dear sir madam regards sincerely yours kindly hope well soon".split(),
    "report": "figure table result method section analysis data mean trend year".split(),
}
COMMON = "the of and a in to is was for on with as by at from it an be this that".split()

FUNCTIONS = """
import functools
import json

from datasets import Features, Sequence, Value

import handful


def process_func(artifact, artifact_path):
    (artifact_path / "label.json").write_text(json.dumps({"label": artifact.label}))


def get_dataset_features():
    return Features(
        {
            "input_ids": Sequence(Value("int32")),
            "attention_mask": Sequence(Value("int8")),
            "labels": Value("int64"),
        }
    )


@functools.cache
def vocabulary(model_name):
    from pathlib import Path

    return {w: i for i, w in enumerate(Path(model_name, "vocab.txt").read_text().split())}


def encode_data(instance, label2id, model_name):
    known = vocabulary(model_name)
    words = instance["text.txt"].read_text().split()
    ids = [known.get(word, 1) for word in words][:64]
    label = json.loads(instance["label.json"].read_text())["label"]
    features = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label2id[label]}
    return handful.Encoded(features, full_length=len(words))
"""

SETTINGS = """
[production]
DATABASE_URL = sqlite:///../labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = ../files
FILES_FROM_PROD = text.txt
[reconcile]
FILES_ON_RESEARCH = text.txt, label.json
NUM_PROCESSES = 1
[prepare]
SPLIT = 0.6/0.2/0.2
NUM_PROCESSES = 1
NEAR_DUPLICATES = ignore
[train]
MODEL_NAMES = ../model
EPOCHS = 6
BATCH_SIZE = 8
LEARNING_RATE = 1e-2
PRECISION = fp32
"""


@dataclass(frozen=True)
class Tiny:
    """Where the parts of the tiny experiment lie."""

    root: Path

    @property
    def experiment(self) -> Path:
        return self.root / "EXP-0001-tiny"

    @property
    def store(self) -> Path:
        return self.root / "store" / "EXP-0001-tiny"

    @property
    def files(self) -> Path:
        return self.root / "files"

    def settings(self, **replaced: str) -> None:
        """Write settings.ini with some keys set otherwise."""
        lines = []
        for line in SETTINGS.strip().splitlines():
            key = line.partition("=")[0].strip()
            lines.append(f"{key} = {replaced.pop(key)}" if key in replaced else line)
        assert not replaced, f"not in the tiny settings: {replaced}"
        (self.experiment / "settings.ini").write_text("\n".join(lines) + "\n")

    def sql(self, *statements: str) -> None:
        with sqlite3.connect(self.root / "labels.sqlite") as database:
            for statement in statements:
                database.execute(statement)

    def handful(
        self, command: str, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [HANDFUL, command, str(self.experiment), *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        )


def make(root: Path, artifacts: int = 60) -> Tiny:
    """Write the whole experiment below `root`; the same for the same number of artifacts."""
    tiny = Tiny(root)
    tiny.experiment.mkdir(parents=True)
    tiny.settings()
    (tiny.experiment / "functions.py").write_text(FUNCTIONS)
    chance = random.Random(0)
    rows = []
    for number in range(artifacts):
        label = list(WORDS)[number % len(WORDS)]
        words = chance.choices(WORDS[label], k=8) + chance.choices(COMMON, k=chance.randint(4, 40))
        chance.shuffle(words)
        folder = tiny.files / f"artifact-{number:04d}"
        folder.mkdir(parents=True)
        (folder / "text.txt").write_text(" ".join(words))
        rows.append((folder.name, label))
    with sqlite3.connect(root / "labels.sqlite") as database:
        database.execute("CREATE TABLE labels (artifact_id TEXT, label TEXT)")
        database.executemany("INSERT INTO labels VALUES (?, ?)", rows)
    _model(root / "model")
    return tiny


def _model(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    words = ["[PAD]", "[UNK]", *COMMON, *(word for found in WORDS.values() for word in found)]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words))
