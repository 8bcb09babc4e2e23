"""`make test-aws`: one small job of each kind on AWS. It costs money, and says first how much.

Nobody of handful's has run it yet. It wants these variables, and credentials as AWS finds them:

    HANDFUL_AWS_STORE            s3://bucket/prefix, to which the role may write
    HANDFUL_AWS_ROLE             the jobs' role
    HANDFUL_AWS_IMAGE            the image, with the versions that are installed here
    HANDFUL_AWS_REGION
    HANDFUL_AWS_PRICE_PER_HOUR   of one ml.m5.large in that region, in US dollars
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

from handful import records
from handful.experiment.context import open_experiment
from handful.pipeline.managed_jobs import list_managed_job_requests
from handful.pipeline.run import run
from handful.pipeline.step import Choice
from handful.pipeline.steps import STEP_NAMES
from tests.support import tiny
from tests.support.progress import Recording

pytestmark = [pytest.mark.live, pytest.mark.timeout(4 * 3_600)]
TYPE = "ml.m5.large"
LONGEST_HOURS = 0.5
TRIALS = 2


def wanted(name: str) -> str:
    value = os.environ.get(f"HANDFUL_AWS_{name}", "")
    if not value:
        pytest.fail(f"HANDFUL_AWS_{name} is not set: {__doc__}", pytrace=False)
    return value


def test_one_small_job_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = tiny.make(tmp_path / "tiny")
    overrides = (
        "compute.BACKEND=sagemaker",
        f"experiment.STORE={wanted('STORE')}",
        f"sagemaker.ROLE_ARN={wanted('ROLE')}",
        f"sagemaker.IMAGE_URI={wanted('IMAGE')}",
        f"sagemaker.REGION={wanted('REGION')}",
        *(f"sagemaker.{step}_INSTANCE_TYPE={TYPE}" for step in ("PREPARE", "TRAIN", "TEST")),
        "sagemaker.PREPARE_INSTANCE_COUNT=2",
        "sagemaker.TRAIN_INSTANCE_COUNT=2",
        f"sagemaker.MAX_RUNTIME={round(LONGEST_HOURS * 60)}m",
        f"tune.TRIALS={TRIALS}",
        "tune.LEARNING_RATE=log 1e-3 3e-2",
    )
    (tmp_path / "s").mkdir()
    experiment = open_experiment(one.experiment, overrides, Recording(), tmp_path / "s")
    planned = list_managed_job_requests(experiment, STEP_NAMES)
    machines = sum(
        int(one.row[2]) * (TRIALS if one.step == "tune" else 1)  # type: ignore[arg-type]
        for one in planned
    )
    price = float(wanted("PRICE_PER_HOUR"))
    with capsys.disabled():
        print(f"\n{len(planned)} jobs on {machines} machines ({TYPE}); at {price} USD an hour they")
        print(f"cost at most {machines * LONGEST_HOURS * price:.2f} USD, usually a tenth of that")
    found = run(experiment, Choice())
    assert sum(cast(records.Prepared, found["prepare"]).rows["model"].values()) == 60
    assert len(cast(records.Tuned, found["tune"]).best) == 1
    assert len(cast(records.Trained, found["train"]).runs) == 1
    assert cast(records.Tested, found["test"]).evaluations[0].metrics["accuracy"] > 0.5
    for folder in ("data", "results", "bundles", "jobs"):
        experiment.store.delete_tree(folder)
