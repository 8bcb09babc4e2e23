"""`~user` for a user who is not there: told by the key or the argument, never a raw error."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import SettingsError, UserError
from handful.homes import NOBODY, at_home
from handful.settings import read_settings
from handful.storage.open import open_store

NOBODYS = "~nobody-of-this-name/place"
SETTINGS = """
[experiment]
STORE = {STORE}
[production]
DATABASE_URL = {DATABASE_URL}
LABEL_QUERY_FILE = {LABEL_QUERY_FILE}
FILES_URL = {FILES_URL}
FILES_FROM_PROD = text.txt
[reconcile]
LABEL_OVERRIDES = {LABEL_OVERRIDES}
[train]
MODEL_NAMES = {MODEL_NAMES}
"""
KEYS = {
    "STORE": NOBODYS,
    "DATABASE_URL": f"sqlite:///{NOBODYS}?timeout=5",
    "LABEL_QUERY_FILE": NOBODYS,
    "FILES_URL": NOBODYS,
    "LABEL_OVERRIDES": NOBODYS,
    "MODEL_NAMES": NOBODYS,
}


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_at_the_home_of_nobody(tmp_path: Path, key: str) -> None:
    (tmp_path / "query.sql").write_text("SELECT artifact_id, label FROM labels")
    (tmp_path / "labels.csv").write_text("a,b\n")
    fine = {
        "STORE": "~/store",
        "DATABASE_URL": "sqlite:///labels.db",
        "LABEL_QUERY_FILE": "query.sql",
        "FILES_URL": "~",
        "LABEL_OVERRIDES": "labels.csv",
        "MODEL_NAMES": "~/model, org/model",
    }
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**fine))
    found = read_settings(tmp_path)
    assert str(Path.home() / "store") == found.experiment.STORE
    assert found.train.MODEL_NAMES[0] == str(Path.home() / "model")
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**{**fine, key: KEYS[key]}))
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path)
    told = [fault for fault in raised.value.faults if fault.what.endswith(NOBODY)]
    assert len(told) == 1
    assert told[0].where.startswith("settings.ini:")
    assert told[0].where.endswith(key)


@pytest.mark.parametrize("section", ["experiment", "production"])
def test_certificates_at_the_home_of_nobody(tmp_path: Path, section: str) -> None:
    settings = f"[{section}]\nCA_BUNDLE = {NOBODYS}\n"
    (tmp_path / "settings.ini").write_text(settings)
    with pytest.raises(SettingsError, match=NOBODY):
        read_settings(tmp_path)


def test_elsewhere() -> None:
    with pytest.raises(UserError, match=NOBODY):
        open_store(NOBODYS)
    with pytest.raises(UserError, match=NOBODY):
        at_home("~nobody-of-this-name")
    assert at_home("~/place") == Path.home() / "place"
    assert at_home("./~place") == Path("~place")
