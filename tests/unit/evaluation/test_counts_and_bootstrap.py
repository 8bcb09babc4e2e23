"""Metrics from counts against scikit-learn, and the bootstrap against formulas."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from handful.evaluation.metrics.bootstrap import (
    Answers,
    compute_answer_metrics,
    interval,
    resample_answer_metrics,
)
from handful.evaluation.metrics.counts import MEASURES, count_label_outcomes
from handful.records.metric_names import LOG_LOSS


def by_scikit_learn(references: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    found = {
        "accuracy": metrics.accuracy_score(references, predictions),
        "mcc": metrics.matthews_corrcoef(references, predictions),
    }
    present = np.unique(references)
    recalls = metrics.recall_score(references, predictions, labels=present, average=None)
    found["balanced_accuracy"] = float(np.mean(recalls))
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            references, predictions, average=average, zero_division=0
        )
        found |= {f"{average}_precision": precision, f"{average}_recall": recall}
        found[f"{average}_f1"] = f1
    return found


@pytest.mark.parametrize(
    "case", ["ordinary", "one label predicted", "a label missing", "one label only", "all wrong"]
)
def test_every_metric_is_that_of_scikit_learn(case: str) -> None:
    chance = np.random.default_rng(3)
    references = chance.choice(6, 200, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    predictions = np.where(chance.random(200) < 0.7, references, chance.integers(0, 6, 200))
    if case == "one label predicted":
        predictions = np.full(200, 2)
    if case == "a label missing":
        references = np.where(references == 1, 0, references)
    if case == "one label only":
        references, predictions = np.zeros(200, int), np.zeros(200, int)
    if case == "all wrong":
        predictions = (references + 1) % 6
    counts = count_label_outcomes(references, predictions, 6)
    expected = by_scikit_learn(references, predictions)
    assert set(expected) == set(MEASURES)
    for name, measure in MEASURES.items():
        assert float(measure(counts)) == pytest.approx(expected[name], abs=1e-12), name


def answers(examples: int, labels: int = 4, seed: int = 0) -> Answers:
    chance = np.random.default_rng(seed)
    references = chance.integers(0, labels, examples)
    shape = (2, examples)
    wrong = (references + chance.integers(1, labels, shape)) % labels
    right = chance.random(shape) < np.array([[0.8], [0.7]])
    return Answers(references, np.where(right, references, wrong), chance.random(shape), labels)


def test_the_draws_are_those_of_rows_drawn_one_by_one() -> None:
    """The same draws, each metric recomputed from the drawn rows by scikit-learn."""
    given = answers(60)
    found = resample_answer_metrics(given, seed=5, resamples=8)
    chance = np.random.default_rng(5)
    for draw in range(8):
        rows = chance.integers(0, 60, 60)
        for model in range(2):
            expected = by_scikit_learn(given.references[rows], given.predictions[model, rows])
            for name, value in expected.items():
                assert found[name][model, draw] == pytest.approx(value, abs=1e-12), name
            loss = given.losses[model, rows].mean()
            assert found[LOG_LOSS][model, draw] == pytest.approx(loss, abs=1e-12)


def test_the_interval_of_accuracy_is_that_of_the_binomial() -> None:
    given = answers(1_000)
    value = compute_answer_metrics(given)["accuracy"][0]
    low, high = interval(resample_answer_metrics(given, seed=0)["accuracy"][0])
    half = 1.96 * np.sqrt(value * (1 - value) / 1_000)
    assert low == pytest.approx(value - half, abs=0.004)
    assert high == pytest.approx(value + half, abs=0.004)


def test_what_models_share_cancels_out() -> None:
    """The paired interval of a difference is narrower than two single ones if they err together."""
    given = answers(500)
    alike = given.predictions[0].copy()
    alike[:20] = (alike[:20] + 1) % 4
    both = Answers(given.references, np.stack([given.predictions[0], alike]), given.losses, 4)
    drawn = resample_answer_metrics(both, seed=0)["accuracy"]
    assert np.std(drawn[0] - drawn[1]) < 0.6 * np.std(drawn[0])


def test_the_same_seed_gives_the_same_draws() -> None:
    given = answers(80)
    first, again = (resample_answer_metrics(given, seed=1, resamples=50) for _ in range(2))
    other = resample_answer_metrics(given, seed=2, resamples=50)
    for name, drawn in first.items():
        assert np.array_equal(drawn, again[name])
        assert not np.array_equal(drawn, other[name])


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resample_answer_metrics(answers(80), seed=1, resamples=50)
    monkeypatch.setattr("handful.evaluation.metrics.bootstrap._BOOTSTRAP_BLOCK_CELLS", 300)
    for name, drawn in resample_answer_metrics(answers(80), seed=1, resamples=50).items():
        assert np.allclose(drawn, whole[name], atol=1e-12)


def test_answers_must_be_of_the_same_examples() -> None:
    with pytest.raises(ValueError, match="not the same examples"):
        Answers(np.zeros(3, int), np.zeros((2, 4), int), np.zeros((2, 4)), 2)
    with pytest.raises(ValueError, match="not the same examples"):
        Answers(np.zeros(0, int), np.zeros((2, 0), int), np.zeros((2, 0)), 2)


def test_a_models_draws_do_not_depend_on_whom_it_is_compared_with() -> None:
    chance = np.random.default_rng(5)
    references = chance.integers(0, 4, 300)
    predictions = np.stack([np.where(chance.random(300) < 0.7, references, 3) for _ in range(3)])
    losses = chance.random((3, 300))
    together = resample_answer_metrics(
        Answers(references, predictions, losses, 4), seed=9, resamples=50
    )
    for one in range(3):
        alone = Answers(references, predictions[[one]], losses[[one]], 4)
        for name, draws in resample_answer_metrics(alone, seed=9, resamples=50).items():
            np.testing.assert_allclose(draws[0], together[name][one], rtol=1e-12, err_msg=name)
