"""The command line as a user meets it: whole processes, exit statuses, and what they print."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HANDFUL = str(Path(sysconfig.get_path("scripts")) / "handful")
HEAVY = ("torch", "transformers", "datasets", "evaluate", "polars", "sqlalchemy", "boto3")


def handful(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HANDFUL, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False
    )


def imported_by(*words: str) -> set[str]:
    """The top-level modules that a command imports."""
    script = (
        "import sys, handful.cli\n"
        "sys.argv = ['handful', *sys.argv[1:]]\n"
        "try:\n    handful.cli.main()\n"
        "except SystemExit:\n    pass\n"
        "print('\\n'.join(sorted({m.split('.')[0] for m in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "handful", "status", "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    as_command = handful("status", "nowhere")
    assert done.returncode == as_command.returncode == 2
    assert done.stderr == as_command.stderr


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    done = handful("--help")
    assert done.returncode == 0
    for word in (
        *("init", "check", "run", "reconcile", "prepare", "tune", "train", "test", "compare"),
        *("report", "status", "predict", "settings"),
    ):
        assert f"\n  {word} " in done.stdout
    assert not imported_by("--help") & {*HEAVY, "rich", "pyarrow", "numpy"}


def test_the_version_is_told() -> None:
    from importlib.metadata import version

    told = subprocess.run([HANDFUL, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"handful {version('handful')}\n"


def test_faulty_settings_are_all_told_with_status_2_before_functions_are_imported(
    tmp_path: Path,
) -> None:
    (tmp_path / "settings.ini").write_text("[experiment]\nSEDE = 1\n[trian]\nEPOCHS = x\n")
    (tmp_path / "functions.py").write_text("raise RuntimeError('never imported')\n")
    done = handful("check", tmp_path)
    assert done.returncode == 2
    assert "settings.ini:2 [experiment] SEDE" in done.stderr
    assert "SEED" in done.stderr
    assert "train" in done.stderr
    assert "MODEL_NAMES" in done.stderr
    assert "never imported" not in done.stderr
    assert "Traceback" not in done.stderr


def test_traceback_is_there_for_those_who_ask(tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text("[experiment]\nSEDE = 1\n")
    assert "Traceback" in handful("check", tmp_path, "--traceback").stderr


def test_an_error_is_an_event_for_machines(tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text("[experiment]\nSEDE = 1\n")
    done = handful("status", tmp_path, "--json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["status"], event["class"]) == ("error", 2, "SettingsError")
    assert any("SEDE" in where for where, _, _ in event["faults"])
    assert "Traceback" not in done.stdout + done.stderr, "nobody asked where it came from"
    asked = handful("status", tmp_path, "--json", "--traceback")
    told = json.loads(asked.stdout.splitlines()[-1])["traceback"]
    assert "Traceback (most recent call last)" in told
    assert told.strip() in asked.stderr


def test_settings_as_text_and_as_json() -> None:
    told = json.loads(handful("settings", "--json").stdout)
    keys = {(key["section"], key["key"]) for key in told}
    assert ("train", "LEARNING_RATE") in keys
    assert ("sagemaker", "MAX_COST_USD") in keys
    assert all(key["meaning"] for key in told)
    text = handful("settings").stdout
    assert "[prepare]" in text
    assert "NEAR_DUPLICATES" in text


def test_a_missing_directory_and_an_unknown_step(tmp_path: Path, experiment_files: Path) -> None:
    done = handful("run", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    done = handful("run", experiment_files, "--from", "encode")
    assert done.returncode == 2
    assert "encode" in done.stderr
    assert "prepare" in done.stderr


def test_a_step_needs_those_before_it(experiment_files: Path) -> None:
    done = handful("train", experiment_files)
    assert done.returncode == 2
    assert "reconcile has not been done yet" in done.stderr


def test_status_and_dry_run_write_nothing(experiment_files: Path) -> None:
    before = sorted(experiment_files.rglob("*"))
    for words in (("status",), ("run", "--dry-run")):
        done = handful(words[0], experiment_files, *words[1:])
        assert done.returncode == 0, done.stderr
        assert "not done yet" in done.stdout
    assert sorted(p for p in experiment_files.rglob("*") if "__pycache__" not in str(p)) == before


def test_init_makes_an_experiment_that_its_check_can_read(tmp_path: Path) -> None:
    done = handful("init", "EXP-0002-mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "EXP-0002-mine" / "settings.ini").is_file()
    again = handful("init", "EXP-0002-mine", cwd=tmp_path)
    assert again.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["EXP-0002-mine"]


@pytest.fixture
def experiment_files(tmp_path: Path) -> Path:
    folder = tmp_path / "EXP"
    folder.mkdir()
    (folder / "settings.ini").write_text(
        "[production]\n"
        "DATABASE_URL = sqlite:///labels.sqlite\n"
        "LABEL_QUERY = SELECT artifact_id, label FROM labels\n"
        "FILES_URL = ./files\n"
        "FILES_FROM_PROD = text.txt\n"
        "[train]\n"
        "MODEL_NAMES = ./model\n"
    )
    (folder / "functions.py").write_text(
        "def get_dataset_features():\n    return {}\n\ndef encode_data(instance):\n    return {}\n"
    )
    return folder
