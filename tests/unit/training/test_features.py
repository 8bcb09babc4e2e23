"""Every feature that can be trained on, as tensors, in two training steps, and in the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Features, LargeList, List

from handful.evaluation.baseline.choosing import Unusable, choose
from handful.evaluation.baseline.linear import fit, read
from handful.steps.prepare.encoding.columns import Columns
from handful.training.check import try_steps
from handful.training.data.collate import Collator
from handful.user_functions.load import load_functions
from tests.support.encoded import make
from tests.support.feature_values import TRAINABLE, VALUES, Refused, expected, good

MODEL = """
import torch
from transformers.modeling_outputs import SequenceClassifierOutput


class Sum(torch.nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.head = torch.nn.Linear(1, labels)

    def forward(self, labels, **features):
        pooled = sum(one.float().flatten(1).sum(1) if one.ndim > 1 else one.float()
                     for one in features.values())
        logits = self.head(pooled[:, None])
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def load_model(label2id):
    return Sum(len(label2id))
"""


def fitting(feature: Any) -> list[Any]:
    """All values of the table that fit, as they come back."""
    found = []
    for makes in (lambda: good(feature), *VALUES.values()):
        try:
            found.append(expected(feature, makes()))
        except Refused:
            continue
    return found


def saved(feature: Any, values: list[Any]) -> datasets.Dataset:
    column = Columns({"x": feature})["x"]
    table = pa.table({"x": column.array(map(column.plain, values))})
    return datasets.Dataset(table.cast(Features({"x": feature}).arrow_schema))


def padded(value: Any, shape: tuple[int, ...]) -> Any:
    """Lists of lists, filled up with 0 to a shape."""
    if not shape:
        return value
    rows = [padded(one, shape[1:]) for one in value]
    return rows + [np.zeros(shape[1:]).tolist()] * (shape[0] - len(rows))


@pytest.mark.parametrize("name", TRAINABLE)
def test_rows_become_tensors_with_the_same_numbers(name: str) -> None:
    feature = TRAINABLE[name]
    values = fitting(feature)
    assert len(values) > 1
    rows = saved(feature, values).with_format("arrow")[:]
    tensor = Collator({})(rows)["x"]
    assert tensor.dtype == wanted(feature)
    assert len(tensor) == len(values)
    for value, found in zip(values, tensor, strict=True):
        told = torch.tensor(padded(value, tuple(found.shape)), dtype=found.dtype)
        assert torch.equal(told.reshape(found.shape), found), value


def wanted(feature: Any) -> torch.dtype:
    while isinstance(feature, List | LargeList):
        feature = feature.feature
    if feature.dtype == "bool":
        return torch.bool
    return torch.float32 if feature.dtype.startswith("float") else torch.int64


def test_two_steps_with_all_of_them(tmp_path: Path) -> None:
    features: dict[str, Any] = {
        f"x{number}": feature for number, feature in enumerate(TRAINABLE.values())
    }
    one = make(tmp_path / "EXP-1", rows={}, functions=MODEL)
    experiment = one.open(tmp_path / "s")
    row = {name: expected(feature, good(feature)) for name, feature in features.items()}
    result = try_steps(
        experiment,
        experiment.settings.train.MODEL_NAMES[0],
        load_functions(one.directory),
        Features({**features, "labels": datasets.ClassLabel(num_classes=3)}),
        [{**row, "labels": label} for label in range(3)],
        one.prepared.label2id,
    )
    assert len(result.losses) == 2
    assert np.isfinite(result.losses).all()


@pytest.mark.parametrize("name", TRAINABLE)
def test_the_simple_model_takes_them(name: str) -> None:
    feature = TRAINABLE[name]
    values = fitting(feature)
    labels = np.arange(len(values)) % 2
    rows = saved(feature, values).with_format("arrow")
    usable = choose(rows)
    assert not isinstance(usable, Unusable), usable.reason
    found = read(usable, {"train": rows})
    raw, kind = found.splits["train"], found.kind
    assert raw.shape[0] == len(values)
    model = fit(kind, raw, labels, 2, kind.strengths[1])
    assert np.isfinite(model.log_probabilities(raw)).all()
