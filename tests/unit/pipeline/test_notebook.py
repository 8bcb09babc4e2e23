"""What `handful.Experiment` writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import handful
from handful.errors import SettingsError, UserError
from handful.pipeline.notebook import ReportPage, format_settings
from handful.settings import read_settings

SETTINGS: dict[str, dict[str, Any]] = {
    "production": {
        "DATABASE_URL": "sqlite:///labels.sqlite",
        "LABEL_QUERY": "SELECT artifact_id, label\nFROM labels\n  WHERE label <> 'x'",
        "FILES_URL": Path("files"),
        "FILES_FROM_PROD": ["a.txt", "b*.txt"],
    },
    "prepare": {"MAX_ARTIFACTS": 500, "GROUP_BY": None},
    "train": {
        "MODEL_NAMES": ("one/model", "./two"),
        "LEARNING_RATE": 1e-05,
        "COMPILE": True,
        "SEEDS": range(3),
    },
    "tune": {"TRIALS": 4, "EPOCHS": "int 2 5"},
    "user": {"WIDE": False},
}
FUNCTIONS = "def get_dataset_features():\n    return {}\n\n\ndef encode_data():\n    return {}\n"


def test_settings_are_read_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text(format_settings(SETTINGS))
    found = read_settings(tmp_path)
    assert found.production.LABEL_QUERY.split() == SETTINGS["production"]["LABEL_QUERY"].split()
    assert found.production.FILES_FROM_PROD == ("a.txt", "b*.txt")
    assert found.prepare.MAX_ARTIFACTS == 500
    assert found.prepare.GROUP_BY is None
    assert ("one/model", str(tmp_path / "two")) == found.train.MODEL_NAMES
    assert found.train.LEARNING_RATE == 1e-5
    assert found.train.COMPILE is True
    assert found.train.SEEDS == (0, 1, 2)
    assert found.tune.TRIALS == 4
    assert found.user.values["WIDE"] is False


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id AS artifact_id, data\n#>> '{kind}' AS label FROM t",
        "SELECT artifact_id, label\n; FROM t",
    ],
)
def test_a_line_that_would_be_lost_is_refused(query: str) -> None:
    with pytest.raises(UserError, match=r"\[production\] LABEL_QUERY: settings.ini cannot hold"):
        format_settings({"production": {"LABEL_QUERY": query}})


def test_items_with_commas_and_quotes_come_back(tmp_path: Path) -> None:
    files = ['a,"b".txt', "c d.txt", "*.eml"]
    production = {**SETTINGS["production"], "FILES_FROM_PROD": files}
    (tmp_path / "settings.ini").write_text(format_settings({**SETTINGS, "production": production}))
    found = read_settings(tmp_path).production.FILES_FROM_PROD
    assert list(found) == files


def test_a_cell_that_is_run_again_replaces_what_it_wrote(tmp_path: Path) -> None:
    mine = tmp_path / "EXP-1"
    handful.Experiment.create(mine, SETTINGS, FUNCTIONS)
    changed = {**SETTINGS, "prepare": {"MAX_ARTIFACTS": 7}}
    handful.Experiment.create(mine, changed, FUNCTIONS)
    assert read_settings(mine).prepare.MAX_ARTIFACTS == 7
    assert sorted(path.name for path in mine.iterdir()) == ["functions.py", "settings.ini"]


@pytest.mark.parametrize("name", ["settings.ini", "functions.py"])
def test_somebody_elses_file_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# mine\n")
    with pytest.raises(UserError, match="would replace it"):
        handful.Experiment.create(tmp_path, SETTINGS, FUNCTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "# mine\n"


def test_faults_of_settings_are_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="EPOCS"):
        handful.Experiment.create(tmp_path / "EXP", {"train": {"EPOCS": 3}}, FUNCTIONS)


def test_overrides_are_those_of_the_command_line(tmp_path: Path) -> None:
    handful.Experiment.create(tmp_path / "EXP", SETTINGS, FUNCTIONS)
    with pytest.raises(SettingsError, match="--set"):
        handful.Experiment.open(tmp_path / "EXP", overrides={"train.EPOCHS": -1})


def test_a_step_or_split_that_is_none_is_told(tmp_path: Path) -> None:
    mine = handful.Experiment.create(tmp_path / "EXP", SETTINGS, FUNCTIONS)
    with pytest.raises(UserError, match="'training' is no step"):
        mine.run(until="training")
    with pytest.raises(UserError, match="'valid' is no split"):
        mine.dataset("valid")
    with pytest.raises(UserError, match="of which model"):
        mine.dataset("train")


def test_a_page_cannot_end_the_frame_that_it_is_shown_in() -> None:
    shown = ReportPage('<p title="x">"></iframe><script>x</script>')._repr_html_()
    assert shown.count("<") == 2
    assert "allow-same-origin" not in shown
