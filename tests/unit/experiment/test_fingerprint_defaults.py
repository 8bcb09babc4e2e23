"""A key at its default is in no fingerprint, but for those that the first stores hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from handful.experiment.fingerprint import difference
from handful.settings import list_counted_model_settings, list_counted_settings, read_settings
from handful.settings.counted import HASHED_AT_DEFAULT
from handful.settings.declare import STEPS, keys_of
from handful.settings.sections.all import SECTIONS

KEYS = [(section, key) for section, kind in SECTIONS.items() for key in keys_of(kind).values()]
NEEDED = {
    "production": {
        "DATABASE_URL": "sqlite:///labels.db",
        "LABEL_QUERY": "SELECT artifact_id, label FROM documents",
        "FILES_URL": "files",
        "FILES_FROM_PROD": "text.txt",
    },
    "train": {"MODEL_NAMES": "one"},
}


def fingerprints(directory: Path, **changes: dict[str, str]) -> dict[str, dict[str, str]]:
    """Each step's entries of settings, and those of one run; `changes`: section → key → text."""
    text = ""
    for section in {**NEEDED, **changes}:
        keys = {**NEEDED.get(section, {}), **changes.get(section, {})}
        text += f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
    (directory / "settings.ini").write_text(text)
    settings = read_settings(directory)
    each = {step: dict(list_counted_settings(settings, step)) for step in STEPS}
    return {**each, "a run": dict(list_counted_model_settings(settings, "one"))}


@pytest.fixture
def no_key_is_of_the_first_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package gives the function of the module's name, so the module is taken from its own.
    module = sys.modules[list_counted_settings.__module__]
    monkeypatch.setattr(module, "HASHED_AT_DEFAULT", {"train": frozenset()})


def test_what_is_not_written_enters_only_if_the_first_stores_hold_it(tmp_path: Path) -> None:
    entries = {entry for found in fingerprints(tmp_path).values() for entry in found}
    assert entries == {
        f"[{section}] {key}" for section, keys in HASHED_AT_DEFAULT.items() for key in keys
    }


@pytest.mark.parametrize("kept", [True, False], ids=["as it is", "were it a new key"])
def test_a_default_that_is_written_changes_no_fingerprint(
    kept: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not kept:
        request.getfixturevalue("no_key_is_of_the_first_stores")
    without = fingerprints(tmp_path)
    written = 0
    for section, key in KEYS:
        if key.default is not None:
            assert fingerprints(tmp_path, **{section: {key.name: key.default}}) == without, key.name
            written += 1
    assert written > 40


@pytest.mark.usefixtures("no_key_is_of_the_first_stores")
def test_a_new_key_enters_with_another_value_and_is_told() -> None:
    assert difference({}, {"[prepare] NEAR_DUPLICATES": "ignore"}) == (
        "[prepare] NEAR_DUPLICATES changed from group to ignore"
    )
    assert difference({"[train] EARLY_STOPPING_PATIENCE": "2"}, {}) == (
        "[train] EARLY_STOPPING_PATIENCE changed from 2 to none"
    )


@pytest.mark.usefixtures("no_key_is_of_the_first_stores")
def test_a_new_key_counts_once_it_is_set(tmp_path: Path) -> None:
    before = fingerprints(tmp_path)
    after = fingerprints(tmp_path, prepare={"NEAR_DUPLICATES": "ignore"}, train={"WARMUP": "0.3"})
    changed = {step for step in after if after[step] != before[step]}
    assert changed == {"prepare", "train", "a run"}
    assert difference(before["a run"], after["a run"]) == "[train] WARMUP changed from 0.1 to 0.3"


@pytest.mark.usefixtures("no_key_is_of_the_first_stores")
def test_a_new_key_of_one_model_counts_where_it_differs_from_train(tmp_path: Path) -> None:
    wide = {"train": {"WARMUP": "0.3"}}
    same = fingerprints(tmp_path, **wide, **{"train:one": {"WARMUP": "0.3"}})
    assert same == fingerprints(tmp_path, **wide)
    back = fingerprints(tmp_path, **wide, **{"train:one": {"WARMUP": "0.1"}})
    assert back["train"]["[train:one] WARMUP"] == "0.1"
    assert back["a run"] == fingerprints(tmp_path)["a run"]


def test_an_entry_that_counts_no_more_is_ignored() -> None:
    then = {"[train] A_KEY_OF_OLD": "5", "[prepare] NUM_PROCESSES": "2", "[train] EPOCHS": "3.0"}
    assert difference(then, {"[train] EPOCHS": "3.0"}) is None


def test_what_the_user_took_away_is_a_change() -> None:
    for entry in ("[tune] LEARNING_RATE", "[user] WIDTH", "[train:one] WARMUP"):
        assert difference({entry: "0.5"}, {}) == f"{entry} is gone"
