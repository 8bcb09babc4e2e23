"""Reconcile end to end: SQLite and directories, every fate planted, restarts, repairs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from handful import layout
from handful.errors import Absent, DataError, Denied, Full, StepError, StoreError, UserError
from handful.records import Fate, Reconciled
from handful.storage.base import Entry, Source
from handful.storage.local import LocalSource, LocalStore
from reconciling import PROCESS, Business, tree

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


def artifacts(business: Business) -> Path:
    return business.folder / "store" / "EXP-1" / "data" / "reconciled_artifacts"


def summary(outcome: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.store.read(layout.SUMMARY))
    return found


# --- the whole way -------------------------------------------------------------------------------


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


class Forbidden:
    """A production that must not be asked."""

    url = "forbidden"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"production was asked to {name}")

    def list(self, prefix: str = "") -> Iterator[pa.RecordBatch]:
        raise AssertionError("production was listed")


class Silent:
    def rows(self) -> Iterator[pa.RecordBatch]:
        raise AssertionError("the database was asked")


# --- every fate ----------------------------------------------------------------------------------


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
    assert "what became of them" in outcome.heard.tables


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


# --- hashes, overrides, labels -------------------------------------------------------------------


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
        (b"good-0,\xff\n", "no CSV in UTF-8"),
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


# --- bad input -----------------------------------------------------------------------------------


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
    assert "did not make truth.json" in outcome.reason("good-1")


# --- the snapshot --------------------------------------------------------------------------------


def test_other_settings_need_a_refresh_and_say_so(business: Business) -> None:
    business.some()
    business.run()
    business.columns += ", 1 AS one"
    with pytest.raises(UserError, match=r"LABEL_QUERY changed.*\n.*reconcile .*EXP-1 --refresh"):
        business.run()
    assert '"one": 1' in business.run(refresh=True).ledger["row"][0]


def test_a_refresh_shows_the_difference_and_takes_it(business: Business) -> None:
    business.some()
    business.run()
    business.artifact("new", "cat")
    business.sql("DELETE FROM labels WHERE id = 'good-0'")
    business.sql("UPDATE labels SET label = 'dog' WHERE id = 'good-1'")
    business.file("good-2/raw.txt", "another text")
    outcome = business.run(refresh=True)
    [table] = [t for title, t in outcome.heard.tables.items() if "production since" in title]
    assert table == [("labelled artifacts", 1, 1, 1), ("files", 1, 0, 1)]
    assert outcome.heard.tables["changed labels (1)"] == [("good-1", "cat", "dog")]
    assert outcome.fate("good-0") == ["no_label_row"]
    assert (artifacts(business) / "good-2/raw.txt").read_text() == "another text"
    assert outcome.record.copied == 2
    assert any("1 stale files of 1 artifacts" in note for note in outcome.heard.notes)
    assert summary(outcome)["stale"]["ids"] == ["good-0"]


def test_a_refresh_that_cannot_be_used_changes_nothing(business: Business) -> None:
    business.some()
    business.run()
    before = tree(business.folder / "store")
    business.row("good-0", "another label")
    with pytest.raises(DataError, match="contradict"):
        business.run(refresh=True)
    assert tree(business.folder / "store") == before


def test_stale_copies_are_removed_by_prune_alone(business: Business) -> None:
    business.some()
    business.run()
    business.sql("DELETE FROM labels WHERE id = 'good-0'")
    business.run(refresh=True)
    assert (artifacts(business) / "good-0").exists()
    outcome = business.run(prune=True)
    assert not (artifacts(business) / "good-0").exists()
    assert (artifacts(business) / "good-1/raw.txt").exists()
    assert any("removed 1 stale files" in note for note in outcome.heard.notes)


@pytest.mark.parametrize("key", [layout.LABELS, layout.LISTING, layout.SNAPSHOT])
def test_a_damaged_snapshot_is_named(business: Business, key: str) -> None:
    business.some()
    business.run().store.write(key, b"{}")
    with pytest.raises(DataError, match="snapshot of production is damaged"):
        business.run()


def test_the_snapshot_holds_no_password(business: Business) -> None:
    business.some()
    password = "sec" + "ret-word"
    business.settings["production"]["DATABASE_URL"] = (
        f"sqlite:///{business.database}?password={password}"
    )
    outcome = business.run(labels=Rows(business))
    assert password.encode() not in b"".join(tree(business.folder / "store").values())
    about = json.loads(outcome.store.read(layout.SNAPSHOT))
    assert about["made_from"]["[production] DATABASE_URL"].endswith("labels.db")


class Rows:
    """The label rows, whatever DATABASE_URL says."""

    def __init__(self, business: Business) -> None:
        self._business = business

    def rows(self) -> Iterator[pa.RecordBatch]:
        from handful.labels.database import DatabaseLabels

        query = f"SELECT {self._business.columns} FROM labels"
        return DatabaseLabels(f"sqlite:///{self._business.database}", query).rows()


# --- additions, repairs, failures ----------------------------------------------------------------


def test_a_later_addition_to_files_from_prod_works_from_the_snapshot(business: Business) -> None:
    business.some()
    for number in range(4):
        business.file(f"good-{number}/more.txt", f"more {number}")
    business.run()
    business.settings["production"]["FILES_FROM_PROD"] = "raw.txt, more.txt"
    outcome = business.run(labels=Silent())
    assert outcome.record.copied == 4, "just the files that were lacking"
    assert outcome.rows("good-0")[0]["files"] == ["more.txt", "raw.txt"]


def test_overwrite_copies_everything_again(business: Business) -> None:
    business.some()
    business.run()
    business.settings["reconcile"]["OVERWRITE"] = "true"
    assert business.run().record.copied == 4


def test_what_was_lost_or_cut_short_in_the_store_is_brought_back(business: Business) -> None:
    business.functions += PROCESS
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    business.some()
    first = business.run()
    before = tree(artifacts(business))
    (artifacts(business) / "good-0/raw.txt").unlink()
    (artifacts(business) / "good-1/raw.txt").write_text("te")
    (artifacts(business) / "good-2/truth.json").unlink()
    outcome = business.run()
    assert tree(artifacts(business)) == before
    repaired = {
        row["artifact_id"]: row["reason"] for row in outcome.ledger.to_dicts() if row["repaired"]
    }
    assert set(repaired) == {"good-0", "good-1", "good-2"}
    assert "raw.txt" in repaired["good-0"]
    assert "truth.json" in repaired["good-2"]
    assert outcome.record.ledger_hash == first.record.ledger_hash


class Flaky(LocalSource):
    """Production with faults: by key, an error or another content."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.faults: dict[str, list[StoreError]] = {}
        self.after_listing: dict[str, str] = {}

    def list(self, prefix: str = "") -> Iterator[pa.RecordBatch]:
        yield from super().list(prefix)
        for key, content in self.after_listing.items():
            path = self._root / key
            if content:
                path.write_text(content)
                os.utime(path, ns=(1, 1))
            else:
                path.unlink()

    def file(self, key: str) -> Path:
        if self.faults.get(key):
            raise self.faults[key].pop(0)
        return super().file(key)


def test_copies_that_fail_are_told_apart_and_a_passing_fault_is_repaired(
    business: Business,
) -> None:
    business.some(8)
    business.settings["reconcile"]["MAX_FAILED"] = "60%"
    source = Flaky(business.files)
    denied = Denied("these credentials may not read it", where="production")
    source.faults = {
        "good-0/raw.txt": [denied] * 9,
        "good-1/raw.txt": [StoreError("a passing fault")],
    }
    source.after_listing = {
        "good-2/raw.txt": "",
        "good-3/raw.txt": "a longer text than it was",
    }
    outcome = business.run(source=source)
    assert outcome.fate("good-0") == ["copy_failed"]
    assert "may not read" in outcome.reason("good-0")
    assert outcome.fate("good-1") == ["kept"]
    assert outcome.rows("good-1")[0]["repaired"]
    assert "fetched again" in outcome.reason("good-1")
    assert outcome.fate("good-2") == ["missing_files"]
    assert "gone from production" in outcome.reason("good-2")
    assert outcome.fate("good-3") == ["copy_failed"]
    assert "changed in production" in outcome.reason("good-3")
    assert outcome.record.kept == 5


def test_a_change_that_keeps_the_size_is_noticed(business: Business) -> None:
    business.some()
    business.settings["reconcile"]["MAX_FAILED"] = "1"
    source = Flaky(business.files)
    source.after_listing = {"good-3/raw.txt": "TEXT OF GOOD-3"}
    outcome = business.run(source=source)
    assert outcome.fate("good-3") == ["copy_failed"]
    assert "changed in production" in outcome.reason("good-3")


def test_too_many_failures_end_the_step_and_a_rerun_goes_on(business: Business) -> None:
    business.some(6)
    source = Flaky(business.files)
    source.faults = {"good-5/raw.txt": [Denied("no", where="production")] * 9}
    with pytest.raises(StepError, match=r"1 of 6 artifacts failed, more than MAX_FAILED = 1%") as e:
        business.run(source=source)
    assert "good-5" in str(e.value)
    outcome = business.run()
    assert outcome.record.kept == 6


def test_a_full_disk_ends_it_at_once(business: Business) -> None:
    business.some(6)

    class Tiny(LocalStore):
        def copy_from(self, source: Source, source_key: str, key: str) -> None:
            raise Full("no room", where=self.url)

    with pytest.raises(Full):
        business.run(store=Tiny(business.folder / "tiny"))


def test_a_store_with_etags_of_its_own_is_trusted_by_size_and_by_memory(
    business: Business,
) -> None:
    """As with KMS: the same content has another etag in the store."""
    business.some()
    copies = []

    class Other(LocalStore):
        def copy_from(self, source: Source, source_key: str, key: str) -> None:
            copies.append(key)
            super().copy_from(source, source_key, key)
            os.utime(self._root / key)

    store = Other(business.folder / "other")
    assert business.run(store=store).record.copied == 4
    assert business.run(store=store).record.copied == 0
    business.file("good-0/raw.txt", "TEXT OF GOOD-0")
    assert business.run(store=store, refresh=True).record.copied == 1
    assert len(copies) == 5
    assert store.read("data/reconciled_artifacts/good-0/raw.txt") == b"TEXT OF GOOD-0"


def test_keys_of_every_kind_are_copied(business: Business) -> None:
    business.some()
    names = ["with space.txt", "plus+percent%20.txt", "ümläut-日本.txt", "sub/folder/x.txt"]
    business.settings["production"] |= {
        "FILES_FROM_PROD": "*.txt",
        "KEY_PATTERN": "deep/{artifact_id}/out/{file}",
    }
    for number in range(4):
        for name in names:
            business.file(f"deep/good-{number}/out/{name}", f"{number} {name}")
    outcome = business.run()
    assert outcome.rows("good-3")[0]["files"] == sorted(names)
    assert (artifacts(business) / "good-3/sub/folder/x.txt").read_text() == "3 sub/folder/x.txt"
    assert (artifacts(business) / "good-3" / names[2]).exists()


def test_production_is_never_written_to(business: Business) -> None:
    business.some()
    for path in [*business.files.rglob("*"), business.files]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in business.files.rglob("*")}
    outcome = business.run()
    assert outcome.record.kept == 4
    assert {path: path.stat().st_mtime_ns for path in business.files.rglob("*")} == before


def test_the_ledger_hash_tells_what_later_steps_read(business: Business) -> None:
    business.some()
    first = business.run().record.ledger_hash
    assert business.run().record.ledger_hash == first
    business.row("nobody", "cat")
    assert business.run(refresh=True).record.ledger_hash == first, "nothing kept has changed"
    business.sql("UPDATE labels SET extra = 7 WHERE id = 'good-0'")
    assert business.run(refresh=True).record.ledger_hash != first


def test_an_entry_is_what_the_store_says(business: Business) -> None:
    """The etags by which copies are compared are those of the stores themselves."""
    business.some()
    store = business.run().store
    key = "good-0/raw.txt"
    copied = store.head(f"data/reconciled_artifacts/{key}")
    original = LocalSource(business.files).head(key)
    assert Entry(key, copied.size, copied.etag) == original
    assert (
        pl.read_parquet(
            business.folder / "store" / "EXP-1" / layout.COPIES, memory_map=False
        ).height
        == 4
    )
