"""Reconcile: hashes, overrides and labels; input that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from handful.errors import Absent, DataError, UserError
from tests.support.reconciling import PROCESS, Business, Forbidden, Silent


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


# --- hashes, overrides, labels --------------------------------------------------------------------


def test_without_a_file_hash_the_contents_tell_duplicates(business: Business) -> None:
    business.columns = "id AS artifact_id, label"
    for name, label, content in (
        ("d", "cat", "same"),
        ("b", "cat", "same"),
        ("c", "cat", "other"),
        ("e", "dog", "a third"),
    ):
        business.row(name, label)
        business.file(f"{name}/raw.txt", content)
    outcome = business.run()
    assert outcome.fate("d") == ["duplicate"]
    assert "'b'" in outcome.reason("d")
    hashes = {row["artifact_id"]: row["file_hash"] for row in outcome.ledger.to_dicts()}
    assert all(hash.startswith("content:") for hash in hashes.values())
    assert hashes["b"] == hashes["d"] != hashes["c"]
    again = business.run()
    assert "reading contents" not in again.heard.steps, "what was read is remembered"
    assert again.ledger.equals(outcome.ledger)


def test_equal_contents_with_two_labels_are_a_conflict(business: Business) -> None:
    business.columns = "id AS artifact_id, label"
    business.settings["reconcile"]["ON_LABEL_CONFLICT"] = "drop"
    business.some()
    for name, label in (("x", "cat"), ("y", "dog")):
        business.row(name, label)
        business.file(f"{name}/raw.txt", "the same")
    outcome = business.run()
    assert outcome.fate("x") == outcome.fate("y") == ["conflict"]
    assert "'x', 'y'" in outcome.reason("x")


def test_overrides_replace_labels_and_the_ledger_says_so(business: Business) -> None:
    business.some()
    business.row("good-0", "cat", "hash of good-0")
    corrections = business.directory / "overrides.csv"
    corrections.write_text('artifact_id,label\ngood-0,"bird, small"\n')
    business.settings["reconcile"]["LABEL_OVERRIDES"] = "overrides.csv"
    outcome = business.run()
    assert sorted(outcome.fate("good-0")) == ["duplicate_row", "kept"]
    row = next(row for row in outcome.rows("good-0") if row["fate"] == "kept")
    assert (row["label"], row["label_source"]) == ("bird, small", "override")
    assert outcome.record.labels["bird, small"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("artifact_id,label\nnobody,cat\n", "no label row has the artifact id 'nobody'"),
        ("good-0,cat,dog\n", "not 3 fields"),
        ("good-0\n", "not 1 fields"),
        ("good-0,cat\ngood-0,dog\n", "another label in an earlier line"),
        ("good-0,\n", "empty"),
        ("artifact_id,label\n", "holds no line"),
        ('good-0,"cat\n', "no CSV"),
        (b"good-0,\xff\n", "no text in UTF-8"),
    ],
)
def test_a_bad_override_file_is_named(business: Business, text: str | bytes, words: str) -> None:
    business.some()
    path = business.directory / "o.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    business.settings["reconcile"]["LABEL_OVERRIDES"] = "o.csv"
    with pytest.raises(DataError, match=words) as caught:
        business.run()
    assert "o.csv" in str(caught.value)


def test_labels_that_look_alike_are_warned_about_with_the_alias(business: Business) -> None:
    business.some()
    business.artifact("x", "Cat")
    business.artifact("y", " cat")
    warnings = business.run().heard.warnings
    assert len(warnings) == 1
    assert "'cat' (2 rows), ' cat' (1 rows), 'Cat' (1 rows)" in warnings[0]
    business.sql("DELETE FROM labels WHERE id = 'y'")
    [warning] = business.run(refresh=True).heard.warnings
    assert "LABEL_ALIASES: Cat = cat" in warning
    business.settings["prepare"] = {"LABEL_ALIASES": "Cat = cat"}
    assert business.run().heard.warnings == []


# --- bad input ------------------------------------------------------------------------------------


def test_an_empty_label_table(business: Business) -> None:
    business.file("a/raw.txt")
    with pytest.raises(DataError, match="no label rows"):
        business.run()


def test_an_empty_bucket(business: Business) -> None:
    business.row("a", "cat")
    with pytest.raises(DataError, match="there is no file"):
        business.run()


def test_a_missing_bucket_is_no_empty_one(business: Business) -> None:
    business.row("a", "cat")
    business.settings["production"]["FILES_URL"] = str(business.folder / "nowhere")
    with pytest.raises(Absent):
        business.run()


def test_a_pattern_that_fits_no_key_shows_a_key(business: Business) -> None:
    business.some()
    business.settings["production"]["KEY_PATTERN"] = "docs/{artifact_id}/x/{file}"
    business.file("docs/good-0/raw.txt")
    with pytest.raises(DataError, match=r"fits KEY_PATTERN.*'docs/good-0/raw.txt'"):
        business.run()


def test_ids_in_another_case_are_the_likely_cause(business: Business) -> None:
    for number in range(3):
        business.row(f"ABC-{number}", "cat")
        business.file(f"abc-{number}/raw.txt")
    with pytest.raises(DataError, match="no artifact is left") as caught:
        business.run()
    assert "differ only in case" in str(caught.value)
    assert "no_files 3" in str(caught.value)


def test_a_pattern_that_fits_in_the_wrong_way_shows_a_key_and_an_id(business: Business) -> None:
    business.row("a", "cat")
    business.file("x/a/raw.txt")
    with pytest.raises(DataError, match=r"'x/a/raw\.txt' is read as artifact 'x'"):
        business.run()


def test_one_label_is_not_enough(business: Business) -> None:
    business.artifact("a", "cat")
    business.artifact("b", "cat")
    with pytest.raises(DataError, match="all 2 artifacts that are left have the label 'cat'"):
        business.run()


def test_a_name_that_nobody_can_give_is_found_before_anything_starts(business: Business) -> None:
    business.some()
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    with pytest.raises(UserError, match=r"nobody can give 'truth\.json'"):
        business.run(source=Forbidden(), labels=Silent())


def test_a_process_func_that_does_not_make_its_file(business: Business) -> None:
    business.some()
    business.settings["reconcile"] |= {
        "FILES_ON_RESEARCH": "raw.txt, truth.json",
        "MAX_FAILED": "1",
    }
    business.functions += PROCESS.replace(
        "    told", '    if artifact.id == "good-1": return\n    told'
    )
    outcome = business.run()
    assert outcome.fate("good-1") == ["process_failed"]
    assert "did not make 'truth.json'" in outcome.reason("good-1")


def test_a_file_that_production_or_process_func_might_give_and_nobody_did(
    business: Business,
) -> None:
    """Not known before process_func has run; then it is missing, and nobody has failed."""
    business.some()
    business.file("good-0/note.txt")
    business.settings["production"]["FILES_FROM_PROD"] = "*.txt"
    business.settings["reconcile"] |= {"FILES_ON_RESEARCH": "raw.txt, note.txt", "MAX_FAILED": "0"}
    writes = '    if artifact.id == "good-1": (artifact_path / "note.txt").write_text("")\n    told'
    business.functions += PROCESS.replace("    told", writes, 1)
    outcome = business.run()
    fates = {row["artifact_id"]: row["fate"] for row in outcome.ledger.to_dicts()}
    assert fates == {
        "good-0": "kept",
        "good-1": "kept",
        "good-2": "missing_files",
        "good-3": "missing_files",
    }
    lacks = "production lacks 'note.txt', and process_func did not make it"
    assert outcome.reason("good-2") == lacks
    assert outcome.rows("good-1")[0]["files_made"] == ["note.txt", "truth.json"]
    business.settings["reconcile"]["ON_MISSING_FILES"] = "stop"
    with pytest.raises(DataError, match="2 artifacts lack files: 'good-2', 'good-3'") as caught:
        business.run()
    assert lacks in str(caught.value)
