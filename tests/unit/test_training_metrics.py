"""Metrics: against scikit-learn and by hand, without a network, and what users may return."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from handful.errors import SettingsError, UserError
from handful.functions import load_functions
from handful.training.metrics import (
    Metrics,
    checked,
    confusion,
    default_metrics,
)

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
    folder.mkdir(exist_ok=True)
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
        ({"f1": float("nan")}, "returned nan for 'f1'"),
        ({"f1": np.float32("inf")}, "returned inf for 'f1'"),
        ({"f1": "0.5"}, "returned str for 'f1'"),
        ({"f1": np.array([0.1, 0.2])}, "returned ndarray for 'f1'"),
        ({1: 0.5}, "for 1; a float"),
    ],
)
def test_what_is_no_dict_of_finite_floats_is_refused(result: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        checked(result)


def test_numpys_numbers_are_floats_too() -> None:
    result = {"a": np.float32(0.5), "b": np.array(2), "c": True}
    assert checked(result) == {"a": 0.5, "b": 2.0, "c": 1.0}


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
from handful.training.metrics import default_metrics

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
