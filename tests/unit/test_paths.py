"""Paths at which no file can be: told by the key or the argument, never a raw error."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import SettingsError, UserError
from handful.paths import NOBODY, TOO_LONG, at_home
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
PLACES = {NOBODYS: NOBODY, f"a/{'é' * 128}": TOO_LONG, "./b/" * 1200: TOO_LONG}
KEYS = "STORE", "DATABASE_URL", "LABEL_QUERY_FILE", "FILES_URL", "LABEL_OVERRIDES", "MODEL_NAMES"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("place", PLACES, ids=["nobody's", "long name", "long path"])
def test_a_setting_where_no_file_can_be(tmp_path: Path, key: str, place: str) -> None:
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
    written = f"sqlite:///{place}?timeout=5" if key == "DATABASE_URL" else place
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**{**fine, key: written}))
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path)
    told = [fault for fault in raised.value.faults if fault.what.endswith(PLACES[place])]
    assert len(told) == 1
    assert told[0].where.startswith("settings.ini:")
    assert told[0].where.endswith(key)


@pytest.mark.parametrize("section", ["experiment", "production"])
@pytest.mark.parametrize("place", PLACES, ids=["nobody's", "long name", "long path"])
def test_certificates_where_no_file_can_be(tmp_path: Path, section: str, place: str) -> None:
    settings = f"[{section}]\nCA_BUNDLE = {place}\n"
    (tmp_path / "settings.ini").write_text(settings)
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path)
    assert any(fault.what.endswith(PLACES[place]) for fault in raised.value.faults)


def test_elsewhere() -> None:
    for place, why in PLACES.items():
        with pytest.raises(UserError) as raised:
            open_store(place)
        assert raised.value.fault.what == why
    with pytest.raises(UserError, match=NOBODY):
        at_home("~nobody-of-this-name")
    assert at_home("~/place") == Path.home() / "place"
    assert at_home("./~place") == Path("~place")
