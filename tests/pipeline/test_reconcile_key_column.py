"""Keys from the database: FILE_KEY_COLUMN on a directory, and on a real S3 server."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handful import layout
from handful.errors import Damaged, DataError, SettingsError, StepError, UserError
from tests.support.reconciling import (
    PROCESS,
    Business,
    Forbidden,
    Outcome,
    artifacts,
    summary,
    tree,
)


def by_column(folder: Path) -> Business:
    """A business whose query gives a column `file_key`; its rows are made by `names`."""
    business = Business(folder)
    business.sql("ALTER TABLE labels ADD COLUMN file_key TEXT")
    business.columns = "id AS artifact_id, label, hash AS file_hash, file_key"
    business.settings["production"] |= {"FILE_KEY_COLUMN": "file_key", "FILES_FROM_PROD": "*.txt"}
    return business


def names(
    business: Business, id: str | None, label: str | None, key: str | None, hash: str | None = None
) -> None:
    """A label row that names a file."""
    business.sql("INSERT INTO labels VALUES (?, ?, ?, 0, ?)", id, label, hash, key)


def plain(business: Business, count: int = 4) -> None:
    """Good artifacts good-0, …: two rows each, two files each."""
    for number in range(count):
        label = "cat" if number % 2 else "dog"
        for file in ("1.txt", "2.txt"):
            business.file(f"2024/{number}/{file}", f"{file} of {number}")
            names(business, f"good-{number}", label, f"2024/{number}/{file}")


@pytest.fixture
def business(tmp_path: Path) -> Business:
    found = by_column(tmp_path)
    plain(found)
    return found


def fates(outcome: Outcome, id: str) -> list[tuple[str, str]]:
    """(fate, the key that the row names) of an artifact's rows, in order."""
    rows = outcome.rows(id)
    return [(row["fate"], json.loads(row["row"])["file_key"]) for row in rows]


def test_rows_of_one_artifact_are_its_files(business: Business) -> None:
    business.file("unnamed/3.txt")
    outcome = business.run()
    assert outcome.record.kept == 4
    assert tree(artifacts(business)) == {
        f"good-{n}/{file}": f"{file} of {n}".encode()
        for n in range(4)
        for file in ("1.txt", "2.txt")
    }
    assert fates(outcome, "good-0") == [("kept", "2024/0/1.txt"), ("file_row", "2024/0/2.txt")]
    kept, other = outcome.rows("good-0")
    assert kept["files"] == ["1.txt", "2.txt"]
    assert other["files"] == []
    assert other["reason"] == "it gives '2.txt'; another row tells what became of the artifact"
    told = summary(outcome)
    assert told["label_rows"] == {"total": 8, "fates": {"file_row": 4, "kept": 4}}
    assert told["artifacts"]["fates"] == {"kept": 4}
    assert told["artifacts"]["in_file_store"] == 4
    assert told["keys"]["given_by_column"] == "file_key"
    assert (told["keys"]["total"], told["keys"]["found"]) == (8, 8)
    assert "cannot be known" in told["keys"]["no_label_row"]
    assert any("no_label_row cannot be known" in note for note in outcome.heard.notes)
    assert "listing" not in outcome.heard.steps
    assert outcome.record.labels == {"cat": 2, "dog": 2}


def test_a_second_run_asks_nothing_of_production(business: Business) -> None:
    first = business.run()
    again = business.run(source=Forbidden(), labels=Forbidden())  # type: ignore[arg-type]
    assert again.record.copied == 0
    assert again.record.ledger_hash == first.record.ledger_hash


def test_the_order_of_the_rows_changes_nothing(tmp_path: Path) -> None:
    ledgers = []
    for order in ("rowid", "rowid DESC"):
        business = by_column(tmp_path / order.replace(" ", "-"))
        plain(business)
        names(business, "good-0", "dog", "2024/0/2.txt")
        names(business, "good-1", "cat", None)
        business.settings["production"]["LABEL_QUERY"] = (
            f"SELECT {business.columns} FROM labels ORDER BY {order}"
        )
        ledgers.append(business.run().ledger.drop("row").sort(pl.all()))
    assert ledgers[0].equals(ledgers[1])


def test_what_a_row_beside_another_one_can_be(business: Business) -> None:
    names(business, "good-0", "dog", "2024/0/2.txt")  # the same key again
    names(business, "good-0", "dog", "2024/0/x/../2.txt")  # … in other words
    names(business, "good-0", "dog", None)
    names(business, "good-0", "dog", "2024/0/notes.pdf")  # not there, and nobody wants it
    names(business, "good-0", "dog", "../../etc/passwd")  # hostile, and nobody wants it
    names(business, "good-0", None, "2024/1/1.txt")  # no label: none of its files
    outcome = business.run()
    assert fates(outcome, "good-0") == [
        ("kept", "2024/0/1.txt"),
        ("file_row", "2024/0/2.txt"),
        ("duplicate_row", "2024/0/2.txt"),
        ("duplicate_row", "2024/0/x/../2.txt"),
        ("duplicate_row", None),
        ("file_row", "2024/0/notes.pdf"),
        ("unsafe_name", "../../etc/passwd"),
        ("no_label", "2024/1/1.txt"),
    ]
    assert outcome.rows("good-0")[0]["files"] == ["1.txt", "2.txt"]
    assert summary(outcome)["artifacts"]["fates"] == {"kept": 4}
    assert summary(outcome)["label_rows"]["total"] == 14


LOST = {
    "nothing": ([None], "no_files", "no key is given"),
    "gone": (["2024/9/1.txt"], "no_files", "'2024/9/1.txt' names no file"),
    "half": (["2024/0/1.txt", "2024/9/x.txt"], "missing_files", "'2024/9/x.txt' names no file"),
    "folder": (["2024/0/"], "unsafe_name", "names a folder"),
    "climbs": (["../x.txt"], "unsafe_name", "outside FILES_URL"),
    "climbs-too": (["2024/0/1.txt", "../x.txt"], "unsafe_name", "outside FILES_URL"),
    "alone": (["../../etc/passwd"], "unsafe_name", "outside FILES_URL"),
    "bucket": (["s3://bucket/x.txt"], "unsafe_name", "s3:// URL"),
    "twice": (["2024/0/1.txt", "2024/1/1.txt"], "ambiguous_key", "2024/0/1.txt', '2024/1/1.txt'"),
    "unwanted": (["2024/0/1.pdf"], "missing_files", "production lacks '*.txt'"),
    "a folder": (["2024/0"], "no_files", "no file of this artifact"),
    "long": (["2024/0/" + "n" * 300 + ".txt"], "unsafe_name", "more than 255 bytes"),
    "..": (["2024/0/1.txt"], "unsafe_name", "climbs"),
}


@pytest.mark.parametrize("id", LOST)
def test_an_artifact_whose_files_cannot_be_had_says_why(business: Business, id: str) -> None:
    keys, fate, reason = LOST[id]
    business.file("2024/0/1.pdf")
    for key in keys:
        names(business, id, "dog", key)
    business.settings["reconcile"]["MAX_FAILED"] = "1"
    outcome = business.run()
    (one, *others) = sorted(outcome.rows(id), key=lambda row: row["fate"] in ("file_row",))
    assert one["fate"] == fate
    assert reason in one["reason"]
    assert {row["fate"] for row in others} <= {"file_row", "unsafe_name"}
    assert summary(outcome)["artifacts"]["fates"] == {"kept": 4, fate: 1}
    assert id == ".." or not (artifacts(business) / id).exists()


def test_a_list_in_a_cell_names_several_files(business: Business) -> None:
    names(business, "list", "dog", json.dumps(["2024/1/1.txt", "2024/0/2.txt", None]))
    assert business.run().rows("list")[0]["files"] == ["1.txt", "2.txt"]


def test_rows_of_two_labels_are_a_conflict(business: Business) -> None:
    names(business, "torn", "dog", "2024/0/1.txt")
    names(business, "torn", "cat", "2024/1/2.txt")
    with pytest.raises(DataError, match="contradict each other"):
        business.run()
    business.settings["reconcile"]["ON_LABEL_CONFLICT"] = "drop"
    assert business.run().fate("torn") == ["conflict", "conflict"]


def test_links_that_lead_out_are_not_followed(business: Business, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (business.files / "out.txt").symlink_to(secret)
    (business.files / "outside").symlink_to(tmp_path)
    for id, key in (("a", "out.txt"), ("b", "outside/secret.txt"), ("c", str(secret))):
        names(business, id, "dog", key)
    accessed = secret.stat().st_atime_ns
    outcome = business.run()
    assert [outcome.fate(id) for id in "abc"] == [["unsafe_name"]] * 3
    assert "is a link out of FILES_URL" in outcome.reason("a")
    assert secret.stat().st_atime_ns == accessed
    assert b"secret" not in tree(tmp_path / "store").values()


def test_a_hash_for_each_file_is_not_taken_for_the_artifacts(tmp_path: Path) -> None:
    business = by_column(tmp_path)
    cover = "the cover page of every document"
    for number in range(4):
        for file, content in (("cover.txt", cover), ("text.txt", f"text {number // 3}")):
            business.file(f"{number}/{file}", content)
            label = "cat" if number == 3 else "dog"
            names(business, f"doc-{number}", label, f"{number}/{file}", f"hash of {content}")
    outcome = business.run()
    # Covers are all alike, but only the first three documents are.
    assert outcome.record.fates == {"duplicate": 2, "file_row": 4, "kept": 2}
    assert outcome.rows("doc-0")[0]["file_hash"].startswith("file_hashes:")
    assert [row["fate"] for row in outcome.rows("doc-1")] == ["duplicate", "file_row"]


def test_artifacts_may_share_a_file(business: Business) -> None:
    names(business, "one", "dog", "2024/0/1.txt")
    names(business, "two", "dog", "2024/0/1.txt")
    outcome = business.run()
    assert (outcome.fate("one"), outcome.fate("two")) == (["kept"], ["duplicate"])


def test_process_func_sees_the_column(business: Business) -> None:
    business.functions += PROCESS
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "*.txt, truth.json"
    business.run()
    told = json.loads((artifacts(business) / "good-0" / "truth.json").read_bytes())
    assert told["row"]["file_key"] == "2024/0/1.txt"
    assert told["files"] == ["1.txt", "2.txt"]


def test_a_lost_copy_is_fetched_again(business: Business) -> None:
    business.run()
    (artifacts(business) / "good-0" / "2.txt").unlink()
    again = business.run()
    assert again.record.copied == 1
    assert again.rows("good-0")[0]["repaired"]


def test_refresh_shows_the_difference(business: Business) -> None:
    business.run()
    business.file("2024/0/1.txt", "new content, and longer")
    business.file("2024/new/1.txt", "new")
    names(business, "new", "cat", "2024/new/1.txt")
    business.sql("DELETE FROM labels WHERE id = 'good-3'")
    outcome = business.run(refresh=True)
    (table,) = [rows for title, rows in outcome.heard.tables if "since" in title]
    assert table == [("labelled artifacts", 1, 1, 0), ("files", 1, 2, 1)]
    assert (artifacts(business) / "good-0" / "1.txt").read_text() == "new content, and longer"


@pytest.mark.parametrize(
    ("key", "value"), [("FILE_KEY_COLUMN", ""), ("FILE_KEY_COLUMN", "FILE_KEY")]
)
def test_another_column_asks_for_a_refresh(business: Business, key: str, value: str) -> None:
    business.run()
    business.settings["production"][key] = value
    with pytest.raises(UserError, match="FILE_KEY_COLUMN changed"):
        business.run()


def test_a_column_that_is_not_there(business: Business) -> None:
    business.settings["production"]["FILE_KEY_COLUMN"] = "path"
    with pytest.raises(DataError, match=r"no column 'path'.*'file_key'"):
        business.run()


def test_no_key_at_all_and_no_file_at_all_keep_no_snapshot(business: Business) -> None:
    business.sql("UPDATE labels SET file_key = 'x/' || file_key")
    with pytest.raises(DataError, match="none of the 8 keys") as error:
        business.run()
    assert "'x/2024/0/1.txt' names no file that is there" in str(error.value)
    business.sql("UPDATE labels SET file_key = NULL")
    with pytest.raises(DataError, match="'file_key' is empty in every label row"):
        business.run()
    business.sql("UPDATE labels SET file_key = '2024/0/1.txt'")
    with pytest.raises(DataError, match=r"no artifact is left|has the label"):
        business.run()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_denied_file_is_not_absent(business: Business) -> None:
    (business.files / "2024" / "0").chmod(0)
    with pytest.raises(StepError, match="MAX_FAILED"):
        business.run()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"KEY_PATTERN": "{artifact_id}/{file}"}, "nothing is listed then"),
        ({"FILE_BUCKETS": "other"}, "FILES_URL is a directory"),
        ({"FILE_KEY_COLUMN": "", "FILE_BUCKETS": "other"}, "only keys that FILE_KEY_COLUMN gives"),
        ({"FILE_KEY_COLUMN": "Label"}, "has a meaning of its own"),
        ({"FILE_KEY_COLUMN": "a'b"}, "no name of a column"),
        ({"FILES_FROM_PROD": "sub/raw.txt"}, "holds a /"),
        ({"FILES_URL": "s3://own", "FILE_BUCKETS": "s3://../x"}, "is no bucket"),
        ({"FILES_URL": "s3://own", "FILE_BUCKETS": "other/a/../b"}, "is no bucket"),
        ({"FILES_URL": "s3://own", "FILE_BUCKETS": "u:p@other"}, "is no bucket"),
        ({"FILES_URL": "s3://own", "FILE_BUCKETS": "other, s3://other/"}, "there twice"),
    ],
)
def test_settings_that_do_not_fit_each_other(
    business: Business, keys: dict[str, Any], words: str
) -> None:
    business.settings["production"] |= keys
    with pytest.raises(SettingsError, match=words):
        business.run()


def test_no_more_looks_at_once_than_copy_concurrency(business: Business) -> None:
    from handful.storage.open import open_source

    real, lock, now, most = open_source(str(business.files)), threading.Lock(), [0], [0]

    class Crowded:
        url = real.url

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def head(self, key: str) -> Any:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1
            return real.head(key)

    business.settings["reconcile"]["COPY_CONCURRENCY"] = "3"
    with pytest.raises(AttributeError, match="nothing more"):
        business.run(source=_only_looks(Crowded()))
    assert most[0] == 3


def _only_looks(source: Any) -> Any:
    """`source`, that ends the run when the looks are done."""

    class Ends:
        url = source.url
        head = source.head

        def __getattr__(self, name: str) -> Any:
            raise AttributeError("nothing more")

    return Ends()


@pytest.mark.parametrize("kind", ["text[]", "json", "jsonb", "varchar(99)[]"])
def test_a_list_of_postgresql_names_several_files(tmp_path: Path, postgres: str, kind: str) -> None:
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    business = by_column(tmp_path)
    engine = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"))
    is_array = kind.endswith("[]")
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE docs (id text, label text, keys {kind})"))
        for number in range(4):
            keys = [f"2024/{number}/{file}" for file in ("1.txt", "2.txt")]
            for key in keys:
                business.file(key, f"{key} of PostgreSQL")
            row = {
                "id": f"doc-{number}",
                "label": "cat" if number % 2 else "dog",
                "keys": keys if is_array else json.dumps(keys),
            }
            cast = f"CAST(:keys AS {kind})"
            connection.execute(text(f"INSERT INTO docs VALUES (:id, :label, {cast})"), row)
    engine.dispose()
    business.settings["production"] |= {
        "DATABASE_URL": postgres.replace("postgresql://", "postgresql+psycopg://"),
        "LABEL_QUERY": "SELECT id AS artifact_id, label, keys FROM docs",
        "FILE_KEY_COLUMN": "KEYS",
    }
    outcome = business.run()
    assert outcome.record.fates == {"kept": 4}
    assert outcome.rows("doc-0")[0]["files"] == ["1.txt", "2.txt"]


def test_killed_in_the_middle_of_the_looks_a_rerun_asks_again(business: Business) -> None:
    class Dies:
        def __init__(self) -> None:
            self.looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        url = str(business.files)

        def head(self, key: str) -> Any:
            self.looks += 1
            if self.looks == 5:
                raise KeyboardInterrupt
            return real.head(key)

    from handful.storage.open import open_source

    real = open_source(str(business.files))
    with pytest.raises(KeyboardInterrupt):
        business.run(source=Dies())  # type: ignore[arg-type]
    store = business.folder / "store" / "EXP-1"
    assert not (store / layout.SNAPSHOT).exists()
    assert business.run().record.kept == 4


def test_a_wrong_column_is_found_in_the_first_rows(
    business: Business,
) -> None:
    """The column is looked for in the first batch: what follows is not read."""
    business.settings["production"]["FILE_KEY_COLUMN"] = "nowhere"
    with sqlite3.connect(business.database) as connection:
        connection.executemany(
            "INSERT INTO labels VALUES (?, 'dog', NULL, 0, 'x')",
            ((f"more-{n}",) for n in range(30_000)),
        )
    connection.close()
    with pytest.raises(DataError, match="no column 'nowhere'"):
        business.run()


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_snapshot_without_its_keys_is_damaged(business: Business, damage: str) -> None:
    business.run()
    path = business.folder / "store" / "EXP-1" / layout.FILE_KEYS
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Damaged, match=r"file_keys.parquet: is damaged(?s:.)*--refresh"):
        business.run()
