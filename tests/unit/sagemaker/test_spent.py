"""What jobs have cost so far, by how long those took whose results stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from handful.layout import model_folder
from handful.records import Prepared, Record, Run, Tested, Trained
from handful.sagemaker.jobs.costs.forecast import START
from handful.sagemaker.jobs.costs.spent import spent_on
from tests.support.sagemaker_works import settings as settings_of

STEPS = ("prepare", "tune", "train", "test")
DONE: Mapping[str, Any] = {"made_from": {}, "finished_at": "2026-01-01T00:00:00+00:00"}


def test_it_is_time_times_price_times_instances(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "EXP-1", PRICE_PER_HOUR=3.6)
    names = [model_folder(name) for name in settings.train.MODEL_NAMES]
    seeds = settings.train.SEEDS
    runs = tuple(Run(name, seed, {}, 1, 3_600.0, "h") for name in names for seed in seeds)
    records: dict[str, Record] = {
        "prepare": Prepared({}, {}, {}, {}, {}, "h", seconds=720.0, **DONE),
        "train": Trained(runs, seconds=9_999.0, **DONE),
        "test": Tested((), 1, seconds=360.0, **DONE),
    }
    found = spent_on(settings, records, STEPS)
    assert found.is_whole
    section, cent = settings.sagemaker, 3.6 / 3_600
    # A record tells how long all instances were at it.
    prepared = (720 + START) * section.PREPARE_INSTANCE_COUNT
    trained = (3_600 + START) * section.TRAIN_INSTANCE_COUNT * len(runs)
    assert found.dollars == pytest.approx(cent * (prepared + trained + 360 + START))
    del records["train"]
    assert spent_on(settings, records, STEPS).dollars < found.dollars
    assert spent_on(settings, {}, STEPS).lines == ()
    assert spent_on(settings, records, ("train",)).lines == (), "what ran here costs nothing"
