"""Axes as a person would write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.report.drawings import intervals_chart, line_chart, round_values


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.03, 0.95, [0.2, 0.4, 0.6, 0.8]),
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.612, 0.684, [0.62, 0.64, 0.66, 0.68]),
        (-3.0, 12.0, [0.0, 5.0, 10.0]),
    ],
)
def test_an_axis_has_round_values(low: float, high: float, expected: list[float]) -> None:
    assert round_values(low, high, 6) == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_they_lie_within_and_are_few(low: float, width: float) -> None:
    values = round_values(low, low + width, 6)
    slack = 1e-6 * width + 1e-9
    assert 1 <= len(values) <= 6
    assert all(low - slack <= value <= low + width + slack for value in values)


def test_what_is_no_number_is_not_drawn() -> None:
    line = [(1.0, 0.5), (2.0, math.nan), (3.0, math.inf), (4.0, 0.25)]
    drawn = str(line_chart([("loss", "c0", line)], "epoch", "loss"))
    assert drawn == str(line_chart([("loss", "c0", [line[0], line[-1]])], "epoch", "loss"))
    assert "nan" not in drawn
    assert line_chart([("loss", "c0", [(1.0, math.nan)])], "epoch", "loss") == ""


@pytest.mark.parametrize(
    "values",
    [
        [-1.25e299],
        [1e17],
        [1e308, -1e308],
        [math.inf, 1.0],
        [math.nan],
        [1e16, 1e16 + 2],
        [5e-324],
        [1e9, 1e9],
        [7.0],
    ],
)
def test_a_metric_of_any_size_costs_no_report(values: list[float]) -> None:
    line = line_chart([("m", "c0", [(1.0 + n, one) for n, one in enumerate(values)])], "epoch", "t")
    rows = intervals_chart([("m", "c0", one, one, one) for one in values], values[0], "t")
    for drawn in (line, rows):
        assert "nan" not in drawn
        assert "inf" not in drawn
