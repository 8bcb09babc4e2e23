"""A dry run shows what would be sent, and Ctrl-C asks whoever sits at a terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from handful.cli import app
from handful.cli.managed import ask_to_stop
from handful.errors import LeftRunning
from tests.support.events import events_of
from tests.support.sagemaker_shapes import faults
from tests.support.sagemaker_works import PLAIN, TEXT


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment for SageMaker; there are no credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    keys = {**PLAIN, "TRAIN_INSTANCE_TYPE": "ml.g5.xlarge, ml.m5.xlarge", "USE_SPOT": "true"}
    lines = [f"{key} = {value}" for key, value in keys.items()]
    more = "[tune]\nTRIALS = 4\nLEARNING_RATE = log 1e-5 1e-3\n[compute]\nBACKEND = sagemaker\n"
    text = TEXT + more + "\n".join(["[sagemaker]", *lines])
    found = tmp_path / "EXP-1"
    found.mkdir()
    (found / "settings.ini").write_text(text + "\n")
    functions = "def get_dataset_features():\n    return {}\ndef encode_data():\n    return {}\n"
    (found / "functions.py").write_text(functions)
    return found


def test_a_dry_run_prints_every_request_without_credentials(directory: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(directory), "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    told = events_of(done.stdout)
    sent = [one for one in told if one["event"] == "request"]
    assert [one["step"] for one in sent] == ["prepare", "tune", "train", "test"]
    for one in sent:
        assert faults(one["operation"], one["parameters"]) == []
    assert "cannot be looked into" in told[0]["message"]
    again = CliRunner().invoke(app, ["run", str(directory), "--dry-run", "--json"])
    assert again.stdout.splitlines()[1:] == done.stdout.splitlines()[1:], "names are the same"


def test_a_dry_run_is_a_table_and_keeps_to_the_steps_that_are_asked_for(directory: Path) -> None:
    words = ["run", str(directory), "--dry-run", "--from", "train", "--until", "train"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    _, _, table = done.stdout.partition("what would be sent to SageMaker\n")
    head, row, *_ = table.splitlines()
    assert head.split()[:3] == ["step", "job", "instances"]
    assert row.split()[0] == "train"
    assert row.split()[2:5] == ["2", "ml.g5.xlarge", "yes"]
    assert row.split()[-1] == "CreateTrainingJob"
    assert "CreateProcessingJob" not in table


def test_what_does_not_fit_is_told_by_its_key(directory: Path) -> None:
    words = ["run", str(directory), "--dry-run", "--set", "sagemaker.KEEP_ALIVE=30m"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "spot instances cannot be kept warm" in done.output


@pytest.mark.parametrize(("terminal", "answer"), [(True, True), (True, False), (False, True)])
def test_only_who_sits_there_and_says_so_stops_the_job(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, answer: bool
) -> None:
    class Stream:
        def isatty(self) -> bool:
            return terminal

    asked: list[str] = []

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(sys, "stdin", Stream())
    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(typer, "echo", lambda *_, **__: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    stopped: list[int] = []
    ask_to_stop(LeftRunning("it goes on", stop=lambda: stopped.append(1)))
    assert bool(asked) == terminal
    assert bool(stopped) == (terminal and answer)
