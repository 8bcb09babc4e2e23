"""Paths at which no file can be: told by the key or the argument, never a raw error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handful.errors import SettingsError, UserError
from handful.files.paths import LONGEST_PATH, NOBODY, TOO_LONG, at_home
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
FINE = {
    "STORE": "~/store",
    "DATABASE_URL": "sqlite:///labels.db",
    "LABEL_QUERY_FILE": "query.sql",
    "FILES_URL": "~",
    "LABEL_OVERRIDES": "",
    "MODEL_NAMES": "~/model, org/model",
}
PLACES = {NOBODYS: NOBODY, f"a/{'é' * 128}": TOO_LONG, "bb/" * 1400: TOO_LONG}
KEYS = "STORE", "DATABASE_URL", "LABEL_QUERY_FILE", "FILES_URL", "LABEL_OVERRIDES", "MODEL_NAMES"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("place", PLACES, ids=["nobody's", "long name", "long path"])
def test_a_setting_where_no_file_can_be(tmp_path: Path, key: str, place: str) -> None:
    (tmp_path / "query.sql").write_text("SELECT artifact_id, label FROM labels")
    (tmp_path / "labels.csv").write_text("a,b\n")
    fine = {**FINE, "LABEL_OVERRIDES": "labels.csv"}
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**fine))
    found = read_settings(tmp_path)
    assert str(Path.home() / "store") == found.experiment.STORE
    assert found.train.MODEL_NAMES[0] == str(Path.home() / "model")
    written = f"sqlite:///{place}?timeout=5" if key == "DATABASE_URL" else place
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**{**fine, key: written}))
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path)
    told = [fault for fault in raised.value.faults if fault.what.endswith(PLACES[place])]
    assert all(place[:9] in fault.what for fault in told if key == "MODEL_NAMES")
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


LEGAL = {
    "STORE": "./b/" * 1200,
    "DATABASE_URL": f"sqlite:///file:{'%D0%B0' * 60}.db?mode=ro&uri=true",
    "MODEL_NAMES": "./model/., /opt/model/.., ~/m/.",
    "LABEL_OVERRIDES": "",
}


@pytest.mark.parametrize("key", LEGAL)
def test_what_is_long_or_odd_only_as_it_is_written(tmp_path: Path, key: str) -> None:
    (tmp_path / "query.sql").write_text("SELECT artifact_id, label FROM labels")
    (tmp_path / "settings.ini").write_text(SETTINGS.format(**{**FINE, key: LEGAL[key]}))
    assert read_settings(tmp_path)


def test_a_model_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_text("SELECT artifact_id, label FROM labels")
    for model in ("s3://bucket/..", "s3://bucket/a/.", "/opt/.."):
        (tmp_path / "settings.ini").write_text(SETTINGS.format(**{**FINE, "MODEL_NAMES": model}))
        with pytest.raises(SettingsError, match="does not end in a name"):
            read_settings(tmp_path)


def test_overrides_that_are_too_long_only_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_text("SELECT artifact_id, label FROM labels")
    place = "a/" * ((LONGEST_PATH - len(str(tmp_path))) // 2) + "x"
    settings = SETTINGS.format(**{**FINE, "LABEL_OVERRIDES": place})
    (tmp_path / "settings.ini").write_text(settings)
    with pytest.raises(SettingsError) as raised:
        read_settings(tmp_path)
    assert [fault.where.split()[-1] for fault in raised.value.faults] == ["LABEL_OVERRIDES"]


def test_a_folder_whose_bytes_are_no_text_is_as_long_as_it_is(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/" + b"\xe4" * 90)
    store = open_store(f"{folder}/store")
    store.write("a", b"x")
    assert store.read("a") == b"x"


def test_a_url_of_a_file_that_cannot_be() -> None:
    with pytest.raises(UserError) as raised:
        open_store(f"file:///tmp/{'a' * 300}")
    assert raised.value.fault.what == TOO_LONG
