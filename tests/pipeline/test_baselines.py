"""`run` sets simple models beside the trained one, and hands the labellers what looks wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support.tiny import Tiny, make

pytestmark = pytest.mark.slow

RESULTS = "results/full_dataset"
LABELS = ("invoice", "letter", "report")
WRONG = {f"artifact-{n:04d}": LABELS[(n + 1) % 3] for n in (0, 4, 8, 31, 47, 63, 80, 96)}
"""Artifacts with another label than their words have."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("baselines"), artifacts=120)
    tiny.sql(
        *(f"UPDATE labels SET label = '{x}' WHERE artifact_id = '{a}'" for a, x in WRONG.items())
    )
    done = tiny.handful("run", "--set", "train.EPOCHS=2")
    assert done.returncode == 0, done.stdout + done.stderr
    return tiny


@pytest.mark.parametrize("name", ["baseline-tfidf", "baseline-majority"])
def test_a_baseline_has_the_very_files_of_a_model(finished: Tiny, name: str) -> None:
    evaluation = finished.store / RESULTS / "evaluation"
    mine, models = evaluation / name / "seed-0", evaluation / "model/seed-0"
    assert {p.name for p in mine.iterdir()} >= {
        "predictions.parquet",
        "metrics.json",
        "confusion_matrix.csv",
    }
    found = pl.read_parquet(mine / "predictions.parquet")
    theirs = pl.read_parquet(models / "predictions.parquet")
    assert found.schema == theirs.schema
    assert found.select("artifact_id", "label").equals(theirs.select("artifact_id", "label"))
    logits = np.array(found["logits"].to_list())
    assert np.exp(logits).sum(axis=1) == pytest.approx(1.0)
    metrics = json.loads((mine / "metrics.json").read_text())
    assert metrics["baseline"] is True
    assert metrics["seconds"] >= 0
    assert set(json.loads((models / "metrics.json").read_text())["metrics"]) == set(
        metrics["metrics"]
    )
    assert set(metrics["validation"]) >= {"macro_f1", "accuracy"}
    right = (found["label"] == found["prediction"]).mean()
    assert right == pytest.approx(metrics["metrics"]["accuracy"], abs=1e-12)


def test_tfidf_learns_what_the_majority_cannot(finished: Tiny) -> None:
    evaluations = json.loads((finished.store / RESULTS / "tested.json").read_text())["baselines"]
    reached = {one["model"]: one["metrics"]["macro_f1"] for one in evaluations}
    assert reached["baseline-tfidf"] > 0.8 > 0.4 > reached["baseline-majority"]


def test_it_was_one_look(finished: Tiny) -> None:
    looks = (finished.store / RESULTS / "evaluation/looks.jsonl").read_text().splitlines()
    assert len(looks) == 1
    told = json.loads(looks[0])["baselines"]
    assert told == ["baseline-probe--model", "baseline-tfidf", "baseline-majority"]


def test_planted_wrong_labels_are_found(finished: Tiny) -> None:
    with (finished.store / RESULTS / "label_review.csv").open(encoding="utf-8-sig") as file:
        rows = {row["artifact_id"]: row for row in csv.DictReader(file)}
    splits = pl.read_parquet(
        finished.store / "data/prepared_data/full_dataset/splits.parquet"
    ).filter(pl.col("split") != "test")
    planted = set(WRONG) & set(splits["artifact_id"])
    found = planted & set(rows)
    assert len(found) >= max(3, len(planted) // 2)
    for name in found:
        assert rows[name]["label"] == WRONG[name]
        assert rows[name]["suggested_label"] == LABELS[int(name[-4:]) % 3]
        assert "baseline" in rows[name]["source"]
        assert Path(rows[name]["path"], "text.txt").is_file()
        assert rows[name]["decision"] == ""
    scores = [float(row["score"]) for row in rows.values()]
    assert scores == sorted(scores)


def test_the_report_shows_both(finished: Tiny) -> None:
    page = (finished.store / RESULTS / "report.html").read_text()
    assert "Against simple models" in page
    assert "baseline-majority" in page
    assert "Labels to look at again" in page
    assert "The TF-IDF or linear baseline, by five folds, judged" in page


@pytest.mark.slow
def test_decisions_are_read_back_and_outlive_the_next_run(finished: Tiny) -> None:
    review = finished.store / RESULTS / "label_review.csv"
    with review.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    rows[0][header.index("decision")] = rows[0][header.index("suggested_label")]
    with review.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    words = ("--set", "train.EPOCHS=2", "--set", f"reconcile.LABEL_OVERRIDES={review}")
    done = finished.handful("run", "--until", "test", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    ledger = pl.read_parquet(finished.store / "data/reconciliation/ledger.parquet")
    corrected = ledger.filter(pl.col("label_source") == "override")
    assert corrected.select("artifact_id", "label").rows() == [(rows[0][0], rows[0][2])]
    with review.open(encoding="utf-8-sig", newline="") as file:
        after = {row["artifact_id"]: row["decision"] for row in csv.DictReader(file)}
    assert after[rows[0][0]] == rows[0][2]
