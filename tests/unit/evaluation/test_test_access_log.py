"""Every look is noted, whatever kills the run that looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handful.errors import DataError
from handful.evaluation.test_access_log import begin_look, finish_look, looks_so_far
from handful.experiment.context import Experiment
from handful.layout import Layout
from handful.progress import Silent
from handful.storage.open import open_store


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    store: Any = open_store(str(tmp_path))
    return Experiment(tmp_path, None, store, Layout("d"), Silent(), tmp_path)  # type: ignore[arg-type]


def at_work(experiment: Experiment) -> tuple[Any, Layout, Silent]:
    return experiment.store, experiment.layout, Silent()


def look(weights: str = "w", settings: str = "s") -> dict[str, Any]:
    runs = [{"model": "m", "seed": 0, "weights_hash": weights}]
    return {"runs": runs, "settings": {}, "settings_hash": settings}


def test_a_look_that_was_cut_off_after_its_results_left_is_one_look(experiment: Experiment) -> None:
    begin_look(
        *at_work(experiment), look()
    )  # the results leave, and a kill comes before the step ends
    assert [one["finished"] for one in looks_so_far(experiment.store, experiment.layout)] == [None]
    begin_look(*at_work(experiment), look())
    assert finish_look(*at_work(experiment), look()) == 1
    assert looks_so_far(experiment.store, experiment.layout)[0]["finished"] is not None


def test_a_look_that_is_finished_twice_is_one_look(experiment: Experiment) -> None:
    """By a driver that was killed before it wrote its record, and by the next one."""
    number = begin_look(*at_work(experiment), look())
    assert (number, begin_look(*at_work(experiment), look())) == (1, 1)
    assert finish_look(*at_work(experiment), look(), number) == 1
    before = looks_so_far(experiment.store, experiment.layout)
    assert finish_look(*at_work(experiment), look(), number) == 1
    assert looks_so_far(experiment.store, experiment.layout) == before
    assert begin_look(*at_work(experiment), look()) == 2, "the same once more is a look too"
    assert finish_look(*at_work(experiment), look(), 2) == 2


def test_a_look_that_was_cut_off_stays_when_another_follows(experiment: Experiment) -> None:
    begin_look(*at_work(experiment), look())
    assert finish_look(*at_work(experiment), look(weights="other")) == 2
    cut_off, done = looks_so_far(experiment.store, experiment.layout)
    assert cut_off["finished"] is None
    assert done["finished"] is not None
    assert finish_look(*at_work(experiment), look(weights="other")) == 3, (
        "the same once more is a look too"
    )


def test_a_look_after_a_verdict_is_marked_before_its_results_leave(experiment: Experiment) -> None:
    verdict = {"runs": [{"weights_hash": "w"}]}
    experiment.store.write(experiment.layout.comparison, json.dumps(verdict).encode())
    begin_look(*at_work(experiment), look(weights="later"))
    assert looks_so_far(experiment.store, experiment.layout)[0]["after_verdict"] is True
    finish_look(*at_work(experiment), look(weights="later"))
    assert looks_so_far(experiment.store, experiment.layout)[0]["after_verdict"] is True


def test_a_damaged_line_is_never_overwritten(experiment: Experiment) -> None:
    experiment.store.write(experiment.layout.looks, b"{\n")
    with pytest.raises(DataError, match="a line cannot be read"):
        begin_look(*at_work(experiment), look())
    assert experiment.store.read(experiment.layout.looks) == b"{\n"
