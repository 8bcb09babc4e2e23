"""Where the tests of settings write a settings.ini."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "EXP-0001-licences"
    folder.mkdir()
    return folder
