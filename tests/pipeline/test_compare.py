"""compare, whole: the ranking, the verdict, the baseline, the looks, and bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from handful.backends.base import Backend, Job
from handful.errors import DataError, UserError
from handful.evaluation.baseline.review import Review, from_csv, to_csv
from handful.report.gather import read_comparison
from handful.report.ranking import ranking
from handful.steps.compare import compare
from handful.steps.test import test as run_test
from tests.support.compared import MADE_FROM, Compared, answered
from tests.support.progress import Recording
from tests.support.tiny import Tiny, make


def run(one: Compared, scratch: Path, told: Recording | None = None, **train: str) -> Any:
    experiment = one.open(scratch, told, **train)
    record = compare(experiment, one.prepared, one.trained, one.tested, made_from=MADE_FROM)
    return record, json.loads((one.results / "comparison.json").read_text())


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def one(tmp_path: Path) -> Compared:
    return Compared(tmp_path / "EXP-1")


def test_the_winner_is_chosen_on_validation_and_the_verdict_is_about_test(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 400)
    one.model("good", truth, answered(truth, 0.9, 3, chance), validation=0.6)
    one.model("poor", truth, answered(truth, 0.6, 3, chance), validation=0.7)
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "poor" == whole["winner"]
    assert record.ranking == ("poor", "good")
    assert "good is better than poor" in record.verdict
    (pair,) = whole["pairs"]
    assert pair["better"] == "good"
    assert pair["p"] == pair["p_holm"] < 1e-6
    row = whole["ranking"][1]["metrics"]["accuracy"]
    assert row["low"] < row["value"] < row["high"]
    assert whole["artifacts"] == 400


def test_seeds_are_a_spread_beside_the_first(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 300)
    for seed, right in ((5, 0.9), (6, 0.7), (7, 0.8)):
        one.model("m", truth, answered(truth, right, 3, chance), seed=seed, validation=right)
    _, whole = run(one, tmp_path / "s")
    (row,) = whole["ranking"]
    assert row["seeds"] == [5, 6, 7]
    assert row["validation"]["mean"] == pytest.approx(0.8)
    assert row["validation"]["by_seed"] == {"5": 0.9, "6": 0.7, "7": 0.8}
    spread = row["spread"]["accuracy"]
    assert row["metrics"]["accuracy"]["value"] == spread["max"] > 0.85
    assert spread["min"] < spread["mean"] < spread["max"]
    assert spread["sd"] == pytest.approx(0.1, abs=0.03)
    assert whole["pairs"] == []
    assert whole["beats_baseline"] is None
    assert "no choice between models was made" in whole["verdict"]
    assert row["training_seconds"] == 180
    assert row["documents_per_second"] == 150


def test_the_same_results_give_the_same_comparison(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 100)
    one.model("a", truth, answered(truth, 0.9, 3, chance))
    one.model("b", truth, answered(truth, 0.8, 3, chance))
    _, first = run(one, tmp_path / "s")
    _, again = run(one, tmp_path / "s")
    assert first == again


def test_holm_corrects_over_all_pairs(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 300)
    for number, right in enumerate((0.9, 0.85, 0.8, 0.5)):
        one.model(f"m{number}", truth, answered(truth, right, 3, chance), validation=right)
    _, whole = run(one, tmp_path / "s")
    assert len(whole["pairs"]) == 6
    raw = sorted(pair["p"] for pair in whole["pairs"])
    least = min(whole["pairs"], key=lambda pair: pair["p"])
    assert least["p_holm"] == pytest.approx(6 * raw[0])
    assert all(pair["p"] <= pair["p_holm"] <= 1 for pair in whole["pairs"])


# --- baselines -----------------------------------------------------------------------------------


def test_a_baseline_is_a_row_and_whoever_does_not_beat_it_is_told_so(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 400)
    one.model("good", truth, answered(truth, 0.9, 3, chance), validation=0.9)
    one.model("poor", truth, answered(truth, 0.7, 3, chance), validation=0.7)
    one.baseline("tfidf", truth, answered(truth, 0.72, 3, chance), {"macro_f1": 0.72})
    one.baseline("majority", truth, np.zeros(400, int), {"macro_f1": 0.16})
    told = Recording()
    record, whole = run(one, tmp_path / "s", told)
    assert record.ranking == ("good", "baseline-tfidf", "poor", "baseline-majority")
    assert record.winner == "good"
    assert record.beats_baseline is True
    assert [row["baseline"] for row in whole["ranking"]] == [False, True, False, True]
    assert [row["beats_baseline"] for row in whole["ranking"]] == [True, None, False, None]
    assert whole["best_baseline"] == "baseline-tfidf"
    assert any("poor does NOT beat the baseline" in warning for warning in told.warnings)
    pairs = {frozenset((pair["first"], pair["second"])) for pair in whole["pairs"]}
    assert frozenset(("good", "baseline-tfidf")) in pairs
    assert frozenset(("good", "baseline-majority")) not in pairs


def test_a_winner_that_loses_to_the_baseline_says_so_first(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 400)
    one.model("model", truth, answered(truth, 0.6, 3, chance), validation=0.6)
    one.baseline("tfidf", truth, answered(truth, 0.8, 3, chance), {"macro_f1": 0.8})
    record, whole = run(one, tmp_path / "s")
    assert record.winner == "model"
    assert record.beats_baseline is False
    assert (
        "model does NOT beat the baseline! baseline-tfidf is better than model"
        in (whole["verdict"])
    )


def test_no_difference_from_a_baseline_is_not_beating_it(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 100)
    one.model("model", truth, answered(truth, 0.8, 3, chance), validation=0.9)
    one.baseline("tfidf", truth, answered(truth, 0.8, 3, chance))
    record, _ = run(one, tmp_path / "s")
    assert record.beats_baseline is False


def test_a_baseline_without_the_metric_stands_last(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 100)
    one.model("model", truth, answered(truth, 0.8, 3, chance), validation=0.1)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance), {"accuracy": 0.99})
    record, whole = run(one, tmp_path / "s")
    assert record.ranking == ("model", "baseline-tfidf")
    assert whole["ranking"][1]["validation"]["mean"] is None


def test_a_new_baseline_makes_the_comparison_out_of_date(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    from handful.experiment.fingerprint import difference
    from handful.pipeline.steps import STEPS

    step = next(step for step in STEPS if step.name == "compare")
    truth = chance.integers(0, 3, 50)
    one.model("model", truth, answered(truth, 0.8, 3, chance))
    experiment = one.open(tmp_path / "s")
    records: Any = {"prepare": one.prepared, "train": one.trained, "test": one.tested}
    before = step.made_from(experiment, records)
    one.baseline("tfidf", truth, answered(truth, 0.5, 3, chance))
    after = step.made_from(experiment, records)
    assert difference(before, after) == "the results of baseline-tfidf is new"
    assert step.made_from(experiment, records) == after


# --- looks ---------------------------------------------------------------------------------------


def test_looks_are_counted_and_those_after_a_verdict_are_marked(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    from handful.evaluation.test_access_log import after_verdict

    truth = chance.integers(0, 3, 50)
    one.model("model", truth, answered(truth, 0.8, 3, chance))
    experiment = one.open(tmp_path / "s")
    assert not after_verdict(experiment.store, experiment.layout, ["anything"])
    looks = one.results / "evaluation" / "looks.jsonl"
    looks.write_text(json.dumps({"when": "x", "runs": []}) + "\n")
    _, whole = run(one, tmp_path / "s")
    assert whole["looks"] == {"count": 1, "after_verdict": 0}
    assert (
        "The test split was looked at once, and never at other models after a verdict."
        in whole["remarks"]
    )
    assert not after_verdict(experiment.store, experiment.layout, [one.runs[0].weights_hash])
    assert after_verdict(
        experiment.store, experiment.layout, [one.runs[0].weights_hash, "other weights"]
    )
    with looks.open("a") as file:
        file.write(json.dumps({"when": "y", "runs": [], "after_verdict": True}) + "\n")
    record, whole = run(one, tmp_path / "s")
    assert record.looks_after_verdict == 1
    assert whole["looks"] == {"count": 2, "after_verdict": 1}
    assert "One look came after a verdict" in whole["remarks"][0]


class Answering(Backend):
    """A backend whose `test` job is done already."""

    def __init__(self, one: Compared) -> None:
        self.evaluations = [asdict(evaluation) for evaluation in one.evaluations]

    def run(self, job: Job, progress: Any) -> Any:
        return {"evaluations": self.evaluations, "baselines": []}


def test_test_itself_marks_a_look_after_a_verdict(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 50)
    one.model("model", truth, answered(truth, 0.8, 3, chance))
    told = Recording()
    experiment = one.open(tmp_path / "s", told)

    def look() -> dict[str, Any]:
        run_test(experiment, one.prepared, one.trained, Answering(one), made_from=MADE_FROM)
        lines = (one.results / "evaluation/looks.jsonl").read_text().splitlines()
        return dict(json.loads(lines[-1]))

    assert "after_verdict" not in look()
    run(one, tmp_path / "s")
    assert "after_verdict" not in look(), "the same weights again"
    assert not told.warnings
    one.runs[0] = replace(one.runs[0], weights_hash="trained once more")
    assert look()["after_verdict"] is True
    assert "came after a verdict" in told.warnings[0]
    _, whole = run(one, tmp_path / "s")
    assert whole["looks"] == {"count": 3, "after_verdict": 1}


# --- bad input -----------------------------------------------------------------------------------


def test_after_the_verdict_the_winner_judges_the_labels_of_the_test_split(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    """Six labels were written down wrong; what was said of the other splits stays."""
    truth = chance.integers(0, 3, 300)
    wrong = np.array([5, 77, 120, 180, 240, 299])
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + 1) % 3
    one.model("good", labels, truth, validation=0.9)
    one.model("poor", labels, (truth + 1) % 3, validation=0.2)
    experiment = one.open(tmp_path / "s")
    mine = experiment.layout
    run(one, tmp_path / "s")
    assert not (one.results.parents[1] / mine.label_review).exists(), "test has begun none"
    of_train = Review("t-1", "letter", "report", "0.010000", "baseline", "train", "x")
    experiment.store.write(mine.label_review, to_csv([of_train]))
    note = {"source": "baseline", "splits": ["train"], "artifacts": 9, "judged": 9}
    experiment.store.write(mine.label_review_notes, json.dumps([note]).encode())
    run(one, tmp_path / "s")
    experiment = one.open(tmp_path / "s")  # the one of before knows what it wrote itself
    found = from_csv(experiment.store.read(mine.label_review))
    assert {row.artifact_id for row in found} == {"t-1", *(f"a-{n:05d}" for n in wrong)}
    for row in found:
        if row.split == "test":
            number = int(row.artifact_id[2:])
            assert row.source == "model"
            assert row.label == one.labels[labels[number]]
            assert row.suggested_label == one.labels[truth[number]]
    notes = json.loads(experiment.store.read(mine.label_review_notes))
    assert [(one["splits"], one.get("suspects")) for one in notes] == [
        (["test"], 6),
        (["train"], None),
    ]


def test_one_label_only_in_the_predictions(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 60)
    one.model("stuck", truth, np.ones(60, int))
    one.model("fine", truth, answered(truth, 0.8, 3, chance))
    _, whole = run(one, tmp_path / "s")
    assert any(text.startswith("stuck gives one label only") for text in whole["remarks"])
    row = next(row for row in whole["ranking"] if row["model"] == "stuck")
    assert row["metrics"]["mcc"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_labels_without_test_examples_and_with_few(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = np.array([0] * 40 + [1] * 5)
    one.model("a", truth, answered(truth, 0.8, 3, chance))
    _, whole = run(one, tmp_path / "s")
    assert whole["labels_without_examples"] == ["report"]
    assert any("No test artifact bears the label report" in text for text in whole["remarks"])
    assert any("Fewer than 10 test artifacts bear the label letter" in t for t in whole["remarks"])


def test_only_the_artifacts_that_all_were_tested_on_count(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 60)
    ids = [f"a-{number}" for number in range(60)]
    answers = answered(truth, 0.8, 3, chance)
    one.model("all", truth, answers, ids=ids)
    turned = list(reversed(range(10, 60)))
    one.model("some", truth[turned], answers[turned], ids=[ids[n] for n in turned])
    _, whole = run(one, tmp_path / "s")
    assert whole["artifacts"] == 50
    assert any("50 artifacts that all were tested on" in text for text in whole["remarks"])
    (pair,) = whole["pairs"]
    assert pair["only_first"] == pair["only_second"] == 0, "rows were matched by artifact"
    assert pair["p"] == 1


def test_nothing_in_common(one: Compared, chance: np.random.Generator, tmp_path: Path) -> None:
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth, ids=[f"a-{n}" for n in range(20)])
    one.model("b", truth, truth, ids=[f"b-{n}" for n in range(20)])
    with pytest.raises(DataError, match=r"no artifact was tested with all .* \(a 20, b 20\)"):
        run(one, tmp_path / "s")


def test_a_metric_that_is_not_there(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth)
    with pytest.raises(UserError, match="no 'kappa' on validation") as error:
        run(one, tmp_path / "s", METRIC="kappa")
    assert "macro_f1" in str(error.value)


def test_the_users_own_metric_chooses_but_has_no_interval(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 50)
    one.model("a", truth, answered(truth, 0.8, 3, chance))
    one.model("b", truth, answered(truth, 0.8, 3, chance))
    one.runs[:] = [
        replace(run, metrics={"own": value})
        for run, value in zip(one.runs, (0.3, 0.2), strict=True)
    ]
    record, whole = run(one, tmp_path / "s", METRIC="own", METRIC_GOAL="min")
    assert record.winner == "b"
    assert whole["ranking"][0]["own_metrics"] == {"own": 0.25}
    assert any(text.startswith("own is the experiment's own") for text in whole["remarks"])


@pytest.mark.parametrize("column", ["logits", "probabilities"])
def test_predictions_that_are_no_numbers(
    one: Compared, chance: np.random.Generator, tmp_path: Path, column: str
) -> None:
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth, seed=3)
    path = one.results / "evaluation/a/seed-3/predictions.parquet"
    table = pl.read_parquet(path)
    values = table[column].to_list()
    values[4] = [float("nan"), 1.0, 2.0]
    table.with_columns(pl.Series(column, values)).write_parquet(path)
    with pytest.raises(DataError, match=rf"a, seed 3 gave {column} .* for 1 of 20") as error:
        run(one, tmp_path / "s")
    assert "a-00004" in str(error.value)


def test_a_label_that_got_no_chance_at_all(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    """A logit of -inf is no fault; only the log-loss is not defined then."""
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth)
    logits = np.where(np.eye(3)[(truth + 1) % 3] > 0, 1.0, -np.inf)
    one.answers("a", truth, logits)
    _, whole = run(one, tmp_path / "s")
    assert whole["ranking"][0]["metrics"]["log_loss"]["value"] is None
    assert whole["ranking"][0]["metrics"]["accuracy"]["value"] == 0


@pytest.mark.parametrize("fault", ["damaged", "twice", "unknown label", "short row", "empty"])
def test_predictions_that_cannot_be_used(
    one: Compared, chance: np.random.Generator, tmp_path: Path, fault: str
) -> None:
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth)
    path = one.results / "evaluation/a/seed-0/predictions.parquet"
    table = pl.read_parquet(path)
    if fault == "damaged":
        path.write_bytes(b"PAR1")
    if fault == "twice":
        pl.concat([table, table.head(1)]).write_parquet(path)
    if fault == "unknown label":
        table.with_columns(prediction=pl.lit("novel")).write_parquet(path)
    if fault == "short row":
        table.with_columns(logits=pl.col("logits").list.head(2)).write_parquet(path)
    if fault == "empty":
        table.head(0).write_parquet(path)
    with pytest.raises(DataError, match=r"predictions\.parquet"):
        run(one, tmp_path / "s")


def test_a_baseline_of_another_dataset(
    one: Compared, chance: np.random.Generator, tmp_path: Path
) -> None:
    truth = chance.integers(0, 3, 20)
    one.model("a", truth, truth)
    one.baseline("tfidf", (truth + 1) % 3, truth)
    with pytest.raises(DataError, match="a-00000 has two labels"):
        run(one, tmp_path / "s")


# --- the report's part ---------------------------------------------------------------------------


def test_the_report_has_no_ranking_without_a_comparison(one: Compared, tmp_path: Path) -> None:
    experiment = one.open(tmp_path / "s", MODEL_NAMES="./m")
    assert ranking(read_comparison(experiment.store, experiment.layout)) is None


@pytest.mark.parametrize(
    ("better", "by_metric", "p", "told"),
    [
        ("good", "good", 0.001, "good"),
        (None, None, 0.5, "no real difference"),
        (None, "poor", 0.5, "poor, by macro_f1 only"),
        (None, "poor", 0.001, "each in its own way"),
    ],
)
def test_the_report_says_who_is_better(
    one: Compared,
    chance: np.random.Generator,
    tmp_path: Path,
    better: str | None,
    by_metric: str | None,
    p: float,
    told: str,
) -> None:
    truth = chance.integers(0, 3, 100)
    one.model("good", truth, answered(truth, 0.9, 3, chance))
    one.model("poor", truth, answered(truth, 0.6, 3, chance))
    _, whole = run(one, tmp_path / "s")
    whole["pairs"][0].update(better=better, better_by_metric=by_metric, p_holm=p)
    (one.results / "comparison.json").write_text(json.dumps(whole))
    shown = ranking(whole)
    assert shown is not None
    assert shown["pairs"][0]["better"] == told


# --- a whole experiment, from labels to the report -----------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    tiny = make(tmp_path_factory.mktemp("whole") / "tiny", artifacts=60)
    shutil.copytree(tiny.root / "model", tiny.root / "other")
    tiny.settings(MODEL_NAMES="../model, ../other", EPOCHS="1")
    done = tiny.handful("run", "--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ranking on 12 test artifacts" in done.stdout
    return tiny


def test_a_run_compares_all_models_and_seeds(finished: Tiny) -> None:
    results = finished.store / "results/full_dataset"
    whole = json.loads((results / "comparison.json").read_text())
    assert whole["winner"] == "other"
    models = [row for row in whole["ranking"] if not row["baseline"]]
    assert [row["seeds"] for row in models] == [[0, 1], [0, 1]]
    baselines = {row["model"] for row in whole["ranking"]} - {row["model"] for row in models}
    probes = {"baseline-probe--model", "baseline-probe--other"}
    assert baselines == {"baseline-tfidf", "baseline-majority"} | probes
    assert len(whole["runs"]) == 4
    for row in models:
        evaluation = results / "evaluation" / row["model"] / "seed-0"
        told = json.loads((evaluation / "metrics.json").read_text())["intervals"]
        for name in ("accuracy", "macro_f1", "weighted_recall", "mcc", "log_loss"):
            # The ranking's interval, too, is the one that the model's own page shows.
            for part in ("value", "low", "high"):
                there = row["metrics"][name][part]
                assert there == pytest.approx(told[name][part], abs=1e-9), (name, part)
    for row in models:
        assert row["parameters"] > 1_000
        assert row["training_seconds"] > 0
        assert row["documents_per_second"] > 0
    again = finished.handful(
        "compare", "--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=6"
    )
    assert again.returncode == 0, again.stderr
    assert "compare: up to date" in again.stdout


@pytest.mark.slow
def test_the_report_shows_ranking_baseline_and_pairs(finished: Tiny, tmp_path: Path) -> None:
    tiny = Tiny(Path(shutil.copytree(finished.root, tmp_path / "copy")))
    evaluation = tiny.store / "results/full_dataset/evaluation"
    shutil.copy(
        evaluation / "other/seed-0/predictions.parquet", evaluation / "baseline-tfidf/seed-0"
    )
    values = {"baseline-tfidf": 0.9, "baseline-probe--model": 0.0, "baseline-probe--other": 0.0}
    for name, value in values.items():
        path = evaluation / name / "seed-0/metrics.json"
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "validation": {"macro_f1": value}}))
    record = tiny.store / "results/full_dataset/tested.json"  # as of before there were checksums
    kept = json.loads(record.read_text())
    record.write_text(json.dumps({k: kept[k] for k in kept.keys() - {"files", "checksum"}}))
    sets = ("--set", "train.SEEDS=0, 1", "--set", "train:../other.EPOCHS=6")
    done = tiny.handful("run", *sets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compare: the results of baseline-probe--model changed" in done.stdout  # the first one
    assert "test: up to date" in done.stdout
    page = (tiny.store / "results/full_dataset/report.html").read_text()
    part = page[page.index('<section id="ranking"') :].partition("</section>")[0]
    assert "other is chosen: the best of 2 models and 2 probes by macro_f1" in part
    assert '<p class="wrong" role="note">other does NOT beat the baseline!' in part
    assert "does not beat baseline-tfidf" in part
    assert "(baseline)" in part
    assert "No real difference between" in part
    assert "The test split was looked at once, and never at other models after a verdict." in part
    assert page.index('id="ranking"') < page.index('<section id="data"')
