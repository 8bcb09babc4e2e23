"""An overview on one screen, and all of it in a log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handful.cli.screens.overview import describe_task, overview_lines
from handful.errors import Damaged
from handful.pipeline.overview import BestModel, KeptModels, Overview, StepOverview
from handful.pipeline.progress_file import StepProgress, TaskProgress
from handful.pipeline.step import State
from handful.pipeline.steps import STEP_NAMES

TASK = TaskProgress("train a seed 0", 1_200, 4_000, "steps", 3.25, 861.5, {"loss": 0.5})
MOMENT = "2026-01-01T00:00:00+00:00"
PLAIN = Overview(
    name="EXP-1",
    directory="EXP-1",
    url="s3://research/experiments/EXP-1",
    steps=tuple(StepOverview(step, "up to date", MOMENT, (), ()) for step in STEP_NAMES),
    progress=None,
    kept=1_234,
    labels=3,
    splits={"a": {"train": 900, "validation": 100, "test": 100}},
    best=BestModel("a", "macro_f1", 0.91, 0.9, 0.85, 0.95, True, (("baseline-tfidf", 0.8),)),
    dollars=None,
    managed=False,
    report="s3://research/experiments/EXP-1/results/full_dataset/report.html",
    models=None,
)


def with_step(name: str, **changes: Any) -> Overview:
    steps = tuple(replace(one, **changes) if one.step == name else one for one in PLAIN.steps)
    return replace(PLAIN, steps=steps)


def text_of(found: Overview, width: int = 0, height: int = 0) -> str:
    return "\n".join(line.text for line in overview_lines(found, width, height))


def test_an_ordinary_experiment_is_one_screen() -> None:
    found = replace(PLAIN, progress=StepProgress(1, "train", MOMENT, MOMENT, (TASK,)))
    lines = overview_lines(found, 80, 23)
    assert len(lines) <= 23
    assert max(len(line.text) for line in lines) <= 80
    text = "\n".join(line.text for line in lines)
    assert "kept: 1,234 artifacts of 3 labels" in text
    assert "splits: 900 train, 100 validation, 100 test" in text
    assert "best: a, macro_f1 0.900 (0.850 to 0.950) on test, 0.910 on validation" in text
    assert "baselines: tfidf 0.800; beaten" in text
    assert "report: results/full_dataset/report.html" in text
    assert "1,200/4,000 steps, 3.2/s, 14m21s left, loss 0.5" in text
    assert "cost" not in text


def test_many_reasons_are_all_told_in_a_log_and_cut_on_a_screen() -> None:
    reasons = tuple(f"to do: [train] KEY_{n} changed " + "very " * 20 for n in range(40))
    found = with_step("train", state="to do", reasons=reasons)
    log = text_of(found)
    assert all(reason.strip() in log for reason in reasons)
    screen = overview_lines(found, 80, 23)
    assert len(screen) == 23
    assert max(len(line.text) for line in screen) == 80
    assert any(line.text.startswith("  train ") and "KEY_0" in line.text for line in screen)
    assert any(line.text.endswith("…") for line in screen)
    few = with_step("train", state="to do", reasons=("to do: a", "to do: b"))
    assert "to do: a (and 1 more)" in text_of(few, 80, 14)


def test_who_is_at_work_comes_first() -> None:
    at_work = ("in progress: process 7 on there (began 1 hour ago)",)
    found = with_step("train", state="in progress", reasons=("to do: x",), at_work=at_work)
    text = text_of(found)
    assert text.index("in progress: process 7") < text.index("to do: x")
    assert found.next == "wait; `handful status EXP-1 --watch` shows how it goes on"
    assert not found.is_done


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "up to date"}, "read the report; `handful predict EXP-1 PATH` uses the model"),
        ({"state": "to do"}, "`handful run EXP-1`"),
        ({"state": "cut off"}, "`handful run EXP-1` goes on where it was cut off"),
    ],
)
def test_what_to_do_next(changes: dict[str, Any], words: str) -> None:
    assert with_step("train", **changes).next == words


def test_nothing_is_done_yet_or_something_is_damaged() -> None:
    steps = tuple(
        replace(one, state="to do", finished_at=None, reasons=("to do: not done yet",))
        for one in PLAIN.steps
    )
    new = replace(PLAIN, steps=steps, best=None, kept=None, splits={}, report=None)
    assert new.next == "`handful check EXP-1`, then `handful run EXP-1`"
    assert "never" in text_of(new)
    damaged = with_step("report", state="damaged", reasons=("report.html has 3 bytes",))
    state = State("report", None, (), (Damaged("has 3 bytes", remedy="make it again"),))
    assert replace(damaged, damage=(state,)).next == "make it again"


def test_before_compare_the_best_is_that_on_validation() -> None:
    found = replace(PLAIN, best=BestModel("a", "macro_f1", 0.91))
    assert "best so far: a, macro_f1 0.910 on validation" in text_of(found)
    unknown = replace(PLAIN, best=BestModel("a", "macro_f1", 0.91, 0.9))
    assert "baselines" not in text_of(unknown)
    lost = replace(PLAIN.best, beats_baseline=False) if PLAIN.best else None
    assert "NOT beaten" in text_of(replace(PLAIN, best=lost))


def test_models_of_other_sizes_cost_and_replaced_models() -> None:
    splits = {"a": {"train": 9, "test": 1}, "b": {"train": 9, "test": 1}, "c": {"train": 8}}
    models = KeptModels(("run", "model"), (("abc", "a"), ("def", "a")))
    found = replace(PLAIN, splits=splits, managed=True, dollars=12.5, models=models)
    text = text_of(found)
    assert "splits: 9 train, 1 test (a, b)" in text
    assert "splits: 8 train (c)" in text
    assert "cost of the jobs so far: about $12.50" in text
    assert "  abc  a" in text
    assert "not known" in text_of(replace(found, dollars=None))


def test_names_move_no_cursor() -> None:
    wild = TaskProgress("train \x1b[2J", 1, None, "steps", 0.0, None, {"a": "\x1b[31m"})
    assert "\x1b" not in describe_task(wild)
    assert describe_task(replace(wild, task="x", figures={})) == "x: 1 steps"


def test_values_for_machines_keep_the_table() -> None:
    found = with_step("train", state="to do", reasons=("to do: a", "to do: b"))
    told = found.to_json()
    assert told["columns"] == ["step", "last done", "state"]
    assert ["", "", "to do: b"] in told["rows"]
    assert told["title"] == PLAIN.url
    assert told["done"] is False
    assert "damage" not in told
