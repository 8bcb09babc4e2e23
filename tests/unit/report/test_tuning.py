"""The report's part about tuning."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import jinja2
import pytest
from markupsafe import Markup

from handful.report.render import truncate_report_text
from handful.report.tuning import shown


def trial(number: int, rate: str, pooling: str, value: float | None, state: str) -> dict[str, Any]:
    return {
        "number": number,
        "values": {"LEARNING_RATE": rate, "user.POOLING": pooling},
        "value": value,
        "state": state,
        "epochs": 2,
        "seconds": 1.5,
        "error": "" if value is not None else "no <b>memory</b>",
    }


def search(*trials: dict[str, Any], goal: str = "max", best: int = 1) -> dict[str, Any]:
    return {
        "model": "tiny",
        "metric": "macro_f1",
        "goal": goal,
        "seed": 3,
        "ranges": {"LEARNING_RATE": "log 1e-05 0.1", "user.POOLING": "choice cls <mean>"},
        "best": best,
        "importance": {"LEARNING_RATE": 0.75, "user.POOLING": 0.25},
        "trials": list(trials),
    }


FOUR = (
    trial(0, "1e-4", "cls", 0.5, "complete"),
    trial(1, "1e-2", "<mean>", 0.8, "complete"),
    trial(2, "1e-1", "cls", 0.2, "pruned"),
    trial(3, "1e-3", "cls", None, "failed"),
)


def polylines(drawing: Markup, css: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(str(drawing)).iter("polyline")
    lines = [line.attrib["points"].split() for line in found if line.attrib["class"] == css]
    return [[tuple(map(float, point.split(",")))[:2] for point in line] for line in lines]  # type: ignore[misc]


def test_the_words_tell_what_was_tried_and_what_training_used() -> None:
    words = shown(search(*FOUR))["words"]
    assert "4 trials (1 given up early, 1 failed), each with seed 3" in words
    assert "Trial 1 was the best, with macro_f1 0.8000" in words
    assert "training used LEARNING_RATE = 1e-2, user.POOLING = <mean>" in words


def test_the_best_so_far_rises_only_by_finished_trials() -> None:
    later = trial(4, "1e-3", "cls", 0.6, "complete")
    (line,) = polylines(shown(search(*FOUR, later))["history"], "c1")
    heights = [y for _, y in line]
    assert len(line) == 3
    assert heights[0] > heights[1] == heights[2]  # up is a smaller y


def test_a_metric_that_should_be_low_goes_down() -> None:
    (line,) = polylines(shown(search(*FOUR, goal="min", best=0))["history"], "c1")
    assert line[0][1] == line[1][1]


def test_settings_cross_the_axes_by_their_size_and_the_log_of_it() -> None:
    drawing = shown(search(*FOUR))["parallel"]
    (best,) = polylines(drawing, "c1")
    others = polylines(drawing, "c0")
    assert len(best) == 3
    assert len(others) == 2
    heights = sorted(line[0][1] for line in [best, *others])  # 1e-1, 1e-2, 1e-4 from above
    low, middle, high = heights[2], heights[1], heights[0]
    assert (low - middle) / (low - high) == pytest.approx(2 / 3, abs=0.01)
    names = "".join(ElementTree.fromstring(str(drawing)).itertext())
    assert "LEARNING_RATE" in names
    assert "<mean>" in names


def test_one_trial_alone_and_a_failed_one_can_be_drawn() -> None:
    found = shown({**search(FOUR[1], FOUR[3]), "importance": {}})
    ElementTree.fromstring(str(found["history"]))
    ElementTree.fromstring(str(found["parallel"]))
    assert found["importance_bars"] == ""


def page(tuning: list[dict[str, Any]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("handful.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["short"] = truncate_report_text
    return environment.get_template("tuning.html.j2").render(tuning=tuning)


def test_the_page_holds_every_number_as_a_table_and_escapes_what_it_is_given() -> None:
    text = page([shown(search(*FOUR))])
    assert "<mean>" not in text
    assert "<b>" not in text
    cells = [re.sub("<.*?>", "", row) for row in re.findall(r"<tr>.*?</tr>", text)]
    assert any("0.8000complete" in row and "1 (best)" in row for row in cells)
    assert any("0.750" in row for row in cells)
    assert "style=" not in text


def test_without_a_search_the_page_shows_nothing() -> None:
    assert page([]).strip() == ""


@pytest.mark.parametrize("text", ["none", "auto", "0.0", "-1"])
def test_settings_as_they_stand_may_have_no_place_on_an_axis(text: str) -> None:
    odd = trial(0, text, "cls", 0.9, "complete")
    found = shown(search(odd, *FOUR[1:], best=0))
    plain = shown(search(*FOUR[1:], best=1))
    drawn = str(found["parallel"]), str(plain["parallel"])
    assert [one.count("<polyline") for one in drawn] == [2, 2]
    assert shown(search(odd, best=0))["parallel"] == ""
