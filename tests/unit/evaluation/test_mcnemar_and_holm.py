"""McNemar and Holm against other ways to the same numbers, and against worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from handful.evaluation.significance.holm import holm
from handful.evaluation.significance.mcnemar import FEW, mcnemar, p_value


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (12, 12), (24, 0), (8, 16)])
def test_few_disagreements_are_tested_exactly(first: int, second: int) -> None:
    p, method = p_value(first, second)
    assert method == "exact"
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert p == pytest.approx(expected, abs=1e-12)


def test_many_disagreements_by_chi_square_with_continuity_correction() -> None:
    """The textbook's table of 121 and 59: (62 - 1)² / 180 = 20.672, one degree of freedom."""
    p, method = p_value(121, 59)
    assert method == "chi-square"
    assert p == pytest.approx(5.45e-6, rel=2e-3)
    assert p == pytest.approx(chi2.sf(61**2 / 180, 1), rel=1e-9)
    assert p_value(59, 121) == (p, method)


def test_the_two_ways_nearly_meet_where_one_ends() -> None:
    for first in range(FEW // 2):
        exact = binomtest(first, FEW, 0.5).pvalue
        assert p_value(first, FEW - first)[0] == pytest.approx(exact, abs=0.015)


def test_equal_disagreements_are_no_difference_at_all() -> None:
    assert p_value(100, 100) == (pytest.approx(1.0), "chi-square")


def test_who_was_right_is_counted() -> None:
    first = np.array([True, True, False, False, True])
    second = np.array([True, False, True, False, False])
    found = mcnemar(first, second)
    assert (found.both, found.neither) == (1, 1)
    assert (found.only_first, found.only_second) == (2, 1)
    assert found.p == 1.0
    with pytest.raises(ValueError, match="not the same examples"):
        mcnemar(first, second[:3])


def test_holm_by_hand() -> None:
    """0.01·4, then 0.02·3 = 0.06, then 0.03·2 = 0.06 (not below the one before), 0.04·1 → 0.06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([0.001]) == (0.001,)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_lies_between_nothing_and_bonferroni() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    corrected = np.array(holm(list(p)))
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, 20 * p) + 1e-12).all()
    assert (np.argsort(corrected[np.argsort(p)], kind="stable") == np.arange(20)).all()


@pytest.mark.parametrize("wrong", [[0.1, float("nan")], [1.5], [-0.1]])
def test_holm_takes_probabilities_only(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(wrong)
