"""Reconcile end to end on SQLite and directories: the whole way, and every fate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handful import layout
from handful.errors import DataError
from handful.records import Fate, Reconciled
from tests.support.reconciling import PROCESS, Business, Forbidden, Silent, artifacts, summary, tree

LEDGER_COLUMNS = [
    "artifact_id",
    "label",
    "label_source",
    "file_hash",
    "fate",
    "reason",
    "files",
    "files_made",
    "repaired",
    "row",
]


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


# --- the whole way --------------------------------------------------------------------------------


def test_labels_and_files_become_copies_a_ledger_and_a_record(business: Business) -> None:
    business.some(5)
    before = tree(business.files)
    outcome = business.run()
    assert tree(artifacts(business)) == before
    assert tree(business.files) == before
    record = outcome.record
    assert (record.kept, record.copied) == (5, 5)
    assert record.labels == {"dog": 3, "cat": 2}
    assert list(record.labels) == ["dog", "cat"], "most frequent first"
    assert json.loads(outcome.store.read(layout.LABEL_COUNTS)) == {"dog": 3, "cat": 2}
    assert Reconciled.from_json(record.to_json()) == record
    ledger = outcome.ledger
    assert ledger.columns == LEDGER_COLUMNS
    row = outcome.rows("good-1")[0]
    assert row == {
        "artifact_id": "good-1",
        "label": "cat",
        "label_source": "query",
        "file_hash": "hash of good-1",
        "fate": "kept",
        "reason": "",
        "files": ["raw.txt"],
        "files_made": [],
        "repaired": False,
        "row": '{"extra": 0}',
    }


def test_labels_are_shown_before_the_first_copy(business: Business) -> None:
    business.some()
    steps = business.run().heard.steps
    assert steps.index("labels of 4 artifacts") < steps.index("copying")


def test_a_second_run_copies_nothing_and_asks_production_for_nothing(business: Business) -> None:
    business.functions += PROCESS
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    business.some()
    first = business.run()
    business.artifact("late", "cat")
    business.sql("DELETE FROM labels WHERE id = 'good-0'")
    second = business.run(source=Forbidden(), labels=Silent())
    assert second.record.copied == 0
    assert second.record.ledger_hash == first.record.ledger_hash
    assert second.ledger.equals(first.ledger)
    assert "process_func" not in second.heard.steps
    assert any("production as of" in note and "just now" in note for note in second.heard.notes)


# --- every fate -----------------------------------------------------------------------------------


@pytest.fixture
def full(business: Business) -> Business:
    """One of each fault, beside good artifacts."""
    business.settings["production"]["FILES_FROM_PROD"] = "raw.txt, page_*.png"
    business.settings["reconcile"] |= {
        "ON_LABEL_CONFLICT": "drop",
        "MAX_FAILED": "50%",
        "FILES_ON_RESEARCH": "raw.txt, page_*.png, truth.json",
    }
    business.functions += PROCESS.replace(
        "    told", '    if artifact.id == "raises": raise ValueError("a bad artifact")\n    told'
    )
    for name in ("b-good", "c-good", "raises", "b-copy", "a-copy", "two-labels", "one", "other"):
        business.file(f"{name}/raw.txt", name)
        business.file(f"{name}/page_1.png", name)
    business.row("b-good", "cat", "h1")
    business.row("b-good", "cat", "h1")
    business.row("c-good", "dog", "h2")
    business.row("c-good", None, "h2")
    business.row("raises", "dog", "h3")
    business.row("b-copy", "cat", "h4")
    business.row("a-copy", "cat", "h4")
    business.row("two-labels", "cat", "h5")
    business.row("two-labels", "dog", "h5")
    business.row("one", "cat", "h6")
    business.row("other", "dog", "h6")
    business.row("no-files", "dog", "h7")
    business.row("half", "dog", "h8")
    business.file("half/raw.txt")
    business.row("blank", "  ", "h9")
    business.file("stranger/raw.txt")
    business.row("../../x", "dog", "h10")
    business.row("line\nbreak", "dog", "h11")
    business.row(None, "dog", "h12")
    business.row("odd-file", "dog", "h13")
    business.file("odd-file/raw.txt")
    business.file("odd-file/page_\n.png")
    business.row("forms", "dog", "h14")
    business.file("forms/raw.txt")
    business.file("forms/page_\u00e9.png")
    business.file("forms/page_e\u0301.png")
    return business


def test_every_label_row_and_artifact_gets_its_fate_and_a_reason(full: Business) -> None:
    outcome = full.run()
    fates = {
        "b-good": ["kept", "duplicate_row"],
        "c-good": ["kept", "no_label"],
        "raises": ["process_failed"],
        "b-copy": ["duplicate"],
        "a-copy": ["kept"],
        "two-labels": ["conflict", "conflict"],
        "one": ["conflict"],
        "other": ["conflict"],
        "no-files": ["no_files"],
        "half": ["missing_files"],
        "blank": ["no_label"],
        "stranger": ["no_label_row"],
        "../../x": ["unsafe_name"],
        "line\nbreak": ["unsafe_name"],
        None: ["unsafe_name"],
        "odd-file": ["unsafe_name"],
        "forms": ["ambiguous_key"],
    }
    found = {artifact_id: outcome.fate(artifact_id) for artifact_id in fates}
    assert {k: sorted(v) for k, v in found.items()} == {k: sorted(v) for k, v in fates.items()}
    assert outcome.ledger.height == sum(map(len, fates.values()))
    reasons = {
        "b-copy": "'a-copy'",
        "two-labels": "'cat', 'dog'",
        "one": "'one', 'other'",
        "half": "'page_*.png'",
        "raises": "ValueError: a bad artifact",
        "../../x": "slash",
        "line\nbreak": "control character",
        "odd-file": "control character",
        "forms": "two keys stand for one file",
        "stranger": "no label row",
    }
    for artifact_id, words in reasons.items():
        assert words in outcome.reason(artifact_id), artifact_id
    assert all(row["reason"] for row in outcome.ledger.to_dicts() if row["fate"] != "kept")


def test_only_kept_artifacts_have_files_in_the_ledger_and_nothing_unsafe_is_copied(
    full: Business,
) -> None:
    outcome = full.run()
    for row in outcome.ledger.to_dicts():
        if row["fate"] == "kept":
            assert row["files"] == ["page_1.png", "raw.txt", "truth.json"]
            assert row["files_made"] == ["truth.json"]
        else:
            assert (row["files"], row["files_made"]) == ([], [])
    assert {path.name for path in artifacts(full).iterdir()} == {
        "a-copy",
        "b-good",
        "c-good",
        "raises",
    }
    assert not (artifacts(full) / "raises" / "truth.json").exists()


def test_the_totals_add_up_on_both_sides(full: Business) -> None:
    outcome = full.run()
    told = summary(outcome)
    ledger = outcome.ledger
    assert told["label_rows"]["total"] == sum(told["label_rows"]["fates"].values()) == 19
    artifacts_total = ledger["artifact_id"].drop_nulls().n_unique()
    assert told["artifacts"]["total"] == sum(told["artifacts"]["fates"].values())
    assert told["artifacts"]["total"] == artifacts_total
    assert told["artifacts"]["fates"]["kept"] == outcome.record.kept == 3
    assert sum(outcome.record.fates.values()) == ledger.height
    assert set(outcome.record.fates) <= {fate.value for fate in Fate}
    assert "what became of them" in outcome.heard.steps


def test_what_process_func_was_given(full: Business) -> None:
    full.run()
    told = json.loads((artifacts(full) / "c-good" / "truth.json").read_text())
    assert told == {
        "id": "c-good",
        "label": "dog",
        "row": {"artifact_id": "c-good", "label": "dog", "file_hash": "h2", "extra": 0},
        "files": ["page_1.png", "raw.txt"],
    }


def test_a_conflict_stops_by_default_and_names_the_artifacts(full: Business) -> None:
    del full.settings["reconcile"]["ON_LABEL_CONFLICT"]
    with pytest.raises(DataError, match="4 label rows contradict each other") as caught:
        full.run()
    assert "'two-labels'" in str(caught.value)
    assert "'cat', 'dog'" in str(caught.value)
    assert not artifacts(full).exists()


def test_missing_files_can_stop_it(full: Business) -> None:
    full.settings["reconcile"]["ON_MISSING_FILES"] = "stop"
    with pytest.raises(DataError, match="lack files") as caught:
        full.run()
    assert "'half'" in str(caught.value)
