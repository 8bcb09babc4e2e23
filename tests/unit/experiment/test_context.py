"""Values of one model, put over those of its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.experiment.context import open_experiment, with_values
from handful.progress import Silent
from handful.settings import NOT_FOR_ONE_MODEL

SETTINGS = """
[production]
DATABASE_URL = sqlite:///labels.sqlite
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = text.txt
[prepare]
SPLIT = 0.6/0.2/0.2
[train]
MODEL_NAMES = ./model
METRIC = accuracy
"""
FUNCTIONS = """
def process_func(artifact): ...
def get_dataset_features(): ...
def encode_data(instance): ...
"""


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("METRIC", "log_loss", "log_loss"),
        ("METRIC_GOAL", "max", "max"),
        ("SEEDS", "3", (3,)),
        ("EPOCHS", "7", 7),
        ("user.SCALE", "2", 2),
    ],
)
def test_each_key_goes_where_it_may_stand(
    tmp_path: Path, key: str, text: str, found: object
) -> None:
    """Some are the same for all models: a model of before is asked with those of its training."""
    directory = tmp_path / "EXP-1"
    directory.mkdir()
    (directory / "settings.ini").write_text(SETTINGS)
    (directory / "functions.py").write_text(FUNCTIONS)
    experiment = open_experiment(directory, (), Silent(), tmp_path / "scratch")
    mine = with_values(experiment, experiment.settings.train.MODEL_NAMES[0], {key: text})
    section = mine.settings.train_for(experiment.settings.train.MODEL_NAMES[0])
    if key.startswith("user."):
        assert getattr(mine.settings.user, key.removeprefix("user.")) == found
    else:
        assert getattr(section, key) == found
    assert {"METRIC", "METRIC_GOAL", "SEEDS"} <= NOT_FOR_ONE_MODEL
