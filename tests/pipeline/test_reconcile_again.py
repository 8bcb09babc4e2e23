"""Reconcile again: the snapshot, additions, repairs, failures."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from handful import layout
from handful.errors import DataError, Denied, Full, StepError, StoreError, UserError
from handful.steps.reconcile.copying import overwrite_journal
from handful.storage.base import Entry, Source
from handful.storage.local.store import LocalSource, LocalStore
from tests.support.reconciling import PROCESS, Business, Silent, artifacts, summary, tree


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


# --- the snapshot ---------------------------------------------------------------------------------


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
    [table] = [t for title, t in outcome.heard.tables if "production since" in title]
    assert table == [("labelled artifacts", 1, 1, 1), ("files", 1, 0, 1)]
    assert dict(outcome.heard.tables)["changed labels (1)"] == [("good-1", "cat", "dog")]
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
    assert summary(outcome)["stale"] == {"artifacts": 0, "files": 0, "bytes": 0, "ids": []}


@pytest.mark.parametrize("key", [layout.LABELS, layout.LISTING, layout.SNAPSHOT])
def test_a_damaged_snapshot_is_named(business: Business, key: str) -> None:
    business.some()
    business.run().store.write(key, b"{}")
    with pytest.raises(DataError, match="snapshot of production is damaged"):
        business.run()


def test_nothing_goes_on_behind_an_error(business: Business) -> None:
    """What was begun meanwhile has ended, too: the scratch folder and the lock are free."""
    business.some()
    business.run().store.write(layout.LABELS, b"{}")
    found_out = threading.Event()
    listed = []

    class Slow(LocalStore):
        """Still lists when the fault is found."""

        def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
            assert found_out.wait(60)
            time.sleep(0.3)
            listed.append(prefix)
            return super().list(prefix, near=near)

        def fetch(self, key: str, path: Path) -> None:
            super().fetch(key, path)
            if key == layout.LABELS:
                found_out.set()

    with pytest.raises(DataError, match="snapshot of production is damaged"):
        business.run(store=Slow(business.folder / "store" / "EXP-1"))
    assert len(listed) == 1
    assert [t for t in threading.enumerate() if t.name == "handful-meanwhile"] == []


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


# --- additions, repairs, failures -----------------------------------------------------------------


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


@pytest.mark.slow
def test_an_interrupted_overwrite_goes_on_where_it_was(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overwrite_journal, "SAVE_SECONDS", 0.0)
    log = business.folder / "log"
    said = f'    open("{log}", "a").write(artifact.id + "\\n")\n    told'
    business.functions += PROCESS.replace("    told", said, 1)
    business.settings["reconcile"] |= {
        "FILES_ON_RESEARCH": "raw.txt, truth.json",
        "COPY_CONCURRENCY": "1",
    }
    business.some(8)
    expected = business.run()
    log.unlink()
    business.settings["reconcile"]["OVERWRITE"] = "true"
    copied: list[str] = []

    class Ends(LocalStore):
        """Loses its machine while the sixth file is copied."""

        def copy_from(self, source: Source, source_key: str, key: str) -> None:
            if len(copied) == 5:
                raise KeyboardInterrupt
            super().copy_from(source, source_key, key)
            copied.append(key)

    with pytest.raises(KeyboardInterrupt):
        business.run(store=Ends(business.folder / "store" / "EXP-1"))
    assert len(copied) == 5
    outcome = business.run()
    assert outcome.record.copied == 3
    assert "OVERWRITE goes on: 5 files and artifacts were done before" in outcome.heard.notes
    assert sorted(log.read_text().split()) == [f"good-{n}" for n in range(8)]
    assert outcome.ledger.equals(expected.ledger)
    assert business.run().record.copied == 8, "the next one begins anew"


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

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        yield from super().list(prefix, near=near)
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
