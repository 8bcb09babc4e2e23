"""`handful check` with jobs on SageMaker: all is tried here, and the account is looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from handful.errors import NotReady, UserError
from handful.experiment.context import Experiment, open_experiment
from handful.pipeline.check import rehearse
from handful.pipeline.run import run
from handful.pipeline.step import Choice
from tests.support import tiny
from tests.support.clouds import client, running_moto
from tests.support.progress import Recording
from tests.support.sagemaker_works import PLAIN


def managed(one: tiny.Tiny, scratch: Path, cloud: str, **keys: object) -> Experiment:
    """The experiment as its settings would read with jobs on SageMaker."""
    scratch.mkdir()
    found = open_experiment(one.experiment, (), Recording(), scratch)
    settings = found.settings
    section = replace(
        settings.sagemaker,
        **{**PLAIN, "ROLE_ARN": None, "ENDPOINT_URL": cloud, "PRICE_PER_HOUR": 3.0, **keys},
    )
    settings = replace(
        settings,
        sagemaker=section,
        compute=replace(settings.compute, BACKEND="sagemaker"),
        experiment=replace(settings.experiment, STORE="s3://research/experiments"),
    )
    return replace(found, settings=settings)


@pytest.mark.slow
def test_what_a_job_lacks_is_told_before_anything_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handful.sagemaker.account.clients.ATTEMPTS", 1)
    one = tiny.make(tmp_path)
    with running_moto() as cloud:
        experiment = managed(one, tmp_path / "s", cloud)
        with pytest.raises(NotReady) as error:
            rehearse(experiment)
    for word in ("ROLE_ARN is not set", "no bucket research", "no such repository"):
        assert word in str(error.value)
    told = experiment.progress.lines
    assert "is the account ready?" in told
    assert any(line.startswith("what it will cost: at least $") for line in told)
    # Nothing was reconciled yet, so nobody knows how much there is to train on.
    assert any(line.startswith("train | model | 1 |") and "not measured" in line for line in told)
    assert not any(line.startswith("reconcile | ") and "ml.m5" in line for line in told)
    assert any("PRICE_PER_HOUR is used" in line for line in experiment.progress.warnings)


@pytest.mark.slow
def test_with_artifacts_the_tried_steps_tell_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handful.sagemaker.account.clients.ATTEMPTS", 1)
    monkeypatch.setattr("handful.sagemaker.jobs.costs.readiness.findings", lambda *_: ())
    one = tiny.make(tmp_path)
    done = one.handful("reconcile")
    assert done.returncode == 0, done.stderr
    with running_moto() as cloud:
        experiment = managed(one, tmp_path / "s", cloud)
        rehearse(experiment)
        (line,) = [one for one in experiment.progress.lines if one.startswith("train | model")]
        assert "a step of 3 examples here, on cpu" in line
        expensive = managed(one, tmp_path / "t", cloud, MAX_COST_USD=0.01)
        with pytest.raises(UserError, match="MAX_COST_USD"):
            rehearse(expensive)


@pytest.mark.slow
def test_a_run_that_would_cost_too_much_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handful.sagemaker.account.clients.ATTEMPTS", 1)
    one = tiny.make(tmp_path)
    done = one.handful("reconcile")
    assert done.returncode == 0, done.stderr
    with running_moto() as cloud:
        experiment = managed(one, tmp_path / "s", cloud, MAX_COST_USD=0.5)
        # An earlier training: an example takes a minute, and 36 of them six epochs.
        record = {"rows": {"train": 10}, "epochs": 1, "seconds": 600, "environment": {}}
        final = "results/partial/models/model/seed-0/final/handful.json"
        experiment.store.write(final, json.dumps(record).encode())
        with pytest.raises(UserError, match="MAX_COST_USD"):
            run(experiment, Choice("prepare", "train"))
        sagemaker = client(cloud, "sagemaker")
        assert sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []
    told = experiment.progress.lines
    assert any(line.startswith("train | model | 1 | 2 x ml.g5.xlarge") for line in told)
