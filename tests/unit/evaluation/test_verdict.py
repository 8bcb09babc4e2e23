"""The words: who is better, no real difference, and where test and metric disagree."""

from __future__ import annotations

import pytest

from handful.evaluation.significance.gain import Gain, gain
from handful.evaluation.significance.mcnemar import McNemar
from handful.evaluation.significance.pairs import Difference, Pair
from handful.evaluation.significance.verdict import beats, format_p_value, judge_model_pair


def pair(first: int, second: int, p: float, difference: tuple[float, float, float]) -> Pair:
    test = McNemar(first, second, 100, 10, p, "exact")
    return Pair("A", "B", test, p, {"macro_f1": Difference(*difference, sure=True)})


def test_better() -> None:
    found = judge_model_pair(pair(30, 10, 0.002, (0.05, 0.02, 0.08)), "macro_f1")
    assert (found.better, found.better_by_metric) == ("A", "A")
    assert found.words == (
        "A is better than B: of 150 artifacts A alone is right on 30 and B alone on 10 "
        "(McNemar p = 0.002); macro_f1 of A less that of B is +0.050 "
        "(95 % interval +0.020 to +0.080)."
    )
    assert judge_model_pair(pair(10, 30, 0.002, (-0.05, -0.08, -0.02)), "macro_f1").better == "B"


def test_no_real_difference() -> None:
    found = judge_model_pair(pair(12, 10, 0.83, (0.01, -0.02, 0.04)), "macro_f1")
    assert (found.better, found.better_by_metric) == (None, None)
    assert found.words.startswith("No real difference between A and B: ")


def test_the_level_itself_is_no_difference() -> None:
    assert judge_model_pair(pair(30, 10, 0.05, (0.01, -0.02, 0.04)), "macro_f1").better is None


def test_right_equally_often_but_better_by_the_metric() -> None:
    found = judge_model_pair(pair(12, 10, 0.83, (0.05, 0.01, 0.09)), "macro_f1")
    assert (found.better, found.better_by_metric) == (None, "A")
    assert "right equally often, but A has the better macro_f1" in found.words


def test_an_interval_beside_zero_is_not_yet_a_claim() -> None:
    """Of twenty equal pairs one interval of 95 % lies beside zero."""
    one = pair(12, 10, 0.83, (0.05, 0.01, 0.09))
    unsure = Pair("A", "B", one.test, 0.83, {"macro_f1": Difference(0.05, 0.01, 0.09, sure=False)})
    assert judge_model_pair(unsure, "macro_f1").better_by_metric is None
    assert "No real difference" in judge_model_pair(unsure, "macro_f1").words


def test_right_more_often_but_worse_by_the_metric() -> None:
    found = judge_model_pair(pair(30, 10, 0.002, (-0.05, -0.08, -0.02)), "macro_f1")
    assert (found.better, found.better_by_metric) == (None, "B")
    assert "A is right more often, but B has the better macro_f1" in found.words


def test_a_metric_that_is_better_when_lower() -> None:
    assert (
        judge_model_pair(pair(30, 10, 0.002, (-0.05, -0.08, -0.02)), "macro_f1", "min").better
        == "A"
    )


def test_a_metric_without_interval_leaves_the_test_alone() -> None:
    found = judge_model_pair(pair(30, 10, 0.002, (0.05, 0.02, 0.08)), "own_metric")
    assert found.better == "A"
    assert "own_metric" not in found.words


def test_a_corrected_p_is_told_beside_the_raw_one() -> None:
    one = pair(30, 10, 0.02, (0.05, 0.02, 0.08))
    corrected = Pair(one.first, one.second, one.test, 0.06, one.differences)
    found = judge_model_pair(corrected, "macro_f1")
    assert found.better is None
    assert "(McNemar p = 0.02, p = 0.06 corrected)" in found.words


@pytest.mark.parametrize(
    ("p", "told"),
    [
        *((0.2, "p = 0.20"), (0.012, "p = 0.01"), (0.01, "p = 0.01"), (0.0012, "p = 0.0012")),
        *((1e-4, "p = 0.0001"), (9.9e-5, "p < 0.0001"), (1e-9, "p < 0.0001"), (1, "p = 1.00")),
    ],
)
def test_probabilities_in_words(p: float, told: str) -> None:
    assert format_p_value(p) == told


@pytest.mark.parametrize(
    ("one", "better"),
    [
        (pair(30, 10, 0.002, (0.05, 0.02, 0.08)), True),
        (pair(10, 30, 0.002, (-0.05, -0.08, -0.02)), False),
        (pair(12, 10, 0.83, (0.05, 0.01, 0.09)), True),  # by the metric alone
        (pair(12, 10, 0.83, (0.01, -0.02, 0.04)), None),
        (pair(30, 10, 0.002, (-0.05, -0.08, -0.02)), None),  # each in its own way
    ],
)
def test_what_one_has_over_the_other(one: Pair, better: bool | None) -> None:
    verdict = judge_model_pair(one, "macro_f1")
    assert [beats(one, verdict, name) for name in "AB"] == [better is True, better is False]
    found = one.differences["macro_f1"]
    first, second = (gain(one, verdict, name, "macro_f1") for name in "AB")
    assert first == Gain(found.value, found.low, found.high, better)
    turned = {True: False, False: True, None: None}[better]
    assert second == Gain(-found.value, -found.high, -found.low, turned)


def test_what_one_has_by_a_metric_without_interval() -> None:
    one = pair(30, 10, 0.002, (0.05, 0.02, 0.08))
    verdict = judge_model_pair(one, "own_metric")
    assert gain(one, verdict, "A", "own_metric") == Gain(None, None, None, better=True)
