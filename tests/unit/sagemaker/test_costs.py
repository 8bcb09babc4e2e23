"""What a run will cost: forecast, refusal, and the limits that keep MAX_COST_USD."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.errors import Unreachable, UserError
from handful.experiment.context import Experiment
from handful.layout import RECONCILED, Layout
from handful.sagemaker.account.clients import Clients
from handful.sagemaker.jobs.costs import forecast as costs
from handful.sagemaker.jobs.costs.cost_check import Purse, forecast_of
from handful.sagemaker.jobs.costs.durations import (
    FORWARD_SHARE,
    Duration,
    Pace,
    Sizes,
    duration_of,
    paces_of,
    sizes_of,
)
from handful.sagemaker.jobs.costs.forecast import START, Forecast, Line, Price
from handful.sagemaker.jobs.costs.instances import Jobs, jobs_of
from handful.settings import Range, Settings
from handful.storage.local.store import LocalStore
from tests.support.progress import Recording
from tests.support.sagemaker_works import settings as settings_of
from tests.support.sagemaker_works import tuned

MODEL = "bert-base-uncased"
PRICES = {
    ("ml.m5.xlarge", "Processing"): Price(0.2, "a test"),
    ("ml.m5.xlarge", "Train"): Price(0.3, "a test"),
    ("ml.g5.xlarge", "Train"): Price(1.0, "a test"),
}


def experiment(directory: Path, settings: Settings | None = None, **keys: Any) -> Experiment:
    found = settings or settings_of(directory / "EXP-1", **keys)
    store = LocalStore(directory / "store")
    layout = Layout(found.prepare.ENCODED_DATA_DIR)
    return Experiment(directory / "EXP-1", found, store, layout, Recording(), directory / "scratch")


def keep(where: Experiment, key: str, record: Mapping[str, Any]) -> None:
    where.store.write(key, json.dumps(record).encode())


def test_jobs_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1")
    train = replace(settings.train, MODEL_NAMES=(MODEL, "roberta-base"), SEEDS=(0, 1, 2))
    settings = tuned(replace(settings, train=train), trials=4)
    found = [(one.step, one.what, one.number, one.at_once) for one in jobs_of(settings)]
    assert found == [
        ("prepare", "", 1, 1),
        ("tune", MODEL, 4, 2),
        ("tune", "roberta-base", 4, 2),
        ("train", MODEL, 3, 3),
        ("train", "roberta-base", 3, 3),
        ("test", "", 1, 1),
    ]
    assert [one.step for one in jobs_of(settings, ["reconcile", "test"])] == ["reconcile", "test"]
    without = replace(settings.sagemaker, TRAIN_INSTANCE_TYPE=())
    with pytest.raises(UserError, match="TRAIN_INSTANCE_TYPE"):
        jobs_of(replace(settings, sagemaker=without))


def test_time_comes_from_an_earlier_training_first(tmp_path: Path) -> None:
    here = experiment(tmp_path)
    tried = {MODEL: Pace(3.0, 1, "a step of 3 examples here, on cpu")}
    assert paces_of(here.settings, here.store, here.layout, tried) == tried
    record = {
        "rows": {"train": 900, "validation": 300},
        "epochs": 2,
        "seconds": 100.0,
        "environment": {"device": "cuda", "processes": 2},
    }
    keep(here, f"results/partial/models/{MODEL}/seed-0/final/handful.json", record)
    shorter = {**record, "seconds": 1.0}
    keep(here, f"results/partial/models/{MODEL}/seed-1/final/handful.json", shorter)
    keep(here, "results/partial/models/other/seed-1/final/handful.json", record)
    found = paces_of(here.settings, here.store, here.layout, tried)[MODEL]
    assert found.examples_per_second == pytest.approx(2 * (900 + 300 * FORWARD_SHARE) / 100)
    assert (found.processes, found.source) == (2, "an earlier training, 2 processes on cuda")


def test_time_of_a_training(tmp_path: Path) -> None:
    here = experiment(tmp_path)
    (jobs,) = jobs_of(here.settings, ["train"])
    paces = {MODEL: Pace(10.0, 1, "here")}
    assert duration_of(jobs, here.settings, here.store, here.layout, paces, Sizes()) is None
    assert (
        duration_of(jobs, here.settings, here.store, here.layout, {}, Sizes(800, 100, 100)) is None
    )
    found = duration_of(jobs, here.settings, here.store, here.layout, paces, Sizes(800, 90, 100))
    # Three epochs of 800 and a third of 90, by two instances as fast as the one measured.
    assert found == Duration(pytest.approx(3 * 830 / 20), "here")
    longer = replace(here.settings.tune, ranges=(Range("EPOCHS", "int", 2, 5),), TRIALS=2)
    searching = replace(here, settings=replace(here.settings, tune=longer))
    (jobs,) = jobs_of(searching.settings, ["tune"])
    found = duration_of(
        jobs, searching.settings, searching.store, searching.layout, paces, Sizes(800, 90, 100)
    )
    assert found == Duration(pytest.approx(5 * 830 / 20), "here")


def test_time_of_the_other_steps_is_the_last_ones(tmp_path: Path) -> None:
    here = experiment(tmp_path)
    prepare, test = jobs_of(here.settings, ["prepare", "test"])
    assert duration_of(prepare, here.settings, here.store, here.layout, {}, Sizes(8, 1, 1)) is None
    done = {"finished_at": "2026-11-02T10:00:00+00:00"}
    keep(here, here.layout.prepared_record, {**done, "seconds": 90.0})
    found = duration_of(prepare, here.settings, here.store, here.layout, {}, Sizes())
    assert found == Duration(30.0, "the last prepare, 2026-11-02")  # three instances
    paces = {MODEL: Pace(10.0, 1, "here")}
    found = duration_of(test, here.settings, here.store, here.layout, paces, Sizes(800, 100, 300))
    assert found == Duration(pytest.approx(300 * FORWARD_SHARE / 10), "here")
    keep(here, here.layout.tested_record, {**done, "seconds": 7.0})
    found = duration_of(test, here.settings, here.store, here.layout, paces, Sizes(800, 100, 300))
    assert found == Duration(7.0, "the last test, 2026-11-02")


def test_sizes(tmp_path: Path) -> None:
    here = experiment(tmp_path)
    assert sizes_of(here.settings, here.store, here.layout) == Sizes()
    keep(here, RECONCILED, {"kept": 1000})
    assert sizes_of(here.settings, here.store, here.layout) == Sizes(800, 100, 100)
    few = replace(here.settings.prepare, MAX_ARTIFACTS=50)
    assert sizes_of(replace(here.settings, prepare=few), here.store, here.layout) == Sizes(40, 5, 5)
    rows = {"a": {"train": 7, "validation": 2, "test": 1}, "b": {"train": 8}}
    keep(here, here.layout.prepared_record, {"rows": rows})
    assert sizes_of(here.settings, here.store, here.layout) == Sizes(8, 2, 1)


def line(step: str, dollars_an_hour: float | None, seconds: float | None, number: int = 1) -> Line:
    jobs = Jobs(step, "", number, 1, ("ml.x.large",), 2, "KEY", is_training=True)
    price = None if dollars_an_hour is None else Price(dollars_an_hour, "a test")
    return Line(jobs, None if seconds is None else Duration(seconds, "a test"), price)


def test_the_forecast_adds_up(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1")
    jobs = jobs_of(settings)
    found = costs.forecast(jobs, lambda _: Duration(3600 - START, "a test"), PRICES)
    # Three instances prepare, two train (the dearer of the two types counts), one tests.
    assert found.dollars == pytest.approx(3 * 0.2 + 2 * 1.0 + 0.2)
    assert found.is_whole
    told = Recording()
    costs.show(found, told)
    ((title, rows),) = told.tables
    assert title == "what it will cost: $2.80"
    assert [row[6] for row in rows] == [0.6, 2.0, 0.2]
    some = costs.forecast(jobs, lambda _: None, PRICES)
    costs.show(some, told)
    assert "at least $0.00" in told.tables[-1][0]
    assert told.tables[-1][1][0][-1] == "not measured yet"


def test_past_the_limit_it_refuses(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", MAX_COST_USD=2.0)
    found = Forecast((line("train", 1.0, 3600.0),))
    costs.refuse_past(found, settings_of(tmp_path / "EXP-1"))
    with pytest.raises(UserError, match=r"forecast to cost \$2\.13, more than \$2\.00") as error:
        costs.refuse_past(found, settings)
    assert "MAX_COST_USD" in str(error.value)
    with pytest.raises(UserError, match=r"nobody knows the price of ml\.x\.large"):
        costs.refuse_past(Forecast((line("train", None, 1.0),)), settings)


lines = st.builds(
    line,
    st.just("train"),
    st.floats(0.01, 100),
    st.one_of(st.none(), st.floats(1, 500_000)),
    st.integers(1, 50),
)


@given(st.lists(lines, min_size=1, max_size=6), st.floats(1.0, 10.0))
def test_stopped_by_their_limits_all_jobs_stay_within_the_cost(
    found: list[Line], slack: float
) -> None:
    named = tuple(
        replace(one, jobs=replace(one.jobs, step=f"s{number}")) for number, one in enumerate(found)
    )
    forecast = Forecast(named)
    most = forecast.dollars * slack or 1.0
    section = replace(SETTINGS.sagemaker, MAX_COST_USD=most, MAX_RUNTIME=86_400.0 * 28)
    longest = costs.longest_seconds(forecast, replace(SETTINGS, sagemaker=section))
    spent = sum(one.cost(longest[one.jobs.step, ""]) or 0 for one in named)
    assert spent <= most * (1 + 1e-9)
    for one in named:
        # No job is stopped before the time that it is forecast to take.
        if one.seconds is not None:
            limit = min(one.seconds, section.MAX_RUNTIME)
            assert longest[one.jobs.step, ""] >= limit * (1 - 1e-9)


@pytest.fixture(scope="module", autouse=True)
def _settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SETTINGS
    SETTINGS = settings_of(tmp_path_factory.mktemp("settings") / "EXP-1")


SETTINGS: Settings


def test_a_job_gets_the_shorter_limit(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", MAX_RUNTIME=7200.0)
    assert costs.cap_max_runtime(settings, 600.0).sagemaker.MAX_RUNTIME == 600.0
    assert costs.cap_max_runtime(settings, 1e9).sagemaker.MAX_RUNTIME == 7200.0
    found = Forecast((line("train", 1.0, 60.0),))
    assert costs.longest_seconds(found, settings) == {("train", ""): 7200.0}


def test_the_price_list_or_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {("ml.g5.xlarge", "Train"): 1.5, ("ml.m5.xlarge", "Processing"): 0.25}
    monkeypatch.setattr(costs, "price_of", lambda _, kind, usage: listed.get((kind, usage)))
    here = experiment(tmp_path, PRICE_PER_HOUR=9.0)
    clients = Clients(here.settings)
    found = forecast_of(here, clients=clients)
    assert [(one.price.dollars, one.price.source) for one in found.lines if one.price] == [
        (0.25, "AWS's price list"),
        (9.0, "PRICE_PER_HOUR"),  # of the second type, which the list does not have
        (0.25, "AWS's price list"),
    ]

    def away(*_: object) -> float:
        raise Unreachable("nobody answered")

    monkeypatch.setattr(costs, "price_of", away)
    told = Recording()
    found = forecast_of(replace(here, progress=told), clients=clients)
    assert {one.price.source for one in found.lines if one.price} == {"PRICE_PER_HOUR"}
    assert len(told.warnings) == 1
    assert "PRICE_PER_HOUR is used" in told.warnings[0]
    told = Recording()
    without = experiment(tmp_path, PRICE_PER_HOUR=None)
    found = forecast_of(replace(without, progress=told), clients=clients)
    assert not any(one.price for one in found.lines)
    assert "set [sagemaker] PRICE_PER_HOUR" in told.warnings[0]


class TestPurse:
    """MAX_COST_USD over the steps of one run: an hour of any instance costs a dollar."""

    @pytest.fixture(autouse=True)
    def _prices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(costs, "price_of", lambda *_: 1.0)

    def here(self, directory: Path, most: float | None) -> Experiment:
        return experiment(
            directory, MAX_COST_USD=most, PREPARE_INSTANCE_COUNT=1, TRAIN_INSTANCE_COUNT=1
        )

    def test_without_a_limit_nothing_is_asked(self, tmp_path: Path) -> None:
        here = self.here(tmp_path, None)
        assert Purse(here, ["prepare", "train"]).before("prepare") == {}
        assert here.progress.tables == []

    def test_what_a_short_step_leaves_is_for_the_next(self, tmp_path: Path) -> None:
        here = self.here(tmp_path, 6.0)
        purse = Purse(here, ["prepare", "train", "test"])
        # Nothing was measured: a third of six dollars for each.
        assert purse.before("prepare") == {("prepare", ""): pytest.approx(2 * 3600)}
        assert purse.before("compare") == {}
        purse.after("prepare", 3600.0)
        assert purse.before("train") == {("train", MODEL): pytest.approx(2.5 * 3600)}
        purse.after("train", 7200.0)
        assert purse.before("test") == {("test", ""): pytest.approx(3 * 3600)}
        assert len(here.progress.tables) == 1, "the forecast is shown once"

    def test_used_up_or_too_little_is_refused_before_the_step(self, tmp_path: Path) -> None:
        here = self.here(tmp_path, 6.0)
        purse = Purse(here, ["prepare", "train"])
        purse.before("prepare")
        purse.after("prepare", 5 * 3600.0)
        done = {"finished_at": "2026-11-02", "seconds": 1.0, "rows": {"m": {"train": 1000}}}
        keep(here, here.layout.prepared_record, done)
        record = {"rows": {"train": 100}, "epochs": 1, "seconds": 360.0, "environment": {}}
        keep(here, f"results/full_dataset/models/{MODEL}/seed-0/final/handful.json", record)
        # Three epochs of ten times as much: three hours, and one dollar is left.
        with pytest.raises(UserError, match=r"forecast to cost \$3\.07, more than \$1\.00"):
            purse.before("train")
        purse = Purse(here, ["prepare", "train"])
        purse.before("prepare")
        purse.after("prepare", 7 * 3600.0)
        with pytest.raises(UserError, match=r"have used up \$6\.00"):
            purse.before("train")

    def test_trials_one_after_the_other_spend_one_at_a_time(self, tmp_path: Path) -> None:
        here = self.here(tmp_path, 10.0)
        settings = tuned(here.settings, trials=4)  # two at a time
        purse = Purse(replace(here, settings=settings), ["tune", "test"])
        purse.before("tune")
        purse.after("tune", 3600.0)
        assert purse.before("test") == {("test", ""): pytest.approx(8 * 3600)}

    def test_a_step_that_nobody_foresaw_is_limited_too(self, tmp_path: Path) -> None:
        purse = Purse(self.here(tmp_path, 6.0), ["test"])
        assert purse.before("train") == {("train", MODEL): pytest.approx(3 * 3600)}
