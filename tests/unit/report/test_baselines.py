"""The page says in words and in red who does not beat the baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handful import records
from handful.experiment.context import Experiment
from handful.layout import Layout
from handful.progress import Silent
from handful.records import Evaluation
from handful.report import baselines
from handful.report.gather import read_comparison
from handful.storage.open import open_store


def outcome(model: float, bar: float | None, metric: str = "macro_f1") -> records.Tested:
    def one(name: str, value: float) -> Evaluation:
        return Evaluation(name, 0, {metric: value, "accuracy": 0.5}, 10, 0.1, "hash")

    simple = [] if bar is None else [one("baseline-tfidf", bar)]
    return records.Tested(
        evaluations=(one("bert", model),),
        baselines=(*simple, one("baseline-majority", 0.1)),
        looks=1,
        made_from={},
        finished_at="",
    )


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    store: Any = open_store(str(tmp_path))
    found = Experiment(tmp_path, None, store, Layout("d"), Silent(), tmp_path)  # type: ignore[arg-type]
    told = {
        "baseline-tfidf": {"told": "TF-IDF over input_ids"},
        "baseline-majority": {"reason": "no"},
    }
    for name, about in told.items():
        store.write(found.layout.metrics(name, 0), json.dumps(about).encode())
    return found


def part_of(
    experiment: Experiment, tested: records.Tested, metric: str, goal: str
) -> baselines.Part | None:
    store, mine = experiment.store, experiment.layout
    abouts = baselines.describe_baselines(store, mine, tested)
    return baselines.part(tested, abouts, read_comparison(store, mine), metric, goal)


@pytest.mark.parametrize(
    ("model", "metric", "goal", "beats"),
    [
        (0.9, "macro_f1", "max", True),
        (0.7, "macro_f1", "max", False),  # equally good is not better
        (0.9, "cost", "min", False),
        (0.2, "cost", "min", True),
    ],
)
def test_who_beats_it(
    experiment: Experiment, model: float, metric: str, goal: str, beats: bool
) -> None:
    part = part_of(experiment, outcome(model, 0.7, metric), metric, goal)
    assert part is not None
    assert part.rows[0].beats is beats
    assert part.losers == (not beats)
    assert ("NOT" in part.rows[0].told) is not beats
    ((words, bad),) = baselines.verdict(part, "bert", 0)
    assert ("NOT beat" in words) is bad is not beats
    [tile] = baselines.tiles(part, "bert", 0)
    assert (tile.good, tile.bad) == (beats, not beats)


def test_who_is_ahead_by_chance_does_not_beat_it(experiment: Experiment) -> None:
    for beats in (True, False):
        whole = {"ranking": [{"model": "bert", "beats_baseline": beats}]}
        experiment.store.write(experiment.layout.comparison, json.dumps(whole).encode())
        part = part_of(experiment, outcome(0.9, 0.7), "macro_f1", "max")
        assert part is not None
        assert part.rows[0].beats is beats
        assert part.rows[0].ahead
        assert ("may be chance" in part.rows[0].told) is not beats
        ((words, bad),) = baselines.verdict(part, "bert", 0)
        assert ("may be chance" in words) is bad is not beats
        [tile] = baselines.tiles(part, "bert", 0)
        assert (tile.good, tile.bad) == (beats, not beats)


def test_without_a_linear_model_the_reason_is_told(experiment: Experiment) -> None:
    part = part_of(experiment, outcome(0.9, None), "macro_f1", "max")
    assert part is not None
    assert (part.bar, part.reason, part.rows[0].beats) == (None, "no", None)
    assert baselines.verdict(part, "bert", 0) == []
    assert baselines.tiles(part, "bert", 0) == []


def test_a_record_of_before_the_baselines_shows_nothing(experiment: Experiment) -> None:
    old = json.loads(outcome(0.9, 0.5).to_json())
    del old["baselines"]
    old["finished_at"] = "2026-01-01T00:00:00+00:00"
    record = records.Tested.from_json(json.dumps(old).encode())
    assert part_of(experiment, record, "macro_f1", "max") is None
