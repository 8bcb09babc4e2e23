"""METRIC, whole: figures of ours and the user's, what is not defined, and what comes after it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from handful.backends.inline import Inline
from handful.errors import SettingsError, UserError
from handful.records import Tested as Results
from handful.records import Trained
from handful.report.gather import read_comparison
from handful.report.ranking import ranking
from handful.settings import read_settings
from handful.steps.compare import compare
from handful.steps.test import test as run_test
from handful.steps.train import train as run_train
from tests.support.encoded import Encoded, make
from tests.support.progress import Recording

NOW_AND_THEN = """
import torch


def compute_metrics(predictions, references):
    right = torch.tensor((predictions == references).mean())
    return {"right": right, "odds": float("nan"), "gain": right / 0}
"""


def strict(path: Path) -> Any:
    """JSON as JSON is: without NaN and Infinity, which Python alone reads."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    found = [json.loads(line, parse_constant=_refuse) for line in lines]
    return found if path.suffix == ".jsonl" else found[0]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def whole(one: Encoded, scratch: Path, told: Recording) -> tuple[Trained, Results, Any]:
    """Train, test and compare; comparison.json."""
    experiment, more = one.open(scratch, told), {"made_from": {"a": "b"}}
    trained = run_train(experiment, one.prepared, Inline(), **more)
    tested = run_test(experiment, one.prepared, trained, Inline(), **more)
    compare(experiment, one.prepared, trained, tested, **more)
    shown = ranking(read_comparison(experiment.store, experiment.layout))
    assert shown is not None
    assert shown["chart"], "whatever METRIC is, and without an interval, too"
    return trained, tested, strict(one.store / "results/full_dataset/comparison.json")


@pytest.mark.parametrize(
    ("metric", "goal"),
    [
        ("log_loss", "min"),
        pytest.param("loss", "min", marks=pytest.mark.slow),
        pytest.param("brier", "min", marks=pytest.mark.slow),
        pytest.param("roc_auc", "max", marks=pytest.mark.slow),
        pytest.param("log_loss_calibrated", "min", marks=pytest.mark.slow),
        pytest.param("average_precision.letter", "max", marks=pytest.mark.slow),
        pytest.param("f1.report", "max", marks=pytest.mark.slow),
    ],
)
def test_metric_may_be_any_figure_of_the_report(metric: str, goal: str, tmp_path: Path) -> None:
    one, told = make(tmp_path / "EXP-1"), Recording()
    one.settings(METRIC=metric, EPOCHS="3", LEARNING_RATE="2e-2")
    trained, tested, compared = whole(one, tmp_path / "s", told)
    results = one.store / "results/full_dataset"
    seen = [
        line["validation"][metric]
        for line in strict(results / "models/model/seed-0/metrics.jsonl")
        if "validation" in line
    ]
    best = min(seen) if goal == "min" else max(seen)
    (run,), (evaluation,) = trained.runs, tested.evaluations
    assert run.metrics[metric] == best
    assert run.best_epoch == seen.index(best) + 1
    assert evaluation.metrics[metric] is not None
    validation = {row["model"]: row["validation"]["mean"] for row in compared["ranking"]}
    assert validation.pop("model") == pytest.approx(best)
    assert len(validation) == 3, "the baselines are judged by it, too"
    assert all(math.isfinite(value) for value in validation.values())
    ranked = [row["validation"]["mean"] for row in compared["ranking"]]
    assert ranked == sorted(ranked, reverse=goal == "max")
    assert {row["model"]: "brier" in row["metrics"] for row in compared["ranking"]}["model"]
    assert not [warning for warning in told.warnings if "finite" in warning]


def test_what_is_not_defined_beside_metric_is_told_and_written_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    one, told = make(tmp_path / "EXP-1", functions=NOW_AND_THEN), Recording()
    one.settings(METRIC="right", EPOCHS="2")
    trained, tested, compared = whole(one, tmp_path / "s", told)
    results = one.store / "results/full_dataset"
    log = strict(results / "models/model/seed-0/metrics.jsonl")
    validations = [line["validation"] for line in log if "validation" in line]
    assert [(one["odds"], one["gain"]) for one in validations] == [(None, None)] * 2
    kept = strict(results / "models/model/seed-0/final/handful.json")
    assert kept["metrics"]["odds"] is None
    assert kept["metrics"]["right"] == trained.runs[0].metrics["right"] > 0
    assert Trained.from_json(trained.to_json()).runs == trained.runs
    assert "NaN" not in trained.to_json().decode() + tested.to_json().decode()
    measured = strict(results / "evaluation/model/seed-0/metrics.json")
    assert measured["metrics"]["gain"] is None
    assert "odds" not in compared["ranking"][0]["own_metrics"]
    warned = [
        warning for warning in told.warnings if "no finite number: odds (nan), gain" in warning
    ]
    told_of = ["model seed 0", "test model seed 0", "test baseline-probe--model"]
    assert [w.partition(": ")[0] for w in warned] == told_of


def test_metric_itself_has_to_be_a_number(tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1", functions=NOW_AND_THEN)
    one.settings(METRIC="odds", EPOCHS="1")
    with pytest.raises(UserError, match="odds, which is METRIC, was nan on validation"):
        run_train(one.open(tmp_path / "s"), one.prepared, Inline(), made_from={})


def goal_of(one: Encoded) -> str:
    return read_settings(one.directory).train.METRIC_GOAL


@pytest.mark.parametrize(
    ("metric", "goal", "other"),
    [
        *(("log_loss", "min", "max"), ("loss", "min", "max"), ("macro_f1", "max", "min")),
        *(("f1.report", "max", "min"), ("brier", "min", "max"), ("mcc", "max", "min")),
    ],
)
def test_the_goal_is_the_metrics_own(metric: str, goal: str, other: str, tmp_path: Path) -> None:
    one = make(tmp_path / "EXP-1")
    one.settings(METRIC=metric)
    assert goal_of(one) == goal
    one.settings(METRIC=metric, METRIC_GOAL=goal)
    assert goal_of(one) == goal
    one.settings(METRIC=metric, METRIC_GOAL=other)
    word = "lower" if goal == "min" else "higher"
    with pytest.raises(SettingsError, match=rf"METRIC_GOAL.*{metric} is better when it is {word}"):
        goal_of(one)
    one.settings(METRIC="my_own", METRIC_GOAL=other)
    assert goal_of(one) == other
    one.settings(METRIC="my_own")
    assert goal_of(one) == "max"
