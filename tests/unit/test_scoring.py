"""Figures of answers: against scikit-learn, by hand, and against resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handful.scoring.calibration import calibration_error, fit_temperature, losses, softmax
from handful.scoring.coverage import coverage
from handful.scoring.figures import figures
from handful.scoring.ranked import Ordered, average_precision, ranked, roc_auc, wilson
from handful.training.results import write_predictions
from recomputed import recomputed

LABELS = ["a", "b", "c", "d"]


def drawn(count: int, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are true at sharpness 1, and what they were about."""
    chance = np.random.default_rng(seed)
    references = chance.choice(4, count, p=[0.25] * 4)
    logits = chance.normal(size=(count, 4))
    logits[np.arange(count), references] += 1.5
    return logits * 1.5 * sharpness, references


@pytest.mark.parametrize("round_to", [1, 12])
def test_all_figures_agree_with_scikit_learn(tmp_path: Path, round_to: int) -> None:
    logits, references = drawn(300)
    logits = np.round(logits, round_to)  # coarse logits tie
    write_predictions(
        tmp_path / "p.parquet", list(map(str, range(300))), references, logits, LABELS
    )
    found = figures(logits, references, LABELS, 1.7, seed=0)
    again = recomputed(tmp_path / "p.parquet", LABELS, 1.7)
    for name, value in found["overall"].items():
        assert value == pytest.approx(again[name], abs=1e-9), name
    for label in LABELS:
        for name in ("precision", "recall", "f1"):
            assert found["per_label"][label][name] == pytest.approx(again[f"{name}.{label}"])
            low, high = found["per_label"][label]["intervals"][name]
            assert 0 <= low < found["per_label"][label][name] < high <= 1
    assert found == figures(logits, references, LABELS, 1.7, seed=0)


def test_labels_without_examples_and_one_class_only() -> None:
    """ROC-AUC is not defined without others, and nothing else is lost."""
    logits, _ = drawn(40)
    logits[:, 0] += 20.0
    found = figures(logits, np.zeros(40, dtype=np.int64), LABELS, 1.0, seed=0)
    assert not {"roc_auc", "average_precision"} & set(found["overall"])
    assert found["per_label"]["a"]["roc_auc"] is None
    assert found["per_label"]["b"]["support"] == 0
    assert found["per_label"]["b"]["intervals"]["recall"] == (0.0, 1.0)
    assert found["overall"]["accuracy"] == found["overall"]["balanced_accuracy"] == 1.0
    assert found["overall"]["mcc"] == 0.0
    some = figures(logits, np.array([0] * 20 + [1] * 20), LABELS, 1.0, seed=0)
    assert some["per_label"]["b"]["roc_auc"]["value"] > 0
    assert some["per_label"]["c"]["roc_auc"] is None


@pytest.mark.parametrize("measure", [roc_auc, average_precision])
def test_the_influence_is_what_resampling_finds(measure) -> None:  # type: ignore[no-untyped-def]
    logits, references = drawn(400)
    scores, bears = softmax(logits)[:, 0], references == 0
    _, influence = measure(Ordered.by(scores), bears)
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    by_formula = np.sqrt((influence**2).mean() / len(influence))
    chance = np.random.default_rng(1)
    rows = chance.integers(0, 400, (600, 400))
    by_draws = np.std([measure(Ordered.by(scores[one]), bears[one])[0] for one in rows])
    assert by_formula == pytest.approx(by_draws, rel=0.12)


def test_too_few_examples_have_no_interval() -> None:
    probabilities, references = softmax(drawn(30)[0]), np.array([0] * 25 + [1] * 5)
    found = ranked(probabilities, references)
    assert set(found.roc_auc) == {0, 1}
    assert found.macro_roc_auc is not None
    assert found.macro_roc_auc.low is None


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_the_temperature_undoes_what_was_too_sharp(sharpness: float) -> None:
    logits, references = drawn(4_000, sharpness)
    assert fit_temperature(logits, references) == pytest.approx(sharpness, rel=0.08)
    again, truth = drawn(4_000, sharpness, seed=1)
    before = calibration_error(softmax(again), truth)
    after = calibration_error(softmax(again / sharpness), truth)
    assert after.value < 0.03
    assert after.low == 0.0
    if sharpness != 1.0:
        assert before.low is not None
        assert before.low > after.value


def test_no_error_at_all_asks_for_no_temperature_of_zero() -> None:
    references = np.arange(40) % 4
    assert 0.2 < fit_temperature(np.eye(4)[references] * 5.0, references) <= 1.0
    assert fit_temperature(np.zeros((0, 4)), np.zeros(0, dtype=np.int64)) == 1.0


def test_the_surest_answers_are_kept() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.55, 0.45]])
    whole, half = coverage(probabilities, np.array([0, 1, 1, 1]), (1.0, 0.5))
    assert (whole.count, whole.accuracy, whole.threshold) == (4, 0.5, 0.55)
    assert (half.count, half.accuracy, half.threshold) == (2, 1.0, 0.8)
    assert half.low == pytest.approx(wilson(2, 2)[0])


def test_losses_are_never_infinite() -> None:
    assert losses(np.array([[0.0, 2000.0]]), np.array([0]))[0] == 2000.0
