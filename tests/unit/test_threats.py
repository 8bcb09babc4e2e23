"""docs/threats.md names tests that exist, and the audit of packages says what it could not do."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/threats.md").read_text()))
    files = (ROOT / "tests").rglob("test_*.py")
    there = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    assert named
    assert not named - there


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOLE = {"id": "PYSEC-1", "fix_versions": ["2"]}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ("no JSON", 0, "NOT DONE"),
        ([{"name": "a", "skip_reason": "x"}], 0, "NOT DONE: .* cannot be asked"),
        ([{"name": "a", "version": "1", "vulns": []}], 0, "0 vulnerabilities in 1 releases"),
        ([{"name": "a", "version": "1", "vulns": [HOLE]}], 1, "a 1: PYSEC-1; mended in 2"),
    ],
)
def test_a_vulnerability_fails_and_no_answer_is_told_loudly(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    status: int,
    words: str,
) -> None:
    told = answer if isinstance(answer, str) else json.dumps({"dependencies": answer})
    done = subprocess.CompletedProcess([], 0, stdout=told, stderr="")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    assert audit.main() == status
    assert re.search(words, capsys.readouterr().out)
