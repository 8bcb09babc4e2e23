"""Every object that every command prints with --json is as docs/events.schema.json says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from handful.cli import app
from tests.support.events import events_of, faults_of, schema
from tests.support.tiny import HANDFUL, Tiny, make

ROOT = Path(__file__).parents[2]


def test_the_documented_schema_is_the_one_that_is_shipped_and_printed() -> None:
    documented = (ROOT / "docs" / "events.schema.json").read_text()
    printed = subprocess.run([HANDFUL, "schema", "events"], capture_output=True, text=True)
    assert printed.stdout == documented
    assert json.loads(documented) == schema()
    assert schema()["$id"].endswith(":1")


def test_every_command_is_looked_at_here() -> None:
    """A new command has to be added to this module."""
    known = {*EVERY_STEP, "init", "check", "run", "status", "settings", "schema", "predict"}
    known |= {"export", "forget"}
    assert {one.callback.__name__ for one in app.registered_commands if one.callback} <= known


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    made = make(tmp_path_factory.mktemp("events"))
    functions = made.experiment / "functions.py"
    text = functions.read_text().replace(', "labels": label2id[label]', "")
    functions.write_text(re.sub(r"    label = json.loads.*\n", "", text))
    return made


EVERY_STEP = ("reconcile", "prepare", "tune", "train", "test", "compare", "report")


def test_a_whole_life(tiny: Tiny) -> None:
    """One after the other, since each needs those before it; what is told comes together."""

    def told(command: str, *words: str, status: int = 0) -> set[str]:
        done = tiny.handful(command, *words, "--json")
        assert done.returncode == status, done.stderr
        return {str(one.get("event", "prediction")) for one in events_of(done.stdout)}

    assert told("status") == {"status"}
    assert told("run", "--dry-run") == {"table", "result"}
    assert {"note", "table", "plan"} <= told("check", "--verbose")
    for step in EVERY_STEP:
        assert "result" in told(step), step
    assert told("status", "--watch") == {"status"}
    assert {"debug", "result"} <= told("run", "--redo", "report", "--verbose")
    assert "progress" in told("test", "--redo")
    assert told("status", "--verify") >= {"status"}
    document = str(tiny.files / "artifact-0000")
    assert "prediction" in told("predict", document, "--all")
    assert "result" in told("export", "--onnx", "--output", str(tiny.root / "model.onnx"))
    assert told("forget", "artifact-0000", "--dry-run") == {"forget_plan"}
    assert told("forget", "artifact-0000", "--yes") >= {"forget_plan", "forgotten"}
    other = tiny.root / "EXP-0002-other"
    shutil.copytree(tiny.experiment, other)
    shutil.copytree(tiny.store, tiny.root / "store" / other.name)
    assert "comparison" in told("compare", str(other))
    (tiny.store / "results/full_dataset/report.html").write_text("damaged")
    assert told("status", "--verify", status=1) == {"status", "progress", "error"}
    assert told("run", "--from", "nowhere", status=2) == {"error"}
    # Both problems, by how soon they would hurt; and what would end the run first ends the check.
    words = ("--set", "production.LABEL_QUERY=SELECT nix FROM labels", "--json")
    report = tiny.store / "results/full_dataset/reported.json"
    report.write_text(report.read_text().replace("report.html", "other.html"))
    done = tiny.handful("check", *words)
    assert done.returncode == 2, done.stderr
    *_, plan, error = events_of(done.stdout)
    assert [one["step"] for one in plan["problems"]] == ["reconcile", "report"]
    assert all(one["stops"] for one in plan["problems"])
    assert "nix" in error["faults"][0][1]


def test_the_settings_are_as_the_schema_says() -> None:
    done = subprocess.run([HANDFUL, "settings", "--json"], capture_output=True, text=True)
    assert faults_of(json.loads(done.stdout)) == []


@pytest.mark.parametrize(
    "event",
    [
        {"event": "note", "at": 1.0},
        {"event": "note", "at": "now", "message": "x"},
        {"event": "nothing that is known", "at": 1.0},
        {"artifact_id": "a"},
        {"artifact_id": "a", "label": "x", "probability": 1.0, "event": "note"},
        {"event": "error", "status": 0, "class": "UserError", "faults": [], "traceback": ""},
    ],
)
def test_what_is_otherwise_is_found(event: dict[str, object]) -> None:
    assert faults_of(event)
