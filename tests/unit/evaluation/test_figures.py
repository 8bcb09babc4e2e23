"""Figures of answers: against scikit-learn, by hand, and against resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handful.evaluation.metrics.calibration import (
    calibration_error,
    fit_temperature,
    losses,
    reliability,
    softmax,
)
from handful.evaluation.metrics.coverage import coverage
from handful.evaluation.metrics.figures import figures
from handful.evaluation.metrics.ranked import Ordered, average_precision, ranked, roc_auc, wilson
from handful.evaluation.metrics.single import figure
from handful.training.evaluation.results import write_predictions
from tests.support.recomputed import recomputed

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


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 1, 0.0, 0.7935),
        (1, 1, 0.2065, 1.0),
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17, 1998, table I
    ],
)
def test_the_interval_of_a_share(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_f1_is_that_of_its_share() -> None:
    """F1 is 2s / (1 + s) of s, the hits among all that bear the label or were given it."""
    logits, references = drawn(60)
    found = figures(logits, references, LABELS, 1.0, seed=0, resamples=10)["per_label"]
    for label, name in enumerate(LABELS):
        bears, given = references == label, logits.argmax(axis=1) == label
        bounds = wilson(float((bears & given).sum()), float((bears | given).sum()))
        told = found[name]["intervals"]["f1"]
        assert told == pytest.approx([2 * bound / (1 + bound) for bound in bounds])


def test_the_interval_of_a_rank_is_as_wide_on_either_side_by_the_odds() -> None:
    """As wide as its influence says, within 0 and 1 however near the figure is to one of them."""
    logits, references = drawn(400)
    probabilities = softmax(logits)
    found = ranked(probabilities, references)
    for each, measure in ((found.roc_auc, roc_auc), (found.average_precision, average_precision)):
        value, influence = measure(Ordered.by(probabilities[:, 0]), references == 0)
        reach = 1.959964 * influence.std() / 400**0.5 / (value * (1 - value))
        odds = np.log(value / (1 - value))
        bounds = 1 / (1 + np.exp(-np.array([odds - reach, odds + reach])))
        assert (each[0].low, each[0].high) == pytest.approx(tuple(bounds), abs=1e-6)
        assert 0 < bounds[0] < value < bounds[1] < 1


def test_every_answer_is_in_the_bin_that_its_probability_is_in() -> None:
    sure = np.array([0.5, 8 / 15, 0.6, 0.61, 0.9999, 1.0])
    right = np.array([1, 0, 1, 1, 0, 1])
    bins = reliability(np.stack([sure, 1 - sure], axis=1), 1 - right)
    edges = [edge for one in bins for edge in (one.low, one.high)]
    assert edges == pytest.approx([edge / 15 for n in range(15) for edge in (n, n + 1)])
    for one in bins:
        mine = (sure > one.low + 1e-12) & (sure <= one.high + 1e-12)
        assert one.count == mine.sum()
        assert one.confidence == pytest.approx(sure[mine].mean() if one.count else 0)
        assert one.accuracy == pytest.approx(right[mine].mean() if one.count else 0)


def test_answers_that_are_calibrated_beyond_chance_have_no_error() -> None:
    """Of a quarter that is wrong at 3 : 1 in every bin nothing is left to explain."""
    probabilities = np.tile([0.75, 0.25], (40, 1))
    found = calibration_error(probabilities, np.tile([0, 0, 0, 1], 10))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_no_other_temperature_is_better() -> None:
    logits, references = drawn(50, 1.7)
    found = fit_temperature(logits, references)

    def cost(temperature: float) -> float:
        return float(losses(logits / temperature, references).sum() + np.log(temperature) ** 2 / 2)

    others = found * np.linspace(0.99, 1.01, 41)
    assert cost(found) == pytest.approx(min(map(cost, others)), abs=1e-9)


def test_a_figure_that_there_is_not_is_none() -> None:
    with pytest.raises(ValueError, match="there is no figure 'charm'"):
        figure("charm", *drawn(10), LABELS)


def test_losses_are_never_infinite() -> None:
    assert losses(np.array([[0.0, 2000.0]]), np.array([0]))[0] == 2000.0
