"""A smallest settings.ini, and the faults that are told of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import Fault, SettingsError
from handful.settings import read_settings

MINIMAL = """\
[production]
DATABASE_URL = sqlite:///labels.db
LABEL_QUERY = SELECT artifact_id, label FROM labels
FILES_URL = files
FILES_FROM_PROD = raw_text.json
[train]
MODEL_NAMES = org/model, ./mine
"""


def faults_of(folder: Path, text: str, *overrides: str) -> tuple[Fault, ...]:
    (folder / "settings.ini").write_text(text)
    with pytest.raises(SettingsError) as error:
        read_settings(folder, overrides)
    assert error.value.exit_status == 2
    return error.value.faults


def only_fault(folder: Path, text: str, *overrides: str) -> Fault:
    faults = faults_of(folder, text, *overrides)
    assert len(faults) == 1, faults
    return faults[0]
