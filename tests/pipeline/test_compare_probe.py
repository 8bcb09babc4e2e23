"""compare with probes: who may win, what fine-tuning adds, and nothing new without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handful.evaluation.baseline.review import from_csv, to_csv
from handful.steps.compare import compare
from handful.steps.compare.across import Side, across
from tests.support.compared import MADE_FROM, Compared, answered, split_ledger
from tests.support.progress import Recording


def run(one: Compared, scratch: Path, told: Recording | None = None, **train: str) -> Any:
    experiment = one.open(scratch, told, **train)
    record = compare(experiment, one.prepared, one.trained, one.tested, made_from=MADE_FROM)
    return record, json.loads((one.results / "comparison.json").read_text())


def rows(whole: Any) -> dict[str, Any]:
    return {row["model"]: row for row in whole["ranking"]}


def pairs(whole: Any) -> set[frozenset[str]]:
    return {frozenset((pair["first"], pair["second"])) for pair in whole["pairs"]}


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def truth(chance: np.random.Generator) -> np.ndarray:
    return chance.integers(0, 3, 400)


@pytest.fixture
def one(tmp_path: Path) -> Compared:
    return Compared(tmp_path / "EXP-1")


def test_a_probe_that_loses_is_a_baseline_and_the_gain_over_it_is_told(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.9, 3, chance), validation=0.9)
    one.probe("m", truth, answered(truth, 0.7, 3, chance), 0.7)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance), {"macro_f1": 0.5})
    told = Recording()
    record, whole = run(one, tmp_path / "s", told)
    assert record.winner == "m" == whole["winner"]
    assert record.beats_baseline is True
    assert record.ranking == ("m", "baseline-probe--m", "baseline-tfidf")
    assert whole["best_baseline"] == "baseline-probe--m"
    assert whole["best_simple_baseline"] == "baseline-tfidf"
    found = rows(whole)
    assert found["baseline-probe--m"]["baseline"] is True
    assert found["baseline-probe--m"]["probe_of"] == "m"
    assert found["baseline-probe--m"]["beats_baseline"] is None
    assert found["m"]["beats_simple_baseline"] is True
    added = found["m"]["over_probe"]
    assert added["better"] is True
    assert added["metric"]["low"] < added["metric"]["value"] < added["metric"]["high"]
    values = [found[name]["metrics"]["macro_f1"]["value"] for name in ("m", "baseline-probe--m")]
    assert added["metric"]["value"] == pytest.approx(values[0] - values[1])
    assert "m is chosen: the best of 1 model and 1 probe by macro_f1" in record.verdict
    assert (
        f"fine-tuning brings m {added['metric']['value']:+.3f} macro_f1 on test (95 % interval "
        f"{added['metric']['low']:+.3f} to {added['metric']['high']:+.3f}): a real gain."
    ) in record.verdict
    assert not told.warnings


def test_a_probe_that_wins_is_chosen_and_held_against_the_other_baselines(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.7, 3, chance), validation=0.7)
    one.probe("m", truth, answered(truth, 0.9, 3, chance), 0.9)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance), {"macro_f1": 0.5})
    told = Recording()
    record, whole = run(one, tmp_path / "s", told)
    assert record.winner == "baseline-probe--m" == whole["winner"]
    assert record.beats_baseline is True, "it beats TF-IDF, not itself"
    found = rows(whole)
    assert found["baseline-probe--m"]["winner"] is True
    assert found["baseline-probe--m"]["beats_baseline"] is True
    assert found["m"]["beats_baseline"] is False
    assert found["m"]["beats_simple_baseline"] is True
    assert found["m"]["over_probe"]["better"] is False
    assert found["m"]["over_probe"]["metric"]["high"] < 0
    assert record.verdict.startswith(
        "baseline-probe--m is chosen: the probe of m is best on validation by macro_f1 (0.900), "
        "and fine-tuning adds nothing there (m reaches 0.700)."
    )
    assert "a real loss" in record.verdict
    assert "baseline-probe--m beats the best of the other baselines. " in record.verdict
    assert told.warnings == ["m does NOT beat the baseline, baseline-probe--m."]


def test_a_probe_that_wins_may_not_beat_the_words(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    """TF-IDF is better on validation, but it cannot be chosen."""
    one.model("m", truth, answered(truth, 0.6, 3, chance), validation=0.6)
    one.probe("m", truth, answered(truth, 0.7, 3, chance), 0.7)
    one.baseline("tfidf", truth, answered(truth, 0.9, 3, chance), {"macro_f1": 0.9})
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "baseline-probe--m"
    assert record.beats_baseline is False
    assert whole["best_baseline"] == "baseline-tfidf" == whole["best_simple_baseline"]
    assert "baseline-probe--m does NOT beat the baseline! baseline-tfidf is better" in (
        record.verdict
    )


def test_a_probe_without_any_other_baseline_has_nothing_to_beat(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.6, 3, chance), validation=0.6)
    one.probe("m", truth, answered(truth, 0.7, 3, chance), 0.7)
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "baseline-probe--m"
    assert record.beats_baseline is None
    assert whole["best_simple_baseline"] is None
    assert rows(whole)["m"]["beats_simple_baseline"] is None


def test_a_gain_by_chance_is_called_so(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    same = answered(truth, 0.8, 3, chance)
    one.model("m", truth, same, validation=0.8)
    one.probe("m", truth, same, 0.79)
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "m"
    assert rows(whole)["m"]["over_probe"] == {
        "metric": {"value": 0.0, "low": 0.0, "high": 0.0},
        "better": None,
    }
    assert "which may be chance" in record.verdict


def test_a_tie_on_validation_goes_to_the_model(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.8, 3, chance), validation=0.8)
    one.probe("m", truth, answered(truth, 0.8, 3, chance), 0.8)
    record, _ = run(one, tmp_path / "s")
    assert record.ranking == ("m", "baseline-probe--m")


def test_a_metric_that_is_better_when_lower(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.5, 3, chance), validation=0.9)
    one.probe("m", truth, answered(truth, 0.9, 3, chance), 0.8)
    record, whole = run(one, tmp_path / "s", METRIC_GOAL="min")
    assert record.winner == "baseline-probe--m"
    added = rows(whole)["m"]["over_probe"]
    assert added["metric"]["value"] < 0
    assert added["better"] is None, "right less often, but better by the metric: no verdict"


def test_two_models_with_two_probes(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    for name, right in (("a", 0.9), ("b", 0.7)):
        one.model(name, truth, answered(truth, right, 3, chance), validation=right)
        one.probe(name, truth, answered(truth, right - 0.15, 3, chance), right - 0.15)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance), {"macro_f1": 0.5})
    record, whole = run(one, tmp_path / "s")
    assert record.ranking == (
        *("a", "baseline-probe--a", "b", "baseline-probe--b", "baseline-tfidf"),
    )
    assert pairs(whole) == {
        frozenset(two)
        for two in (
            ("a", "b"),
            ("a", "baseline-probe--a"),
            ("b", "baseline-probe--a"),  # the best baseline
            ("b", "baseline-probe--b"),
            ("a", "baseline-tfidf"),
            ("b", "baseline-tfidf"),
        )
    }
    found = rows(whole)
    assert [found[name]["over_probe"]["better"] for name in ("a", "b")] == [True, True]
    assert found["b"]["beats_baseline"] is False
    assert "the best of 2 models and 2 probes" in record.verdict
    assert "b does NOT beat the baseline, baseline-probe--a." in record.verdict
    _, again = run(one, tmp_path / "s")
    assert again == whole


def test_the_screen_has_the_gain_only_where_there_are_probes(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    from handful.steps.compare.words import COLUMNS, OVER_PROBE, table_rows

    one.model("m", truth, answered(truth, 0.9, 3, chance), validation=0.9)
    one.model("n", truth, answered(truth, 0.8, 3, chance), validation=0.8)
    _, whole = run(one, tmp_path / "s")
    assert table_rows(whole["ranking"], "macro_f1")[0] == COLUMNS
    one.probe("m", truth, answered(truth, 0.7, 3, chance), 0.7)
    _, whole = run(one, tmp_path / "s")
    columns, cells = table_rows(whole["ranking"], "macro_f1")
    assert columns == (*COLUMNS, OVER_PROBE)
    by_name = {str(row[0]): str(row[-1]) for row in cells}
    assert by_name["m (chosen)"].startswith("+0.")
    assert by_name["n"] == "", "it has no probe"
    assert by_name["baseline-probe--m"] == ""


def test_without_probes_nothing_is_new(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    one.model("m", truth, answered(truth, 0.9, 3, chance), validation=0.9)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance))
    _, whole = run(one, tmp_path / "s")
    assert "best_simple_baseline" not in whole
    new = {"over_probe", "probe_of", "beats_simple_baseline"}
    assert all(new.isdisjoint(row) for row in whole["ranking"])


def test_a_stale_probe_is_not_compared(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    """Of a model that is no longer in MODEL_NAMES, with an answer of another test split."""
    one.model("m", truth, answered(truth, 0.9, 3, chance), validation=0.9)
    run(one, tmp_path / "s")
    before = (one.results / "comparison.json").read_bytes()
    one.probe("gone", (truth + 1) % 3, truth, 0.99)
    run(one, tmp_path / "s")
    assert (one.results / "comparison.json").read_bytes() == before


def test_a_winning_probe_judges_the_labels_of_the_test_split(
    one: Compared, truth: np.ndarray, tmp_path: Path
) -> None:
    labels = truth.copy()
    labels[[5, 77]] = (truth[[5, 77]] + 1) % 3
    one.model("m", labels, (truth + 1) % 3, validation=0.2)
    one.probe("m", labels, truth, 0.9)
    experiment = one.open(tmp_path / "s")
    experiment.store.write(experiment.layout.label_review, to_csv([]))
    run(one, tmp_path / "s")
    found = from_csv(one.open(tmp_path / "s").store.read(experiment.layout.label_review))
    assert {row.artifact_id for row in found} == {"a-00005", "a-00077"}


def test_a_winning_probe_stands_for_its_experiment_among_others(
    one: Compared, truth: np.ndarray, chance: np.random.Generator, tmp_path: Path
) -> None:
    other = Compared(tmp_path / "EXP-2")
    sides = []
    for each, right in ((one, 0.9), (other, 0.6)):
        each.model("m", truth, answered(truth, 0.5, 3, chance), validation=0.5)
        each.probe("m", truth, answered(truth, right, 3, chance), right)
        split_ledger(each, ["t-1"], [f"a-{number:05d}" for number in range(400)])
        record, _ = run(each, tmp_path / "s")
        experiment = each.open(tmp_path / "s")
        sides.append(Side(experiment, each.prepared, each.tested, record))
    found = across(sides)
    assert [row["model"] for row in found["ranking"]] == [
        *("EXP-1/baseline-probe--m", "EXP-2/baseline-probe--m"),
    ]
    assert found["pairs"][0]["better"] == "EXP-1/baseline-probe--m"
