"""`handful predict` and `handful.Classifier` on documents that nobody has labelled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import tiny
from tiny import Tiny

FUNCTIONS = tiny.FUNCTIONS.replace(
    """
    label = json.loads(instance["label.json"].read_text())["label"]
    features = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label2id[label]}
""",
    """
    features = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    label = json.loads(instance["label.json"].read_text())["label"]
    if label is not None:
        features["labels"] = label2id[label]
""",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny experiment that stands; its functions can do without the label."""
    assert FUNCTIONS != tiny.FUNCTIONS
    made = tiny.make(tmp_path_factory.mktemp("predict"))
    (made.experiment / "functions.py").write_text(FUNCTIONS)
    done = made.handful("run", "--until", "test")
    assert done.returncode == 0, done.stderr
    return made


def told_by_the_test_step(made: Tiny) -> dict[str, tuple[str, dict[str, float]]]:
    """Artifact id → prediction and probabilities, as the test step wrote them."""
    results = made.store / "results" / "full_dataset"
    (path,) = results.glob("evaluation/*/seed-*/predictions.parquet")
    labels = json.loads((made.store / "data/prepared_data/full_dataset/label2id.json").read_text())
    rows = pl.read_parquet(path).iter_rows(named=True)
    return {
        row["artifact_id"]: (
            row["prediction"],
            dict(zip(labels, row["probabilities"], strict=True)),
        )
        for row in rows
    }


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_predictions_are_those_of_the_test_step(trained: Tiny) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.files.rglob("*")}
    done = trained.handful("predict", str(trained.files), "--all")
    assert done.returncode == 0, done.stderr
    found = {str(line["artifact_id"]): line for line in lines(done.stdout)}
    assert list(found) == sorted(path.name for path in trained.files.iterdir())
    expected = told_by_the_test_step(trained)
    assert len(expected) >= 10
    for one, (label, probabilities) in expected.items():
        assert found[one]["label"] == label
        assert found[one]["probabilities"] == pytest.approx(probabilities, abs=1e-5)
        assert found[one]["probability"] == pytest.approx(probabilities[label], abs=1e-5)
    # Production is only read.
    assert {path: path.stat().st_mtime_ns for path in trained.files.rglob("*")} == before


def test_the_onnx_file_says_what_the_model_says(trained: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    done = trained.handful("export", "--onnx", "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert "greatest difference" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
