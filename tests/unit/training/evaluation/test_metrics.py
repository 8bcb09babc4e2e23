"""Metrics: against scikit-learn and by hand, without a network, and what users may return."""

from __future__ import annotations

import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn import metrics as sk

from handful.errors import SettingsError, UserError
from handful.evaluation.metrics.calibration import fit_temperature, softmax
from handful.evaluation.metrics.figures import figures
from handful.evaluation.metrics.single import FIGURES, figure, has_figure
from handful.records.metric_names import HIGHER, LOWER, PER_LABEL, own_goal
from handful.training.evaluation.metric_checks import check_metric
from handful.training.evaluation.metrics import (
    Metrics,
    check_metrics_result,
    confusion,
    default_metrics,
    describe_non_finite_metrics,
    replace_non_finite_metrics,
)
from handful.user_functions.load import load_functions
from tests.support.progress import Recording

LABEL2ID = {"a": 0, "b": 1, "c c": 2, "never": 3}
DRAW = np.random.default_rng(0)
REFERENCES = DRAW.integers(0, 3, 200)
LOGITS = DRAW.normal(size=(200, 4)) + 2 * np.eye(4)[REFERENCES] - [0, 0, 0, 50]
PREDICTIONS = LOGITS.argmax(axis=1)


def test_the_default_metrics_are_those_of_scikit_learn() -> None:
    found = default_metrics(PREDICTIONS, REFERENCES, LABEL2ID)
    assert found["accuracy"] == pytest.approx((PREDICTIONS == REFERENCES).mean())
    for average in ("macro", "weighted"):
        for name, function in (
            ("f1", sk.f1_score),
            ("precision", sk.precision_score),
            ("recall", sk.recall_score),
        ):
            expected = function(REFERENCES, PREDICTIONS, average=average)
            assert found[f"{average}_{name}"] == pytest.approx(expected, abs=1e-12)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(REFERENCES, PREDICTIONS))
    each = sk.f1_score(REFERENCES, PREDICTIONS, average=None)
    assert [found[f"f1.{label}"] for label in ("a", "b", "c c")] == pytest.approx(each.tolist())
    assert found["f1.never"] == found["precision.never"] == found["recall.never"] == 0.0
    assert all(type(value) is float for value in found.values())


def test_names_are_known_without_computing_anything(tmp_path: Path) -> None:
    metrics = Metrics(functions_of(tmp_path, ""), LABEL2ID, settings=None)  # type: ignore[arg-type]
    assert set(metrics.names(REFERENCES)) == set(metrics(LOGITS, REFERENCES))
    metrics.check_name("f1.c c", REFERENCES)
    with pytest.raises(SettingsError, match=r"\[train\] METRIC.*no 'f1_macro'"):
        metrics.check_name("f1_macro", REFERENCES)


def functions_of(folder: Path, more: str) -> Any:
    folder.mkdir(exist_ok=True, parents=True)
    text = "def get_dataset_features(): ...\n\ndef encode_data(): ...\n\n" + more
    (folder / "functions.py").write_text(text)
    return load_functions(folder)


def test_the_users_metrics_replace_the_default_and_get_their_menu(tmp_path: Path) -> None:
    functions = functions_of(
        tmp_path,
        "def compute_metrics(logits, predictions, references, label2id, id2label, settings):\n"
        "    assert logits.shape == (200, 4) and settings == 'all of them'\n"
        "    assert [label2id[id2label[n]] for n in range(4)] == [0, 1, 2, 3]\n"
        "    return {'right': (predictions == references).mean(), 'all': len(predictions)}\n",
    )
    metrics = Metrics(functions, LABEL2ID, settings="all of them")  # type: ignore[arg-type]
    right = (PREDICTIONS == REFERENCES).mean()
    assert metrics(LOGITS, REFERENCES) == {"right": right, "all": 200.0}
    assert metrics.names(REFERENCES) == ("right", "all")


def test_what_the_users_metrics_raise_has_its_line(tmp_path: Path) -> None:
    functions = functions_of(tmp_path, "def compute_metrics(references):\n    return 1 / 0\n")
    metrics = Metrics(functions, LABEL2ID, settings=None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"functions.py:6 in compute_metrics: ZeroDivisionError"):
        metrics(LOGITS, REFERENCES)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (0.5, "returned float, not a dict"),
        ({}, "an empty dict"),
        ({"f1": "0.5"}, "returned str for 'f1'"),
        ({"f1": b"0.5"}, "returned bytes for 'f1'"),
        ({"f1": np.str_("0.5")}, "returned str_? for 'f1'"),
        ({"f1": None}, "returned NoneType for 'f1'"),
        ({"f1": 1j}, "returned complex for 'f1'"),
        ({"f1": np.complex64(1)}, "returned complex64 for 'f1'"),
        ({"f1": [0.5]}, "returned list for 'f1'"),
        ({"f1": {"a": 0.5}}, "returned dict for 'f1'"),
        ({"f1": np.array([0.1, 0.2])}, "returned ndarray for 'f1'"),
        ({"f1": torch.tensor([0.1, 0.2])}, "returned Tensor for 'f1'"),
        ({1: 0.5}, "for 1; a float"),
    ],
)
def test_what_is_no_dict_of_numbers_is_refused(result: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_metrics_result(result)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (2, 2.0),
        (True, 1.0),
        (Decimal("0.125"), 0.125),
        (Fraction(1, 8), 0.125),
        *(
            (getattr(np, name)(2), 2.0)
            for name in "int8 uint8 int32 int64 uint64 float16 float32 float64 longdouble".split()
        ),
        (np.bool_(1), 1.0),
        (np.array(0.5), 0.5),
        (np.array([[0.5]], dtype=">f4"), 0.5),
        *(
            (torch.tensor(2, dtype=getattr(torch, name)), 2.0)
            for name in ("float16", "bfloat16", "float32", "float64", "int8", "int32", "int64")
        ),
        (torch.tensor([[0.5]]), 0.5),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (torch.tensor(1, dtype=torch.bool), 1.0),
        (pl.Series([0.5]), 0.5),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (Decimal("-Infinity"), -math.inf),
        (np.float32("inf"), math.inf),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_of_every_library_are_floats(value: Any, number: float) -> None:
    found = check_metrics_result({"x": value})["x"]
    assert type(found) is float
    assert found == number


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, np.float16("nan"), torch.tensor(math.nan), np.array(np.nan)),
        *(Decimal("NaN"), Decimal("sNaN")),
    ],
)
def test_what_is_not_defined_is_kept_as_such_and_written_as_null(value: Any) -> None:
    found = check_metrics_result({"x": value, "y": 0.5, "z": -math.inf})
    assert math.isnan(found["x"])
    assert replace_non_finite_metrics(found) == {"x": None, "y": 0.5, "z": None}
    assert (
        describe_non_finite_metrics(found) == "metrics that are no finite number: x (nan), z (-inf)"
    )
    assert describe_non_finite_metrics({"y": 0.5}) == ""


def test_every_figure_of_the_report_can_be_had_alone() -> None:
    labels = sorted(LABEL2ID, key=LABEL2ID.__getitem__)
    whole = figures(LOGITS, REFERENCES, labels, fit_temperature(LOGITS, REFERENCES), 0)
    assert set(whole["overall"]) | {"loss"} == set(FIGURES) == LOWER | HIGHER
    for name, value in whole["overall"].items():
        assert figure(name, LOGITS, REFERENCES, labels) == pytest.approx(value, abs=1e-12), name
        assert own_goal(name) == ("min" if name in LOWER else "max")
    for label, told in whole["per_label"].items():
        for measure in PER_LABEL:
            expected = told[measure]
            expected = expected["value"] if isinstance(expected, dict) else expected
            name = f"{measure}.{label}"
            assert has_figure(name, labels)
            assert own_goal(name) == "max"
            assert figure(name, LOGITS, REFERENCES, labels) == pytest.approx(expected)
    assert figure("loss", LOGITS, REFERENCES, labels, loss=0.25) == 0.25
    log_loss = figure("log_loss", LOGITS, REFERENCES, labels)
    assert figure("loss", LOGITS, REFERENCES, labels) == log_loss
    assert figure("roc_auc", LOGITS, np.zeros_like(REFERENCES), labels) is None
    assert not has_figure("roc_auc.nobody", labels)
    assert own_goal("my_score") is None


def test_a_figure_of_ours_stands_beside_what_the_user_computes(tmp_path: Path) -> None:
    source = "def compute_metrics(predictions):\n    return {'ece': 7.0}\n"
    metrics = Metrics(functions_of(tmp_path, source), LABEL2ID, settings=None)  # type: ignore[arg-type]
    labels = sorted(LABEL2ID, key=LABEL2ID.__getitem__)
    brier = figure("brier", LOGITS, REFERENCES, labels)
    for metric, expected in (
        ("ece", {"ece": 7.0}),
        ("brier", {"ece": 7.0, "brier": brier}),
        ("loss", {"ece": 7.0, "loss": 0.25}),
        ("charm", {"ece": 7.0}),
    ):
        assert metrics.with_metric(metric, LOGITS, REFERENCES, 0.25) == expected


def test_the_brier_score_is_that_of_scikit_learn() -> None:
    labels = sorted(LABEL2ID, key=LABEL2ID.__getitem__)
    expected = sk.brier_score_loss(REFERENCES, softmax(LOGITS), labels=range(4))
    assert figure("brier", LOGITS, REFERENCES, labels) == pytest.approx(expected, abs=1e-12)
    two, truth = LOGITS[:, :2], (REFERENCES > 0).astype(np.int64)
    expected = sk.brier_score_loss(truth, softmax(two)[:, 1])
    assert figure("brier", two, truth, ["a", "b"]) == pytest.approx(expected, abs=1e-12)
    by_hand = np.array([[np.log(0.7), np.log(0.2), np.log(0.1)]])
    found = figure("brier", by_hand, np.array([1]), ["a", "b", "c"])
    assert found == pytest.approx(0.7**2 + 0.8**2 + 0.1**2)


# --- METRIC --------------------------------------------------------------------------------------


def told_of(tmp_path: Path, source: str, metric: str, goal: str = "max") -> tuple[bool, list[str]]:
    """Does compute_metrics give it, and what is warned of?"""
    metrics = Metrics(functions_of(tmp_path, source), LABEL2ID, settings=None)  # type: ignore[arg-type]
    section, told = SimpleNamespace(METRIC=metric, METRIC_GOAL=goal), Recording()
    given = check_metric(metrics, section, REFERENCES, told)  # type: ignore[arg-type]
    return given, told.warnings


COMPUTE = "def compute_metrics(predictions, references):\n    right = (predictions == references)"


def test_metric_may_be_a_figure_of_ours_or_the_users(tmp_path: Path) -> None:
    assert told_of(tmp_path, "", "macro_f1") == (True, [])
    for metric in ("log_loss", "roc_auc", "loss", "brier", "f1.c c", "roc_auc.a"):
        assert told_of(tmp_path, "", metric, "min") == (metric.startswith("f1"), [])
    own = f"{COMPUTE}.mean()\n    return {{'right': right, 'log_loss': 1.0}}\n"
    assert told_of(tmp_path / "own", own, "right") == (True, [])
    assert told_of(tmp_path / "own", own, "log_loss", "min") == (True, [])
    assert told_of(tmp_path / "own", own, "macro_f1") == (False, [])
    with pytest.raises(
        SettingsError, match=r"no figure of the report\n *there are: right, log_loss"
    ):
        told_of(tmp_path / "own", own, "wrong")
    # The label "never" is never met.
    with pytest.raises(SettingsError, match="not defined on the 200 artifacts of validation"):
        told_of(tmp_path, "", "roc_auc.never")


def test_the_answer_that_was_made_up_is_told_as_such(tmp_path: Path) -> None:
    odds = f"{COMPUTE}.mean()\n    return {{'odds': np.float64(right) / (1 - right)}}\n"
    given, (told,) = told_of(tmp_path, "import numpy as np\n" + odds, "odds")
    assert given
    assert "returned inf for METRIC = odds at a perfect answer, which handful made up" in told
    crash = f"{COMPUTE}.mean()\n    return {{'odds': 1 / (1 - float(right))}}\n"
    with pytest.raises(UserError, match=r"functions.py:7 .*ZeroDivisionError.*handful made up"):
        told_of(tmp_path / "crash", crash, "odds")
    beside = f"{COMPUTE}.mean()\n    return {{'right': right, 'odds': float('inf')}}\n"
    assert told_of(tmp_path / "beside", beside, "right") == (True, [])


def test_a_goal_that_the_users_metric_contradicts_is_told(tmp_path: Path) -> None:
    wrong = f"{COMPUTE}.mean()\n    return {{'wrong': 1 - right, 'right': right}}\n"
    _, (told,) = told_of(tmp_path, wrong, "wrong", "max")
    assert "METRIC_GOAL is max, but wrong is 0 at a perfect answer" in told
    assert told_of(tmp_path, wrong, "wrong", "min") == (True, [])
    assert told_of(tmp_path, wrong, "right", "max") == (True, [])
    _, (told,) = told_of(tmp_path, wrong, "right", "min")
    assert "METRIC_GOAL = max may be meant" in told


def test_confusion_by_hand() -> None:
    references, predictions = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    assert confusion(predictions, references, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]


NO_NETWORK = """
import socket, sys

def refused(*_, **__):
    raise AssertionError("the network was asked")

socket.socket.connect = socket.socket.connect_ex = refused
socket.getaddrinfo = socket.create_connection = refused
sys.path.insert(0, sys.argv[1])
import numpy as np
from handful.training.evaluation.metrics import default_metrics

found = default_metrics(np.array([0, 1, 1]), np.array([0, 1, 0]), {"a": 0, "b": 1})
sys.stdout.write(str(round(found["macro_f1"], 6)))
"""


def test_the_default_metrics_need_no_network_and_leave_no_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stdout) == (0, "0.666667"), done.stderr
    left = list(tmp_path.rglob("*.arrow*")) + list(tmp_path.rglob("*.lock"))
    assert not left
