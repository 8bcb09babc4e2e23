"""The examples of the documentation run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest

from handful.steps.prepare.encoding.columns import Columns
from handful.steps.prepare.encoding.feature_types import untrainable
from handful.steps.prepare.encoding.values import Misfit
from handful.user_functions.load import load_functions

PAGE = Path(__file__).parents[2] / "docs" / "functions.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
REQUIRED = "\ndef get_dataset_features():\n    return {}\n\ndef encode_data():\n    return {}\n"


class Instance(dict[str, Path]):
    id, label = "a", "x"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_loads_and_runs(number: int, tmp_path: Path) -> None:
    text = BLOCKS[number]
    (tmp_path / "functions.py").write_text(text if "encode_data" in text else text + REQUIRED)
    (tmp_path / "raw_text.txt").write_text("three short words")
    functions = load_functions(tmp_path)
    instance = Instance({"raw_text.txt": tmp_path / "raw_text.txt"})
    if "process_func" in text:
        artifact = SimpleNamespace(id="a", label="x", file_hash="h", row={})
        functions.call("process_func", artifact=artifact, artifact_path=tmp_path)
        assert '"x"' in (tmp_path / "ground_truth_label.json").read_text()
    elif functions.batched:
        (encoded,) = functions.call("encode_data", instances=[instance])
        assert encoded.features == {"input_ids": [5, 5, 5]}
        assert encoded.full_length == 3
    elif "def encode_data" in text:
        assert functions.call("encode_data", instance=instance) == {"input_ids": [5, 5, 5]}
        assert set(functions.call("get_dataset_features")) == {"input_ids", "labels"}
    else:
        found = functions.call(
            "compute_metrics",
            predictions=np.array([0, 1, 1, 0]),
            references=np.array([0, 1, 0, 0]),
            label2id={"x": 0, "y": 1},
        )
        assert found == {"error_rate": 0.25}


def test_there_are_examples() -> None:
    assert len(BLOCKS) == 4


TYPES = re.compile(
    r"`((?:Value|ClassLabel|List|LargeList|Array\dD|Image|Json|Translation|\{)[^`]*)`"
)


def features(text: str) -> list[tuple[str, Any]]:
    """The types of `datasets` in a piece of the page."""
    names = vars(datasets)
    return [(code, eval(code, dict(names))) for code in TYPES.findall(text) if code[-1] in ")}"]


def test_the_types_of_the_page_are_trainable_or_not() -> None:
    page = PAGE.read_text()
    table, rest = page.split("### Types that can be trained on")[1].split("Nothing can be trained")
    can, cannot = features(table), features(rest.split("**One rule")[0])
    assert len(can) > 20
    assert len(cannot) > 8
    assert [code for code, feature in can if untrainable(feature)] == []
    assert [code for code, feature in cannot if not untrainable(feature)] == []


def test_the_words_of_the_page_about_a_value() -> None:
    column = Columns({"input_ids": datasets.List(datasets.Value("int32"))})
    with pytest.raises(Misfit) as raised:
        column.plain({"input_ids": [1] * 17 + ["2"]})
    assert f"`{raised.value}`" in PAGE.read_text()
