"""An experiment whose data is encoded already, so that nothing but training is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handful.records import Prepared

SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = text.txt

[train]
MODEL_NAMES = {model}
"""
FUNCTIONS = '''
"""Its data is encoded already; the model is loaded as it comes."""


def get_dataset_features():
    raise NotImplementedError("the data is encoded already")


def encode_data():
    raise NotImplementedError("the data is encoded already")
'''


@dataclass(frozen=True)
class Text:
    """A document of known label."""

    id: str
    label: str
    text: str


def write(
    directory: Path,
    model: Path,
    splits: Mapping[str, Sequence[Text]],
    max_tokens: int,
    settings: str,
    functions: str = FUNCTIONS,
) -> None:
    """The experiment, with its encoded splits (train, validation, test) in its store.

    `settings` are further lines, the first of them in `[train]`; `functions` is functions.py.
    """
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    directory.mkdir(parents=True)
    (directory / "settings.ini").write_text(SETTINGS.format(model=model) + settings)
    (directory / "functions.py").write_text(functions)
    labels = sorted({text.label for split in splits.values() for text in split})
    label2id = {label: number for number, label in enumerate(labels)}
    folder = directory.parent / "store" / directory.name / "data/prepared_data/full_dataset"
    folder.mkdir(parents=True)
    (folder / "label2id.json").write_text(json.dumps(label2id))
    tokenizer = AutoTokenizer.from_pretrained(model)
    for split, texts in splits.items():
        ids = tokenizer([t.text for t in texts], truncation=True, max_length=max_tokens)
        _save(folder / model.name / split, texts, ids["input_ids"], label2id)
    record = Prepared(
        made_from={"the ledger": "written by the benchmark"},
        finished_at="2026-01-01T00:00:00+00:00",
        label2id=label2id,
        rows={model.name: {split: len(texts) for split, texts in splits.items()}},
        quarantined={model.name: 0},
        left_out={model.name: 0},
        data_hash={model.name: "0" * 64},
        splits_hash="1" * 64,
    )
    (folder / "prepared.json").write_bytes(record.to_json())


def _save(
    folder: Path, texts: Sequence[Text], ids: Sequence[list[int]], label2id: Mapping[str, int]
) -> None:
    from datasets import Dataset, Features, List, Value

    features = Features(
        input_ids=List(Value("int32")),
        attention_mask=List(Value("int8")),
        labels=Value("int64"),
        artifact_id=Value("string"),
        length=Value("int32"),
    )
    rows = {
        "input_ids": list(ids),
        "attention_mask": [[1] * len(one) for one in ids],
        "labels": [label2id[text.label] for text in texts],
        "artifact_id": [text.id for text in texts],
        "length": [len(one) for one in ids],
    }
    Dataset.from_dict(rows, features=features).save_to_disk(str(folder))


def is_written(directory: Path) -> bool:
    """Whether `write` has come to its end there; what it left half done is removed."""
    import shutil

    if (encoded_folder(directory) / "prepared.json").is_file():
        return True
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(directory.parent / "store", ignore_errors=True)
    return False


def encoded_folder(directory: Path) -> Path:
    """Where the encoded data of the experiment lie, beside prepared.json."""
    return directory.parent / "store" / directory.name / "data/prepared_data/full_dataset"


def prepared(directory: Path) -> Prepared:
    return Prepared.from_json((encoded_folder(directory) / "prepared.json").read_bytes())
