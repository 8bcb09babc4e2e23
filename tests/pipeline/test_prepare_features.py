"""prepare, check and predict with features and values of all kinds, in real workers."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from datasets import ClassLabel, List

from handful.errors import FunctionsError
from handful.steps.prepare.encoding import shards
from tests.support.preparing import bench
from tests.support.tiny import make

HEAD = """
import json
import zlib
import decimal

import handful
import numpy as np
import torch
from datasets import Array2D, ClassLabel, Features, List, Value


def get_dataset_features(label2id):
    return Features({
        "input_ids": List(Value("int32")),
        "mask": List(Value("int8")),
        "grid": Array2D((2, 2), "float32"),
        "pages": Array2D((None, 2), "int16"),
        "boxes": List(List(Value("int16"), length=2)),
        "kinds": List(ClassLabel(names=["short", "long"])),
        "weight": Value("float32"),
        "labels": ClassLabel(names=sorted(label2id, key=label2id.get)),
    })


def usual(instance):
    words = json.loads(instance["raw_text.json"].read_text())["text"].split()
    ids = [zlib.crc32(word.encode()) % 1000 for word in words]
    return {
        "input_ids": ids,
        "mask": [1] * len(ids),
        "grid": np.eye(2, dtype=np.float32) * len(ids),
        "pages": np.ones((2, 2), np.int16),
        "boxes": [[one % 9, 2] for one in ids],
        "kinds": ["long" if len(word) > 6 else "short" for word in words],
        "weight": len(ids) / 7,
        "labels": instance.label,
    }


def encode_data(instance):
    row = usual(instance)
    n = int(instance.id[-4:])
"""
FINE = {
    13: "row['mask'] = [bool(one) for one in row['mask']]",
    14: "row['mask'][3:5] = [True, np.bool_(True)]",
    15: "row['input_ids'] = np.array(row['input_ids'], '>i8')",
    16: "row['input_ids'] = torch.tensor(row['input_ids'])",
    17: "row['grid'] = row['grid'].tolist()",
    18: "row['grid'] = [row['grid'][0], row['grid'][1].tolist()]",
    19: "row['weight'] = np.array(row['weight'])",
    20: "row['weight'] = decimal.Decimal(repr(row['weight']))",
    21: "row['boxes'] = np.array(row['boxes'])",
    22: "row['pages'] = [[1, 1], torch.ones(2, dtype=torch.int16)]",
    23: "row['kinds'] = np.array([['short', 'long'].index(one) for one in row['kinds']])",
    24: "row['grid'] = torch.tensor(row['grid'], dtype=torch.bfloat16, requires_grad=True)",
    25: "row['labels'] = torch.tensor(['invoice', 'letter', 'report'].index(instance.label))",
    26: "row['mask'] = row['mask'][:-1] + [np.int64(1)]",
    27: "return handful.Encoded(row, full_length=np.int64(len(row['input_ids'])))",
    28: "return handful.Encoded(row, full_length=torch.tensor(len(row['input_ids'])))",
}
"""Number in an artifact's id → another way to say the same."""
EMPTY = {
    29: "row['input_ids'] = np.array([])",
    30: "row['boxes'] = []",
    31: "row['pages'] = np.zeros((0, 2))",
    32: "row['kinds'] = ()",
}
ODD = {
    33: (
        "row['input_ids'][1] = '2'",
        r"input_ids: .*list of int32, found list of str '2' at \[1\]",
    ),
    34: ("row['grid'] = row['grid'] * np.nan", r"grid: .*found the float nan, .* at \[0\]\[0\]"),
    35: ("row['grid'][1, 0] = 'inf'", r"grid: .*found the float inf, .* at \[1\]\[0\]"),
    36: ("row['weight'] = 1e39", r"weight: expected float32, found the float 1e\+39, which"),
    37: ("row['kinds'][0] = 'middle'", r"kinds: .*found list of the unknown class 'middle'"),
    38: (
        "row['kinds'] = [2]",
        "kinds: .*class label of 2, found list of the int 2, which is no id",
    ),
    39: ("row['mask'] = row['mask'][:2] + [None]", r"mask: .*found list of None at \[2\]"),
    40: ("row['mask'] = [300]", "mask: .*found list of the int 300, which int8 cannot hold"),
    41: ("row['grid'] = np.ones((3, 2))", "grid: .*found 3 where the shape has 2"),
    42: ("row['pages'] = np.ones((2, 2), 'M8[s]')", r"pages: .*found an array of datetime64\[s\]"),
    43: ("row['weight'] = '0.5'", "weight: expected float32, found str '0.5'"),
    44: ("row['boxes'][1] = [1, 2, 3]", r"boxes: .*found list of a list of 3 at \[1\]"),
    45: ("row['input_ids'] = torch.ones(1, 3, dtype=torch.int64)", "input_ids: .*one level too"),
    46: (
        "return handful.Encoded(row, full_length='many')",
        "full_length: expected an int, found s",
    ),
    47: ("row['labels'] = 'memo'", "labels: expected . .*, found str 'memo'"),
    48: ("row['weight'] = torch.tensor([1.0, 2.0]).to_sparse()", "weight: .*Tensor, which cannot"),
}
"""Number → what encode_data does, and what is told of it."""


def source(*changes: dict[int, str]) -> str:
    lines = [f"    if n == {n}: {line}\n" for some in changes for n, line in some.items()]
    return f"{HEAD}{''.join(lines)}    return row\n"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 30)


def test_one_odd_document_costs_that_document(tmp_path: Path) -> None:
    plain = bench(tmp_path / "plain", 60, source())
    plain.prepare()
    usual = plain.all_rows()
    assert len(usual) == 60
    made = bench(tmp_path / "odd", 60, source(FINE, EMPTY, {n: one for n, (one, _) in ODD.items()}))
    record = made.prepare(prepare_MAX_QUARANTINED="50%")
    assert record.quarantined == {"tiny": len(ODD)}
    told = {int(one["artifact_id"][-4:]): one["error"] for one in made.quarantine()}
    assert told.keys() == ODD.keys()
    for number, (_, words) in ODD.items():
        with pytest.raises(ValueError, match=words):  # the whole of it, where it is not so
            raise ValueError(told[number])
    rows = made.all_rows()
    assert len(rows) == 60 - len(ODD)
    for artifact, row in rows.items():
        if int(artifact[-4:]) not in EMPTY:
            assert row == usual[artifact]
    emptied = {"input_ids": [], "boxes": [], "pages": [], "kinds": []}
    for number, name in zip(EMPTY, emptied, strict=True):
        row = rows[f"artifact-{number:04d}"]
        assert row == {**usual[row["artifact_id"]], name: [], "length": row["length"]}
    found = datasets.load_from_disk(str(made.prepared / "tiny/train"))
    assert found.features["labels"] == ClassLabel(names=["invoice", "letter", "report"])
    assert found.features["kinds"] == List(ClassLabel(names=["short", "long"]))


@pytest.mark.slow
def test_an_odd_document_of_the_sample_costs_itself_too(tmp_path: Path) -> None:
    """The shortest document is always in it."""
    made = bench(tmp_path, 30, source({12: "row['weight'] = float('nan')"}))
    made.add("artifact-0012", "letter", "short")
    record = made.prepare()
    assert record.quarantined == {"tiny": 1}


REFUSED = {
    "List(Value('date32'))": "field 'x' is a list of date32, which forward() cannot take",
    "Array2D((1, None), 'int8')": "only dynamic size on first dimension",
}
"""All of them stand in tests/unit/steps/prepare/test_values.py; two go the whole way."""
NEVER = """
from datasets import *


def get_dataset_features():
    return Features({{"x": {feature}}})


def encode_data(instance):
    open({calls!r}, "a").write("called")
"""


@pytest.mark.parametrize("feature", REFUSED)
def test_what_nobody_can_train_on_is_refused_before_encoding(tmp_path: Path, feature: str) -> None:
    calls = tmp_path / "calls"
    made = bench(tmp_path, 6, NEVER.format(feature=feature, calls=str(calls)))
    with pytest.raises(FunctionsError) as raised:
        made.prepare()
    assert REFUSED[feature] in str(raised.value)
    assert not calls.exists()
    assert not (made.prepared / "tiny").exists()


@pytest.mark.slow
def test_check_says_the_same_before_encoding(tmp_path: Path) -> None:
    tiny = make(tmp_path, artifacts=12)
    calls = tmp_path / "calls"
    (tiny.experiment / "functions.py").write_text(
        NEVER.format(feature="List(Value('string'))", calls=str(calls))
    )
    tiny.settings(FILES_ON_RESEARCH="text.txt")
    done = tiny.handful("check")
    assert done.returncode == 2, done.stdout
    assert "field 'x' is a list of string, which forward() cannot take" in done.stderr
    assert "Traceback" not in done.stderr
    assert not calls.exists()


@pytest.mark.slow
def test_a_whole_run_with_class_labels(tmp_path: Path) -> None:
    """Labels and a feature of their own are ClassLabels; the model is trained, and tested."""
    tiny = make(tmp_path, artifacts=60)
    functions = tiny.experiment / "functions.py"
    text = functions.read_text()
    names = "ClassLabel(names=sorted(label2id, key=label2id.get))"
    for old, new in (
        ("get_dataset_features()", "get_dataset_features(label2id)"),
        ('"labels": Value("int64")', f'"labels": {names}, "token_type_ids": List({names})'),
        ("import Features, Sequence, Value", "import ClassLabel, Features, List, Sequence, Value"),
        ('"labels": label2id[label]', '"labels": label, "token_type_ids": [0, 1] * len(ids)'),
        ("[0, 1] * len(ids)", '(["invoice", 1] * len(ids))[: len(ids)]'),
    ):
        assert old in text
        text = text.replace(old, new)
    functions.write_text(text)
    checked = tiny.handful("check")
    assert checked.returncode == 0, checked.stderr
    done = tiny.handful("run", "--until", "report")
    assert done.returncode == 0, done.stderr
    (folder,) = tiny.root.glob("**/prepared_data/full_dataset/model/train")
    train = datasets.load_from_disk(str(folder))
    assert train.features["labels"].names == ["invoice", "letter", "report"]
    assert train.features["token_type_ids"].feature.names == ["invoice", "letter", "report"]
    assert train[0]["token_type_ids"][:2] == [0, 1]
