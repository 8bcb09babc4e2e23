"""FILES_URL = none: the documents are columns of the label rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handful import layout
from handful.errors import DataError, SettingsError, UserError
from tests.support.reconciling import (
    PROCESS,
    Business,
    Forbidden,
    Outcome,
    Silent,
    artifacts,
    summary,
    tree,
)


def without_files(folder: Path, files: str = "text.txt") -> Business:
    """A business whose query gives the column `text`, and no file anywhere."""
    business = Business(folder)
    business.files.rmdir()
    business.sql("ALTER TABLE labels ADD COLUMN text")
    business.columns = "id AS artifact_id, label, hash AS file_hash, extra, text AS Text"
    business.settings["production"] |= {"FILES_URL": "none", "FILES_FROM_PROD": files}
    return business


def add(
    business: Business, id: str | None, label: str | None, text: Any, hash: str | None = None
) -> None:
    business.sql("INSERT INTO labels VALUES (?, ?, ?, 0, ?)", id, label, hash, text)


@pytest.fixture
def business(tmp_path: Path) -> Business:
    found = without_files(tmp_path)
    for number in range(4):
        add(found, f"good-{number}", "cat" if number % 2 else "dog", f"text of good-{number}")
    return found


def again(business: Business, **options: Any) -> Outcome:
    """A run that asks production for nothing."""
    return business.run(source=Forbidden(), labels=Silent(), **options)  # type: ignore[arg-type]


def test_a_column_becomes_the_file_of_each_artifact(business: Business) -> None:
    outcome = business.run()
    assert outcome.record.kept == outcome.record.copied == 4
    assert tree(artifacts(business)) == {
        f"good-{n}/text.txt": f"text of good-{n}".encode() for n in range(4)
    }
    (kept,) = outcome.rows("good-0")
    assert (kept["fate"], kept["files"]) == ("kept", ["text.txt"])
    assert json.loads(kept["row"]) == {"extra": 0}
    assert (
        "text of good"
        not in pl.read_parquet(
            artifacts(business).parent / "reconciliation/labels.parquet"
        ).write_csv()
    )
    assert summary(outcome)["artifacts"] == {
        "total": 4,
        "in_label_rows": 4,
        "in_file_store": 4,
        "fates": {"kept": 4},
    }


def test_a_second_run_asks_nothing_and_reads_no_document(business: Business) -> None:
    first = business.run()
    documents = artifacts(business).parent / "reconciliation" / "documents.parquet"
    documents.unlink()
    second = again(business)
    assert second.record.copied == 0
    assert second.record.ledger_hash == first.record.ledger_hash


def test_what_was_lost_or_spoilt_is_made_again_from_the_snapshot(business: Business) -> None:
    first = business.run()
    (artifacts(business) / "good-0" / "text.txt").unlink()
    (artifacts(business) / "good-1" / "text.txt").write_text("short")
    second = again(business)
    assert second.record.copied == 2
    assert second.record.ledger_hash == first.record.ledger_hash
    assert (artifacts(business) / "good-1" / "text.txt").read_text() == "text of good-1"
    assert second.rows("good-0")[0]["repaired"]
    third = again(business, compare_contents=True)
    assert third.record.ledger_hash == first.record.ledger_hash


def test_what_became_of_each_row(business: Business) -> None:
    business.settings["reconcile"] |= {
        "ON_LABEL_CONFLICT": "drop",
        "ON_MISSING_FILES": "drop",
    }
    add(business, "null", "cat", None)
    add(business, "empty", "cat", "")
    add(business, "twice", "cat", "the same")
    add(business, "twice", "cat", "the same")
    add(business, "two-texts", "cat", "one")
    add(business, "two-texts", "cat", "two")
    add(business, "at-odds", "cat", "a")
    add(business, "at-odds", "dog", "b")
    add(business, "no-label", None, "x")
    add(business, "../../etc/passwd", "cat", "root")
    add(business, None, "cat", "whose?")
    add(business, "later", None, "before it had a label")
    add(business, "later", "dog", "with its label")
    add(business, "copy", "cat", "text of good-1")
    outcome = business.run()
    expected = {
        "null": ["missing_files"],
        "empty": ["kept"],
        "twice": ["kept", "duplicate_row"],
        "two-texts": ["ambiguous_key", "duplicate_row"],
        "at-odds": ["conflict", "conflict"],
        "no-label": ["no_label"],
        "../../etc/passwd": ["unsafe_name"],
        None: ["unsafe_name"],
        "later": ["no_label", "kept"],
        "copy": ["kept"],
        "good-1": ["duplicate"],
    }
    assert {id: outcome.fate(id) for id in expected} == expected
    assert "production lacks 'text.txt'" in outcome.reason("null")
    assert "different documents as 'text.txt'" in outcome.reason("two-texts")
    copies = tree(artifacts(business))
    assert copies["empty/text.txt"] == b""
    assert copies["later/text.txt"] == b"with its label"
    assert not any("passwd" in key for key in copies)
    assert not (business.folder / "etc").exists()


def test_no_artifact_is_put_together_from_halves_of_rows(tmp_path: Path) -> None:
    business = without_files(tmp_path, "text.txt, more.txt")
    business.settings["reconcile"] |= {"ON_MISSING_FILES": "drop"}
    business.sql("ALTER TABLE labels ADD COLUMN more")
    business.columns += ", more"

    def row(id: str, text: str | None, more: str | None) -> None:
        business.sql(
            "INSERT INTO labels VALUES (?, ?, NULL, 0, ?, ?)", id, label_of(id), text, more
        )

    def label_of(id: str) -> str:
        return "dog" if id == "same" else "cat"

    given = {
        "halves": (("t", None), (None, "m")),
        "more-in-one": (("t2", None), ("t2", "m2")),
        "same": (("t3", "m3"), ("t3", "m3")),
        "one-says-nothing": (("t4", "m4"), (None, None)),
        "swapped": (("t5", "m5"), ("m5", "t5")),
    }
    for id, pairs in given.items():
        for text, more in pairs:
            row(id, text, more)
    outcome = business.run()
    assert {id: outcome.fate(id)[0] for id in given} == {
        "halves": "ambiguous_key",
        "more-in-one": "ambiguous_key",
        "same": "kept",
        "one-says-nothing": "kept",
        "swapped": "ambiguous_key",
    }
    assert "different documents as 'more.txt'" in outcome.reason("halves")
    assert set(tree(artifacts(business))) == {
        f"{id}/{name}" for id in ("same", "one-says-nothing") for name in ("text.txt", "more.txt")
    }


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    ledgers = []
    for order in ("rowid", "rowid DESC"):
        business = without_files(tmp_path / order.replace(" ", "-"))
        for number in range(20):
            add(business, f"id-{number}", "cat" if number % 2 else "dog", f"text {number % 18}")
        add(business, "id-3", "cat", "another text")
        business.settings["production"]["LABEL_QUERY"] = (
            f"SELECT {business.columns} FROM labels ORDER BY {order}"
        )
        ledgers.append(business.run().ledger.sort(pl.all()))
    assert ledgers[0].equals(ledgers[1])


def test_the_ledger_is_that_of_the_same_documents_as_files(tmp_path: Path) -> None:
    """All of it but the key of a duplicate's hash, which tells what it was made from."""
    ledgers = []
    for name in ("rows", "files"):
        folder = tmp_path / name
        business = without_files(folder)
        if name == "files":
            business.columns = "id AS artifact_id, label, hash AS file_hash, extra"
            business.settings["production"] = {"FILES_FROM_PROD": "text.txt"}
        for number in range(12):
            text = f"text {number % 10}"
            add(business, f"id-{number}", "cat" if number % 2 else "dog", text)
            if name == "files":
                business.file(f"id-{number}/text.txt", text)
        add(business, "id-1", "cat", "text 1")
        add(business, "id-4", "dog", "text 4")
        ledgers.append(business.run().ledger.drop("file_hash"))
    assert ledgers[0].equals(ledgers[1])


def test_refresh_tells_what_changed_and_brings_it(business: Business) -> None:
    business.run()
    business.sql("UPDATE labels SET text = 'TEXT of good-0' WHERE id = 'good-0'")
    business.sql("DELETE FROM labels WHERE id = 'good-1'")
    add(business, "good-9", "cat", "a ninth")
    outcome = business.run(refresh=True, prune=True)
    (difference,) = [rows for title, rows in outcome.heard.tables if "production since" in title]
    assert list(difference) == [("labelled artifacts", 1, 1, 0), ("files", 1, 1, 1)]
    assert tree(artifacts(business)) == {
        "good-0/text.txt": b"TEXT of good-0",
        "good-2/text.txt": b"text of good-2",
        "good-3/text.txt": b"text of good-3",
        "good-9/text.txt": b"a ninth",
    }


def test_other_columns_ask_for_a_new_snapshot(business: Business) -> None:
    business.run()
    business.settings["production"]["FILES_FROM_PROD"] = "text.txt, extra.txt"
    with pytest.raises(UserError, match="FILES_FROM_PROD changed"):
        business.run()
    assert business.run(refresh=True).record.kept == 4
    assert (artifacts(business) / "good-0" / "extra.txt").read_text() == "0"


def test_process_func_has_the_file(business: Business) -> None:
    business.functions += PROCESS
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "text.txt, truth.json"
    assert business.run().record.kept == 4
    told = json.loads((artifacts(business) / "good-0" / "truth.json").read_text())
    assert (told["id"], told["files"]) == ("good-0", ["text.txt"])
    assert set(told["row"]) == {"artifact_id", "label", "file_hash", "extra"}


def test_a_column_that_the_query_does_not_give_is_named(business: Business) -> None:
    business.settings["production"]["FILES_FROM_PROD"] = "txt.json"
    with pytest.raises(
        UserError, match="'artifact_id', 'label', 'file_hash', 'extra', 'Text'"
    ) as e:
        business.run()
    assert e.value.exit_status == 2
    assert "perhaps Text.json" in str(e.value)


def test_a_column_that_is_there_twice_is_refused(business: Business) -> None:
    business.columns += ", 'x' AS text"
    with pytest.raises(DataError, match="'text' 2 times"):
        business.run()


def test_only_nulls_are_no_documents(tmp_path: Path) -> None:
    business = without_files(tmp_path)
    add(business, "a", "cat", None)
    with pytest.raises(DataError, match="NULL in every label row"):
        business.run()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"KEY_PATTERN": "{artifact_id}.txt"}, "KEY_PATTERN"),
        ({"FILE_KEY_COLUMN": "text"}, "FILE_KEY_COLUMN"),
        ({"FILE_BUCKETS": "other"}, "FILE_BUCKETS"),
        ({"FILES_FROM_PROD": "*.txt"}, "names no column"),
        ({"FILES_FROM_PROD": "text"}, "names no column"),
        ({"FILES_FROM_PROD": "a/text.txt"}, "names no column"),
        ({"FILES_FROM_PROD": ".txt"}, "names no column"),
    ],
)
def test_what_needs_files_is_refused(
    business: Business, settings: dict[str, str], told: str
) -> None:
    business.settings["production"] |= settings
    with pytest.raises(SettingsError, match=told) as error:
        business.run()
    assert error.value.exit_status == 2


def test_a_damaged_snapshot_is_told(business: Business) -> None:
    business.run()
    documents = artifacts(business).parent / "reconciliation" / "documents.parquet"
    documents.write_bytes(documents.read_bytes()[:-20])
    (artifacts(business) / "good-0" / "text.txt").unlink()
    with pytest.raises(DataError, match="snapshot of production is damaged") as error:
        again(business)
    assert layout.DOCUMENTS in str(error.value)


def test_two_spellings_of_one_guid_are_one_artifact(tmp_path: Path) -> None:
    business = without_files(tmp_path)
    business.settings["production"]["ID_FORMAT"] = "guid"
    guid = "8f14e45f-ceea-467f-9e0b-1c0a5c8d3f11"
    add(business, guid, "cat", "one text")
    add(business, "{" + guid.upper() + "}", "cat", "one text")
    add(business, "other", "dog", "another text")
    outcome = business.run()
    assert sorted(outcome.fate(guid)) == ["duplicate_row", "kept"]
    assert tree(artifacts(business)) == {
        f"{guid}/text.txt": b"one text",
        "other/text.txt": b"another text",
    }


def test_an_override_gives_a_label_to_a_row_without_one(business: Business) -> None:
    add(business, "unsure", None, "text of unsure")
    (business.directory / "labels.csv").write_text("artifact_id,label\nunsure,cat\n")
    business.settings["reconcile"]["LABEL_OVERRIDES"] = "labels.csv"
    assert business.run().fate("unsure") == ["kept"]
    assert (artifacts(business) / "unsure" / "text.txt").read_text() == "text of unsure"


def test_from_files_to_rows_and_back(business: Business) -> None:
    """Another FILES_URL asks for a new snapshot; documents of an old one are not left behind."""
    business.run()
    documents = artifacts(business).parent / "reconciliation" / "documents.parquet"
    assert documents.exists()
    for number in range(4):
        business.file(f"good-{number}/text.txt", f"text of good-{number}")
    business.settings["production"] |= {"FILES_URL": str(business.files)}
    with pytest.raises(UserError, match="FILES_URL"):
        business.run()
    assert business.run(refresh=True).record.kept == 4
    assert not documents.exists()
    business.settings["production"] |= {"FILES_URL": "none"}
    assert business.run(refresh=True).record.kept == 4
    assert documents.exists()
