"""compare, whole: the ranking, the verdict, the baseline, the looks, and bad input."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny import Tiny, make

from compared import MADE_FROM, Compared, answered
from encoded import Told
from handful.steps.compare import compare


def run(one: Compared, scratch: Path, told: Told | None = None, **train: str) -> Any:
    experiment = one.open(scratch, told, **train)
    record = compare(experiment, one.prepared, one.trained, one.tested, made_from=MADE_FROM)
    return record, json.loads((one.results / "comparison.json").read_text())


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def one(tmp_path: Path) -> Compared:
    return Compared(tmp_path / "EXP-1")


def test_the_winner_is_chosen_on_validation_and_the_verdict_is_about_test(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 400)
    one.model("good", truth, answered(truth, 0.9, 3, chance), validation=0.6)
    one.model("poor", truth, answered(truth, 0.6, 3, chance), validation=0.7)
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "poor" == whole["winner"]
    assert record.ranking == ("poor", "good")
    assert "good is better than poor" in record.verdict
    (pair,) = whole["pairs"]
    assert pair["better"] == "good"
    assert pair["p"] == pair["p_holm"] < 1e-6
    row = whole["ranking"][1]["metrics"]["accuracy"]
    assert row["low"] < row["value"] < row["high"]
    assert whole["artifacts"] == 400


# --- a whole experiment, from labels to the report -----------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("whole") / "tiny", artifacts=60)
    shutil.copytree(tiny.root / "model", tiny.root / "other")
    tiny.settings(MODEL_NAMES="../model, ../other", EPOCHS="1")
    done = tiny.handful("run", "--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ranking on 12 test artifacts" in done.stdout
    return tiny


def test_a_run_compares_all_models_and_seeds(finished: Tiny) -> None:
    results = finished.store / "results/full_dataset"
    whole = json.loads((results / "comparison.json").read_text())
    assert whole["winner"] == "other"
    assert [row["seeds"] for row in whole["ranking"]] == [[0, 1], [0, 1]]
    assert len(whole["runs"]) == 4
    for row in whole["ranking"]:
        evaluation = results / "evaluation" / row["model"] / "seed-0"
        told = json.loads((evaluation / "metrics.json").read_text())["metrics"]
        for name in ("accuracy", "macro_f1", "weighted_recall", "mcc", "log_loss"):
            assert row["metrics"][name]["value"] == pytest.approx(told[name], abs=1e-9), name
        assert row["parameters"] > 1_000
        assert row["training_seconds"] > 0
        assert row["documents_per_second"] > 0
    again = finished.handful(
        "compare", "--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=6"
    )
    assert again.returncode == 0, again.stderr
    assert "compare: up to date" in again.stdout
