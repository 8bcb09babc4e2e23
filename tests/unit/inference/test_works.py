"""What a worker of predict makes of the answers of `encode_data`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Array2D, Features, List, Value

from handful.experiment.context import open_experiment
from handful.inference.works import EncodeBatch
from handful.progress import Silent
from handful.steps.prepare.encoding import columns
from handful.steps.prepare.encoding.instance import Instances
from handful.steps.prepare.encoding.schema import row_features
from handful.user_functions.workers.heartbeat import Gauge
from handful.user_functions.workers.messages import Desk
from tests.support.preparing import bench

FEATURES = Features({"ids": List(Value("int32")), "grid": Array2D((1, 2), "float32")})
ANSWERS: dict[str, Any] = {}
FUNCTIONS = f"""
import sys


def get_dataset_features():
    raise AssertionError("the features are given")


def encode_data(instance):
    answer = sys.modules["{__name__}"].ANSWERS[instance.id]
    if isinstance(answer, Exception):
        raise answer
    return answer
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = bench(tmp_path, 1, FUNCTIONS)
    assert sys.modules[__name__].ANSWERS is ANSWERS
    settings = open_experiment(made.directory, (), Silent(), tmp_path).settings
    yield Desk(made.directory, settings, Gauge(tmp_path / "gauge"))
    ANSWERS.clear()


def batch(answers: dict[str, Any]) -> EncodeBatch:
    ANSWERS.update(answers)
    ids = tuple(answers)
    return EncodeBatch(
        model="tiny",
        label2id={"letter": 0},
        instances=Instances(Path(), ids, ("",) * len(ids), ({},) * len(ids)),
        patience=60,
        features=row_features(FEATURES).to_dict(),
    )


def test_an_odd_document_costs_its_own_prediction(desk: Desk) -> None:
    grid = [[1.0, 2.0]]
    rows = batch(
        {
            "a": {"ids": [1, 2], "grid": np.array(grid)},
            "nan": {"ids": [1], "grid": [[1.0, float("nan")]]},
            "b": {"ids": torch.tensor([3]), "grid": grid, "labels": 7},
            "text": {"ids": [1, "2"], "grid": grid},
            "none": None,
            "list": [1],
            "lacks": {"ids": [1]},
            "raises": KeyError("no text"),
            "c": {"ids": np.array([]), "grid": torch.tensor(grid, dtype=torch.bfloat16)},
        }
    ).do(desk)
    assert rows.ids == ["a", "b", "c"]
    assert rows.lengths == [2, 1, 0]
    assert rows.table is not None
    assert rows.table.schema.names == ["ids", "grid"]
    assert rows.table["ids"].to_pylist() == [[1, 2], [3], []]
    assert rows.table["grid"].combine_chunks().storage.to_pylist() == [grid] * 3
    told = {one: str(failure) for one, failure in rows.failed.items()}
    finite = "the float nan, and every number has to be finite, at [0][1]"
    assert told["nan"] == f"field grid: expected array (1, 2) of float32, found {finite}"
    assert told["text"] == "field ids: expected list of int32, found list of str '2' at [1]"
    assert told["none"] == "encode_data returned None, which leaves the document out"
    assert told["list"] == "encode_data returned list, not a dict or None"
    assert told["lacks"] == "missing field grid: it does not fit get_dataset_features"
    assert "KeyError: 'no text'" in told["raises"]
    assert len(told) == 6


def test_what_arrow_cannot_hold_is_found_by_halving(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "MOST", 10)
    sizes = {"a": 6, "b": 6, "c": 11, "d": 2}
    rows = batch({k: {"ids": [n] * n, "grid": [[0, 0]]} for k, n in sizes.items()}).do(desk)
    assert rows.ids == ["a", "b", "d"]
    assert str(rows.failed["c"]) == "OverflowError: 11 values are more than a List holds: 10"
    assert rows.table is not None
    assert [len(one) for one in rows.table["ids"].to_pylist()] == [6, 6, 2]


def test_nothing_that_can_be_encoded_gives_no_table(desk: Desk) -> None:
    rows = batch({"a": None, "b": {"ids": None, "grid": None}}).do(desk)
    assert (rows.table, rows.ids, rows.lengths) == (None, [], [])
    assert set(rows.failed) == {"a", "b"}
