"""Baselines on encoded data as it lies in a store: the ways in which they can fall short."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from handful.evaluation.baseline.review import Review, from_csv, to_csv
from handful.evaluation.label_review import Source, by_model, review
from handful.experiment.context import Experiment
from handful.training.evaluation import baselines, label_noise
from handful.user_functions.load import load_functions
from tests.support.encoded import LABELS, ROWS, Encoded, make
from tests.support.progress import Recording

LABEL2ID = {label: number for number, label in enumerate(LABELS)}


@pytest.fixture
def one(tmp_path: Path) -> Encoded:
    return make(tmp_path / "experiment")


def opened(one: Encoded, tmp_path: Path) -> tuple[Experiment, Recording]:
    told = Recording()
    return one.open(tmp_path / "scratch", told), told


def simple(one: Encoded, experiment: Experiment) -> baselines.Simple:
    found = baselines.made(
        experiment, load_functions(one.directory), LABEL2ID, {"./model": dict(ROWS)}
    )
    assert found is not None
    return found


def by_baseline(experiment: Experiment, data: baselines.Grounds) -> Source:
    return label_noise.by_baseline(experiment.store, experiment.layout.splits, data, 0)


def test_both_are_made_and_nothing_is_sent_before(one: Encoded, tmp_path: Path) -> None:
    experiment, _ = opened(one, tmp_path)
    found = simple(one, experiment)
    assert [each.name for each in found.made] == ["baseline-tfidf", "baseline-majority"]
    assert not (one.store / "results").exists()
    baselines.send(experiment.store, experiment.layout, found)
    file = one.store / "results/full_dataset/evaluation/baseline-tfidf/seed-0/metrics.json"
    written = json.loads(file.read_text())
    assert written["metrics"]["accuracy"] > 0.8
    assert written["data_of"] == "model"
    assert written["fitted_on"] == ROWS["train"]


def test_without_numbers_only_the_majority_class_is_left(one: Encoded, tmp_path: Path) -> None:
    from datasets import Dataset

    for split, count in ROWS.items():
        folder = one.store / "data/prepared_data/full_dataset/model" / split
        shutil.rmtree(folder)
        columns: dict[str, Any] = {
            "text": ["words"] * count,
            "labels": [0] * (count - 1) + [1],
            "artifact_id": [f"{split}-{number}" for number in range(count)],
        }
        Dataset.from_dict(columns).save_to_disk(str(folder))
    experiment, told = opened(one, tmp_path)
    found = simple(one, experiment)
    assert [each.name for each in found.made] == ["baseline-majority"]
    assert "no feature is made of numbers: text (string)" in found.data.reason
    assert found.data.reason in told.warnings[0]
    written = json.loads((found.made[0].folder / "metrics.json").read_text())
    assert written["reason"] == found.data.reason
    assert by_baseline(experiment, found.data).judged.reason == found.data.reason


def test_a_metric_that_cannot_bear_the_majority_costs_no_run(tmp_path: Path) -> None:
    one = make(
        tmp_path / "experiment",
        functions=(
            "def compute_metrics(predictions):\n"
            "    if len(set(predictions.tolist())) < 2:\n"
            "        raise ValueError('one class only')\n"
            "    return {'macro_f1': 0.5, 'odd': 1.0}\n"
        ),
    )
    experiment, told = opened(one, tmp_path)
    tfidf, majority = simple(one, experiment).made
    assert "odd" in tfidf.result["metrics"]
    assert "odd" not in majority.result["metrics"]
    assert "accuracy" in majority.result["metrics"]
    assert "one class only" in told.warnings[0]


def test_without_the_groups_no_label_is_judged(one: Encoded, tmp_path: Path) -> None:
    experiment, _ = opened(one, tmp_path)
    judged = by_baseline(experiment, simple(one, experiment).data).judged
    assert "splits.parquet" in judged.reason


def reviewed(one: Encoded, experiment: Experiment, data: baselines.Grounds) -> Path:
    """Write the review with every artifact a group, and a model that is sure of `letter`."""
    ids = [name for split in data.splits.values() for name in split.ids()]
    table = pl.DataFrame({"artifact_id": ids, "group": ids})
    table.write_parquet(one.store / "data/prepared_data/full_dataset/splits.parquet")
    known = data.splits["validation"]
    logits = np.tile([0.0, 3.0, 0.0], (len(known), 1))
    model = by_model(known.ids(), "validation", known.references, logits)
    sources = [by_baseline(experiment, data), model]
    review(experiment.store, experiment.layout, experiment.progress, sources, LABELS)
    return one.store / "results/full_dataset/label_review.csv"


def test_the_review_keeps_what_was_decided(one: Encoded, tmp_path: Path) -> None:
    experiment, _ = opened(one, tmp_path)
    data = simple(one, experiment).data
    path = reviewed(one, experiment, data)
    decided = Review("=old", "letter", "report", "0.1", "model", "test", "x", "report")
    before = from_csv(path.read_bytes())
    assert before
    path.write_bytes(to_csv([decided, *before]))
    reviewed(one, experiment, data)
    assert from_csv(path.read_bytes()) == [*before, decided]


def test_a_review_that_cannot_be_read_is_never_overwritten(one: Encoded, tmp_path: Path) -> None:
    experiment, told = opened(one, tmp_path)
    path = one.store / "results/full_dataset/label_review.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe spreadsheet")
    reviewed(one, experiment, simple(one, experiment).data)
    assert path.read_bytes() == b"\xff\xfe spreadsheet"
    assert "left as it is" in told.warnings[-1]
