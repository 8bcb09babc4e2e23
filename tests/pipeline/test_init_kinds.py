"""Of every kind an experiment with real documents: its functions and its own test, at work."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from datasets import load_from_disk

from handful.layout import SPLITS
from handful.pipeline.proposal.findings import KindProposal
from handful.pipeline.proposal.kinds import recognise_kind, write_kind
from tests.support.documents import mail, page, paper, picture, word
from tests.support.tiny import COMMON, HANDFUL, WORDS

DOCUMENTS = 24
SETTINGS = """
[production]
DATABASE_URL = sqlite:///../labels.sqlite
LABEL_QUERY = SELECT artifact_id, label{text} FROM labels
FILES_URL = {url}
FILES_FROM_PROD = {document}
[reconcile]
NUM_PROCESSES = 1
[prepare]
SPLIT = 0.5/0.25/0.25
NUM_PROCESSES = 1
NEAR_DUPLICATES = ignore
MAX_QUARANTINED = 2
[train]
MODEL_NAMES = ../model
EPOCHS = 1
"""


@dataclass(frozen=True)
class Case:
    """A kind: its documents, one of no use, and where they lie."""

    make: Callable[[str], bytes]
    bad: bytes | None
    """Costs that document only; None: nothing can be wrong with it."""
    name: str
    """A document's file name; `#` stands for a number."""
    document: str
    """As in MODEL_INPUT_FILES."""
    empty: bytes = b""
    """Has no text: it is left out."""


CASES = {
    "text": Case(str.encode, b"\0\1\2 no text", "text.txt", "text.txt"),
    "json": Case(
        lambda w: json.dumps({"a": [{"b": w}]}).encode(), b'{"a":', "x.json", "x.json", b"{}"
    ),
    "html": Case(page, b"<!-- no page", "#_page.html", "*_page.html"),
    "email": Case(mail, b"\n\nno headers", "#_body.eml", "*_body.eml", b"To: x\nDate: now\n\n"),
    "pdf": Case(paper, b"%PDF-1.4 and no more", "scan #.pdf", "scan *.pdf", paper("")),
    "docx": Case(word, b"PK\3\4word/ and no more", "letter.docx", "letter.docx", word("")),
    "rows": Case(str.encode, None, "text.txt", "text.txt"),
    "images": Case(picture, b"\xff\xd8\xff and no more", "photo.jpg", "photo.jpg"),
}


@dataclass(frozen=True)
class Written:
    """An experiment as init writes it."""

    root: Path
    case: Case

    @property
    def experiment(self) -> Path:
        return self.root / "EXP-0001-kind"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self._run(HANDFUL, words[0], str(self.experiment), *words[1:])

    def pytest(self) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            words, capture_output=True, text=True, cwd=self.experiment, env=env, check=False
        )


def write_experiment(root: Path, name: str) -> Written:
    """Documents, labels, a model and what `write_kind` gives, below `root`."""
    case = CASES[name]
    documents = write_documents(root, name, case)
    kind = KindProposal("rows", "en", ()) if name == "rows" else recognise_kind(documents)
    assert kind.kind == name, kind.reasons
    written = Written(root, case)
    written.experiment.mkdir()
    for file, text in write_kind(kind, case.document, model="../model").items():
        (written.experiment / file).write_text(text)
    (written.experiment / "settings.ini").write_text(
        SETTINGS.format(
            document=f'"{case.document}"',
            url="none" if name == "rows" else "../files",
            text=", text" if name == "rows" else "",
        )
    )
    (save_image_model if name == "images" else save_text_model)(root / "model")
    return written


def write_documents(root: Path, name: str, case: Case) -> dict[str, bytes]:
    chance = random.Random(0)
    documents = {}
    with sqlite3.connect(root / "labels.sqlite") as database:
        database.execute("CREATE TABLE labels (artifact_id TEXT, label TEXT, text TEXT)")
        for number in range(DOCUMENTS):
            label = list(WORDS)[number % 2]
            words = " ".join(chance.choices(WORDS[label], k=6) + chance.choices(COMMON, k=30))
            data = case.make(words)
            if number == 4 and case.bad is not None:
                data = case.bad
            if number == 5 and name != "images":
                data = case.empty
            documents[f"{number}/{case.name.replace('#', str(number))}"] = data
            values = f"id-{number:02d}", label, data.decode() if name == "rows" else None
            database.execute("INSERT INTO labels VALUES (?, ?, ?)", values)
            if name != "rows":
                path = root / "files" / values[0] / case.name.replace("#", str(number))
                path.parent.mkdir(parents=True)
                path.write_bytes(data)
    return documents


def save_text_model(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON]
    words += [word for found in WORDS.values() for word in found]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}).save_pretrained(
        folder
    )


def save_image_model(folder: Path) -> None:
    import torch
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


SLOW = {"text", "html", "docx"}
"""Which are read as others are; what they read is tested by itself."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_what_is_written_works_from_the_first_minute(name: str, tmp_path: Path) -> None:
    written = write_experiment(tmp_path, name)
    begun = written.pytest()
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert "1 passed" in begun.stdout
    tried = written.run("check")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    prepared = written.run("run", "--until", "prepare")
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    data = tmp_path / "store" / "EXP-0001-kind" / "data" / "prepared_data" / "full_dataset"
    lost = pl.read_parquet(data / "model" / "quarantine.parquet")["artifact_id"].to_list()
    assert lost == ([] if written.case.bad is None else ["id-04"])
    rows = sum(load_from_disk(str(data / "model" / split)).num_rows for split in SPLITS)
    assert rows == DOCUMENTS - len(lost) - (name != "images")
    mine = written.experiment / "test_functions.py"
    made = "def write_document(path, words):"
    mine.write_text(mine.read_text().replace(made, f"{made}\n    raise AssertionError"))
    again = written.pytest()  # with artifacts of the store
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 passed" in again.stdout
