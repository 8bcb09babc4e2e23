"""What `check` reckons: work, time and disk by what was measured; and problems by their time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handful.cli.screens.plan import describe_span, plan_lines
from handful.errors import DataError, Full, HandfulError, Interrupted, UserError
from handful.experiment.context import Experiment, open_experiment
from handful.pipeline.check import faults
from handful.pipeline.check.estimate import (
    Reckoning,
    Rehearsed,
    RehearsedModel,
    by_jobs,
    describe_bytes,
)
from handful.pipeline.check.faults import disk_needs, foresee_faults
from handful.pipeline.check.plan import (
    CheckPlan,
    ForeseenProblem,
    PlannedWork,
    ProblemLog,
    Span,
    sort_problems,
)
from handful.pipeline.step import State
from handful.pipeline.steps import STEP_NAMES
from handful.progress import Silent
from handful.records import Prepared, Reconciled, Record, Reported
from handful.sagemaker.jobs.costs.durations import Pace
from handful.sagemaker.jobs.costs.forecast import Forecast
from handful.storage.lock import hold_lock
from tests.support.progress import Recording

SETTINGS = """\
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = ./files
FILES_FROM_PROD = raw.txt
[prepare]
SPLIT = 0.8/0.1/0.1
NUM_PROCESSES = 2
[train]
MODEL_NAMES = ./a, ./b
SEEDS = 0, 1, 2
EPOCHS = 4
"""
DONE: Mapping[str, Any] = {"made_from": {}, "finished_at": "2026-01-01T00:00:00+00:00"}
MODEL = RehearsedModel(
    encode_seconds=(0.01, 0.03),
    row_bytes=Span(500, 1000),
    pace=Pace(10.0, 1, "a step of 3 examples here, on cpu"),
    parameters=1_000_000,
    checkpoint_bytes=12_000_000,
    checkpoints_at_once=4,
)
SEEN = Rehearsed(
    artifacts=10_000,
    word="about ",
    artifact_bytes=2_000,
    copy_seconds=0.1,
    copied=9,
    start_seconds=4.0,
    smaller=0.5,
    models={"a": MODEL, "b": MODEL},
)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    folder = tmp_path / "EXP-1"
    folder.mkdir()
    (folder / "settings.ini").write_text(SETTINGS)
    (tmp_path / "scratch").mkdir()
    return open_experiment(folder, (), Silent(), tmp_path / "scratch")


def overridden(experiment: Experiment, *overrides: str) -> Experiment:
    return open_experiment(experiment.directory, overrides, Silent(), experiment.scratch)


def to_do(**done: Record) -> list[State]:
    """Nothing is done, but the steps for which there is a record."""
    return [
        State(step, done.get(step), () if step in done else ("not done yet",))
        for step in STEP_NAMES
    ]


def works(experiment: Experiment, seen: Rehearsed = SEEN, **more: Any) -> dict[str, PlannedWork]:
    states = more.pop("states", to_do())
    found = Reckoning(experiment.settings, seen, states, **more).work()
    return {one.step: one for one in found}


def test_every_step_of_a_first_run(experiment: Experiment) -> None:
    found = works(experiment)
    assert list(found) == list(STEP_NAMES)
    assert found["reconcile"].work == "copy about 10,000 artifacts, 20 MB"
    assert found["reconcile"].store_bytes == Span(16e6, 25e6)
    assert found["prepare"].work == "encode about 10,000 documents for 2 models"
    assert found["prepare"].store_bytes == Span(10e6, 20e6)
    assert found["tune"].work == "nothing: no [tune] TRIALS"
    assert found["train"].work == "2 models x 3 seeds on about 8,000 documents, 4 epochs"
    assert (
        found["test"].work
        == "try 6 trained models and the baselines on about 1,000 documents, once"
    )
    assert found["compare"].seconds is None
    assert all(one.reasons for one in found.values())


def test_times_are_ranges_about_what_was_measured(experiment: Experiment) -> None:
    found = works(experiment)
    copies = found["reconcile"].seconds
    assert copies == Span(0.1 * 10_000 / 8, 0.1 * 10_000 + 4)
    encoding = found["prepare"].seconds
    # Two models, two workers; documents are half as large as those that were tried.
    assert encoding is not None
    assert encoding.low == pytest.approx(10_000 * 2 * 0.02 * 0.5 / 2)
    assert encoding.high == pytest.approx(1.5 * 10_000 * 2 * 0.03 / 2 + 8 + 1)
    training = found["train"].seconds
    assert training is not None
    examples = 4 * (8_000 + 1_000 / 3)
    assert training.high == pytest.approx(6 * (examples / 10 + 14))
    assert training.low == pytest.approx(6 * (examples / 10 * 0.5 / 2 + 2))
    assert found["train"].source == "a step of 3 examples here, on cpu"


def test_an_earlier_training_knows_more(experiment: Experiment) -> None:
    paces = {name: Pace(100.0, 1, "an earlier training") for name in "ab"}
    found = works(experiment, paces=paces)["train"]
    examples = 4 * (8_000 + 1_000 / 3)
    assert found.source == "an earlier training"
    assert found.seconds is not None
    assert found.seconds.high == pytest.approx(6 * (1.5 * examples / 100 + 14))
    assert found.seconds.low == pytest.approx(6 * (0.7 * examples / 100 + 2))


def test_the_disk_that_training_takes(experiment: Experiment) -> None:
    found = works(experiment)["train"]
    finals = 2 * 3 * 4_000_000
    # Trainings go one after the other: of checkpoints only one's are there.
    assert found.store_bytes == Span(12e6 + finals, 48e6 + finals)
    assert found.scratch_bytes == Span(12e6, 48e6)
    half = overridden(experiment, "train.FINAL_DTYPE=bf16")
    assert works(half)["train"].store_bytes.low == 12e6 + finals / 2


def test_what_is_done_counts(experiment: Experiment) -> None:
    reconciled = Reconciled("2026-01-01T00:00:00+00:00", "h", {}, {"x": 9}, 9, 9, **DONE)
    rows = {"a": {"train": 700, "validation": 100, "test": 100}}
    prepared = Prepared({"x": 0}, rows, {}, {}, {}, "h", seconds=20.0, **DONE)
    reported = Reported("k", "u", 1, seconds=2.0, **DONE)
    states = to_do(reconcile=reconciled, prepare=prepared)
    states[-1] = State("report", reported, ("compare has to run first",))
    found = works(experiment, states=states)
    assert found["reconcile"] == PlannedWork("reconcile", (), "nothing: up to date", None)
    assert found["train"].work.startswith("2 models x 3 seeds on about 700 documents")
    assert found["report"].seconds == Span(0.7 * 2, 1.5 * 2)
    assert found["report"].source == "the last report"
    # What prepare took for 900 documents it takes for these, in proportion.
    states[1] = State("prepare", prepared, ("encode_data in functions.py changed",))
    again = works(experiment, states=states)["prepare"].seconds
    assert again is not None
    assert again.high == pytest.approx(1.5 * 20 * 10_000 / 900)
    states[0] = State("reconcile", reconciled, ("[production] FILES_URL changed",))
    copies = works(experiment, states=states)["reconcile"]
    assert copies.store_bytes == Span(0, 9 * 2_000)


def test_trials_are_counted_and_their_time_is_kept_to(experiment: Experiment) -> None:
    one = works(experiment)["train"].seconds
    assert one is not None
    rate = "tune.LEARNING_RATE=log 1e-5 1e-3"
    found = works(overridden(experiment, "tune.TRIALS=20", rate))["tune"]
    assert found.work == "up to 20 trials for 2 models"
    assert found.seconds is not None
    assert found.seconds.high == pytest.approx(20 * one.high / 3)
    assert found.seconds.low < found.seconds.high / 4
    timed = works(overridden(experiment, "tune.TUNE_TIME=10m", rate))["tune"].seconds
    assert timed is not None
    assert timed.low == 2 * 600
    assert timed.high == pytest.approx(2 * 600 + one.high / 3)
    ranged = "tune.EPOCHS=int 2 8"
    longer = works(overridden(experiment, "tune.TRIALS=20", ranged))["tune"].seconds
    assert longer is not None
    assert longer.high > 1.9 * found.seconds.high


def test_a_bounded_sample_and_a_partial_dataset(experiment: Experiment) -> None:
    few = overridden(experiment, "prepare.MAX_ARTIFACTS=500")
    seen = Rehearsed(**{**vars(SEEN), "word": "at least "})
    found = works(few, seen)
    assert found["reconcile"].work == "copy at least 10,000 artifacts, 20 MB"
    assert found["prepare"].work == "encode at least 500 documents for 2 models"


def test_what_nobody_knows_is_not_told(experiment: Experiment) -> None:
    found = works(experiment, Rehearsed())
    assert all(one.seconds is None for one in found.values())
    assert all(one.store_bytes.high == 0 for one in found.values())
    assert "unknown number" in found["prepare"].work
    plan = CheckPlan(tuple(found.values()), (), None, ())
    assert plan.seconds is None
    assert "time: not known yet" in [line.text for line in plan_lines(plan)]


def test_jobs_have_times_of_their_own() -> None:
    work = PlannedWork("train", ("not done yet",), "x", Span(1, 2), "here", Span(3, 4), Span(5, 6))
    assert by_jobs(work, {"train": 100.0}).seconds == Span(70, 150)
    assert by_jobs(work, {}).seconds is None
    assert by_jobs(work, {}).scratch_bytes == Span(0, 0)
    assert Forecast(()).seconds_of_steps() == {}


# --- problems ------------------------------------------------------------------------------------


def test_problems_come_by_how_soon_they_would_hurt() -> None:
    log = ProblemLog(Recording())
    with log.looking("train"):
        log.warn("slow")
        raise UserError("no such METRIC", where="[train]", remedy="say macro_f1")
    with log.looking("prepare"):
        log.warn("a field is unused")
        log.warn("a field is unused")
        raise DataError("encode_data returned a list")
    with log.looking("reconcile"):
        log.warn("no answer")
    found = sort_problems(log.problems)
    assert [(one.step, one.stops) for one in found] == [
        ("prepare", True),
        ("train", True),
        ("reconcile", False),
        ("prepare", False),
        ("train", False),
    ]
    plan = CheckPlan((), (), None, found)
    with pytest.raises(DataError, match="returned a list"):
        plan.raise_first()
    told = "\n".join(line.text for line in plan_lines(plan))
    assert "1. stops prepare: encode_data returned a list" in told
    assert "2. stops train: [train]: no such METRIC\n     say macro_f1" in told
    assert "3. in reconcile: no answer" in told
    assert plan.to_json()["problems"][0]["class"] == "DataError"


def test_who_interrupts_a_check_is_heard() -> None:
    log = ProblemLog(Recording())
    with pytest.raises(Interrupted), log.looking("train"):
        raise Interrupted("stopped")


def test_secrets_stay_out_of_problems() -> None:
    log = ProblemLog(Recording(), lambda text: text.replace("s3cret", "***"))
    with log.looking("prepare"):
        raise UserError("with s3cret", where="s3cret", remedy="not s3cret")
    (problem,) = log.problems
    assert "s3cret" not in f"{problem.what} {problem.remedy}"


def test_a_disk_that_is_too_small(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = tuple(works(experiment).values())
    log = ProblemLog(Recording())
    store, scratch = disk_needs(experiment, steps, log)
    assert log.problems == []
    assert store.parts.keys() == {"copies", "encoded data", "checkpoints and final models"}
    assert store.needs.high == sum(one.store_bytes.high for one in steps)
    assert scratch.needs.high == 48e6
    sizes = {"free": 30e6}
    monkeypatch.setattr(
        faults.shutil, "disk_usage", lambda _: type("Usage", (), {"free": int(sizes["free"])})
    )
    disk_needs(experiment, steps, log)
    perhaps, scratch_problem = log.problems
    assert (perhaps.step, perhaps.stops) == ("prepare", False), "26 to 45 MB by then"
    assert scratch_problem.step == "train"
    sizes["free"] = 1e6
    log = ProblemLog(Recording())
    disk_needs(experiment, steps, log)
    assert [(one.step, one.stops) for one in log.problems] == [
        ("reconcile", True),
        ("prepare", True),
    ]
    with pytest.raises(Full):
        CheckPlan((), (), None, sort_problems(log.problems)).raise_first()


def test_somebody_at_work_is_a_problem_without_an_error(experiment: Experiment) -> None:
    log = ProblemLog(Recording())
    with hold_lock(experiment.store, experiment.layout.results_lock, "train of EXP-1"):
        foresee_faults(experiment, to_do(), log)
    (problem,) = log.problems
    assert (problem.step, problem.stops, problem.error) == ("train", True, None)
    assert "somebody is at work: process" in problem.what


def test_a_store_that_cannot_be_written(experiment: Experiment) -> None:
    """A file stands where its folder would be, which root cannot write into either."""
    place = Path(experiment.store.url).parent
    place.write_text("a file")
    log = ProblemLog(Recording())
    foresee_faults(experiment, to_do(), log)
    (problem,) = log.problems
    assert (problem.step, problem.stops) == ("reconcile", True)
    assert isinstance(problem.error, HandfulError)
    assert "STORE" in problem.remedy


# --- words ---------------------------------------------------------------------------------------


def test_words_for_sizes_and_times() -> None:
    sizes = (0, 999, 1_200, 34_000_000, 5.6e9, 7e12)
    assert [describe_bytes(size) for size in sizes] == [
        *("0 bytes", "999 bytes", "1.2 kB", "34 MB", "5.6 GB", "7.0 TB")
    ]
    assert describe_span(Span(0.2, 0.9)) == "about 1s"
    assert describe_span(Span(61, 3_700)) == "about 1m01s to 1h01m"
    assert describe_span(Span(5_000, 400_000)) == "about 1h23m to 4.6 days"


def test_the_screen_says_why_a_step_runs_again() -> None:
    steps = (
        PlannedWork("reconcile", (), "nothing: up to date", None),
        PlannedWork("train", ("tune has to run first", "EPOCHS changed", "x"), "2 models", None),
    )
    problem = ForeseenProblem("train", False, "slow\n  truly", "wait")
    lines = [line.text for line in plan_lines(CheckPlan(steps, (), 12.5, (problem,), True))]
    assert "  reconcile  nothing: up to date" in lines
    assert "  train      run: 2 models (since EPOCHS changed and 1 more reasons)" in lines
    assert "cost: about $12.50" in lines
    assert any("read in part" in line for line in lines)
    assert lines[-3:] == ["  1. in train: slow", "     truly", "     wait"]
