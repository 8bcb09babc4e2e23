"""ID_FORMAT: ids are matched as they are, or GUIDs in one form; look-alikes stay apart."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from handful import layout
from handful.errors import DataError
from handful.experiment.fingerprint import differences, of_reconcile
from handful.steps.reconcile.copying import file_system
from handful.steps.reconcile.copying.file_system import Folding
from tests.support.buckets import business_on_s3, contents, listing, stored, upload, write_settings
from tests.support.faults import faulty
from tests.support.progress import Recording
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
from tests.support.servers import S3Server

HANDFUL = Path(sys.executable).with_name("handful")
_NAMESPACE = uuid.UUID(int=0)


def guid(number: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, str(number)))


def upper(number: int) -> str:
    return guid(number).upper()


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


def with_guids(business: Business) -> Business:
    business.settings["production"]["ID_FORMAT"] = "guid"
    return business


def fill(business: Business, count: int, spell: Callable[[int], str] = upper) -> None:
    """Good artifacts; both sides spell their ids alike."""
    rows = []
    for number in range(count):
        name = spell(number)
        rows.append((name, "cat" if number % 3 else "dog", f"hash of {number}"))
        business.file(f"{name}/raw.txt", f"text of {number} " * (number + 1))
    with sqlite3.connect(business.database) as connection:
        connection.executemany("INSERT INTO labels VALUES (?, ?, ?, 0)", rows)
    connection.close()


# --- the form -------------------------------------------------------------------------------------

WAYS = {
    "usual": str,
    "upper": str.upper,
    "bare": lambda one: one.replace("-", ""),
    "braces": lambda one: f"{{{one.upper()}}}",
    "urn": lambda one: f"urn:uuid:{one}",
    "blanks": lambda one: f" {one} ",
}


@pytest.mark.parametrize("in_rows", WAYS)
@pytest.mark.parametrize("in_keys", WAYS)
def test_guids_of_any_two_spellings_are_one_artifact(
    business: Business, in_rows: str, in_keys: str
) -> None:
    for number in range(4):
        business.row(WAYS[in_rows](guid(number)), "cat" if number % 2 else "dog", f"{number}")
        business.file(f"{WAYS[in_keys](guid(number))}/raw.txt", f"text {number}")
    outcome = with_guids(business).run()
    assert outcome.record.kept == 4
    assert set(tree(artifacts(business))) == {f"{guid(n)}/raw.txt" for n in range(4)}
    ledger = outcome.ledger.sort("artifact_id")
    assert ledger["artifact_id"].to_list() == sorted(guid(n) for n in range(4))
    assert ledger["original_id"].to_list() == [WAYS[in_rows](one) for one in ledger["artifact_id"]]
    assert summary(outcome)["artifacts"]["in_file_store"] == 4


def test_what_is_no_guid_is_matched_as_it_is_and_counted(business: Business) -> None:
    fill(business, 4)
    for name, folder in (("Name-1", "Name-1"), ("Name-2", "name-2"), ("007", "7")):
        business.row(name, "cat", name)
        business.file(f"{folder}/raw.txt", f"text of {name}")
    outcome = with_guids(business).run()
    assert outcome.fate("Name-1") == ["kept"]
    assert outcome.fate("Name-2") == outcome.fate("007") == ["no_files"]
    [told] = [note for note in outcome.heard.notes if "are no GUIDs" in note]
    assert "3 of 7 ids" in told
    assert "'007'" in told


def test_an_id_that_was_no_safe_folder_may_be_one_in_its_form(business: Business) -> None:
    """Such as PostgreSQL's bytea as text, or an id that ends in a line break."""
    fill(business, 2)
    for number, name in ((2, f"\\x{guid(2).replace('-', '')}"), (3, f"{guid(3)}\n")):
        business.row(name, "cat", name)
        business.file(f"{guid(number)}/raw.txt", f"text {number}")
    assert business.run().fate(f"{guid(3)}\n") == ["unsafe_name"]
    outcome = with_guids(business).run()
    assert outcome.fate(guid(2)) == outcome.fate(guid(3)) == ["kept"]


def test_two_ids_that_become_one_are_duplicate_row_or_conflict_and_both_are_named(
    business: Business,
) -> None:
    fill(business, 2)
    business.row(guid(0), "dog", "hash of 0")
    business.row(f"{{{guid(1)}}}", "a third label", "hash of 1")
    fill_more(business)
    business.settings["reconcile"]["ON_LABEL_CONFLICT"] = "drop"
    outcome = with_guids(business).run()
    assert sorted(outcome.fate(guid(0))) == ["duplicate_row", "kept"]
    assert f"'{upper(0)}', '{guid(0)}'" in outcome.reason(guid(0))
    assert outcome.fate(guid(1)) == ["conflict", "conflict"]
    assert f"'{upper(1)}', '{{{guid(1)}}}'" in outcome.reason(guid(1))
    assert {row["original_id"] for row in outcome.rows(guid(1))} == {upper(1), f"{{{guid(1)}}}"}
    assert any("2 GUIDs are written in several ways" in note for note in outcome.heard.notes)


def test_a_conflict_of_two_spellings_stops_and_names_them(business: Business) -> None:
    fill(business, 2)
    business.row(guid(0), "cat", "another hash")
    assert business.run().fate(guid(0)) == ["no_files"]
    with pytest.raises(DataError, match=f"'{upper(0)}', '{guid(0)}'"):
        with_guids(business).run()


def fill_more(business: Business) -> None:
    for number in (10, 11):
        business.artifact(guid(number), "cat" if number % 2 else "dog")


def test_folders_that_become_one_artifact_are_taken_together_unless_files_collide(
    business: Business,
) -> None:
    business.settings["production"]["FILES_FROM_PROD"] = "raw.txt, more.txt"
    for number in range(4):
        business.row(guid(number), "cat" if number % 2 else "dog", f"{number}")
        business.file(f"{guid(number)}/raw.txt", f"raw {number}")
        business.file(f"{upper(number)}/more.txt", f"more {number}")
    business.file(f"{upper(3)}/raw.txt", "another text")
    outcome = with_guids(business).run()
    assert outcome.fate(guid(0)) == ["kept"]
    assert outcome.rows(guid(0))[0]["files"] == ["more.txt", "raw.txt"]
    assert outcome.fate(guid(3)) == ["ambiguous_key"]
    assert f"'{guid(3)}/raw.txt'" in outcome.reason(guid(3))
    assert f"'{upper(3)}/raw.txt'" in outcome.reason(guid(3))
    assert any("4 artifacts have files under several spellings" in n for n in outcome.heard.notes)
    assert summary(outcome)["artifacts"]["in_file_store"] == 4


def test_overrides_are_in_any_spelling(business: Business) -> None:
    fill(business, 3)
    path = business.directory / "corrections.csv"
    path.write_text(f"{guid(0).replace('-', '')},a third label\n")
    business.settings["reconcile"]["LABEL_OVERRIDES"] = "corrections.csv"
    with pytest.raises(DataError, match="no label row has the artifact id"):
        business.run()
    outcome = with_guids(business).run()
    [row] = outcome.rows(guid(0))
    assert (row["label"], row["label_source"]) == ("a third label", "override")
    path.write_text(f"{guid(0)},a third label\n{upper(0)},a fourth label\n")
    with pytest.raises(DataError, match="another label in an earlier line"):
        business.run()


def test_an_artifact_without_row_is_told_as_the_bucket_writes_it(business: Business) -> None:
    fill(business, 2)
    business.file(f"{upper(7)}/raw.txt")
    [row] = with_guids(business).run().rows(guid(7))
    assert (row["fate"], row["original_id"]) == ("no_label_row", upper(7))


def test_keys_that_can_be_read_in_many_ways_are_read_by_guids_of_any_spelling(
    business: Business,
) -> None:
    """By `{artifact_id}-{file}` alone the id would end at the GUID's first dash."""
    business.settings["production"]["KEY_PATTERN"] = "{artifact_id}-{file}"
    for number in range(4):
        business.row(upper(number), "cat" if number % 2 else "dog", f"{number}")
        business.file(f"{guid(number)}-raw.txt", f"text {number}")
    business.row("a-name", "cat", "a-name")
    business.file("a-name-raw.txt", "text")
    business.file(f"{guid(9)}-raw.txt", "of nobody")
    business.row("b", "dog", "b")
    business.file("b-raw.txt", "text of b")
    outcome = business.run()
    assert outcome.record.kept == 2
    [told] = outcome.heard.warnings
    assert "4 label rows without files" in told
    assert outcome.fate(guid(9).partition("-")[0]) == ["no_label_row"]
    again = with_guids(business).run(labels=Silent())
    assert again.record.kept == 6


def test_rows_that_name_their_files_have_the_form_too(business: Business) -> None:
    """FILE_KEY_COLUMN: rows of one artifact in two spellings are its files, and both are named."""
    business.columns = "id AS artifact_id, label, hash AS key"
    business.settings["production"] |= {"FILE_KEY_COLUMN": "key", "FILES_FROM_PROD": "*.txt"}
    for number in range(4):
        for spell, file in ((upper, "raw.txt"), (guid, "more.txt")):
            business.row(spell(number), "cat" if number % 2 else "dog", f"{number}/{file}")
            business.file(f"{number}/{file}", f"{file} of {number}")
    assert business.run().record.kept == 8
    outcome = with_guids(business).run(labels=Silent())
    assert outcome.record.kept == 4
    assert set(tree(artifacts(business))) == {
        f"{guid(number)}/{file}" for number in range(4) for file in ("more.txt", "raw.txt")
    }
    assert sorted(outcome.fate(guid(0))) == ["file_row", "kept"]
    assert f"'{upper(0)}', '{guid(0)}'" in outcome.reason(guid(0))
    assert {row["original_id"] for row in outcome.rows(guid(0))} == {upper(0), guid(0)}


# --- exact is as it was ---------------------------------------------------------------------------


def fingerprint(business: Business, tmp_path: Path) -> dict[str, str]:
    experiment = business.open(Recording(), tmp_path)
    return dict(of_reconcile(experiment.directory, experiment.settings))


def test_only_another_format_than_exact_is_in_the_fingerprint(
    business: Business, tmp_path: Path
) -> None:
    plain = fingerprint(business, tmp_path)
    assert "[production] ID_FORMAT" not in plain
    business.settings["production"]["ID_FORMAT"] = "exact"
    assert fingerprint(business, tmp_path) == plain
    there = fingerprint(with_guids(business), tmp_path)
    assert differences(plain, there) == ["[production] ID_FORMAT changed from exact to guid"]


def test_production_is_not_asked_again_when_the_format_changes(business: Business) -> None:
    fill(business, 4)
    first = business.run()
    assert "original_id" not in first.ledger.columns
    about = first.store.read(layout.SNAPSHOT)
    listing = first.store.read(layout.LISTING)
    outcome = with_guids(business).run(source=Unlisted(business.files), labels=Silent())
    assert outcome.record.kept == 4
    assert outcome.store.read(layout.SNAPSHOT) == about
    assert outcome.store.read(layout.LISTING) == listing
    business.settings["production"].pop("ID_FORMAT")
    back = business.run(labels=Silent())
    assert "original_id" not in back.ledger.columns
    assert back.fate(upper(0)) == ["kept"]


class Unlisted(Forbidden):
    """A production that has all been copied: nobody asks it for anything."""

    def __init__(self, files: Path) -> None:
        self.url = str(files)


# --- what would match, said before the first copy -------------------------------------------------


def test_some_rows_that_would_match_are_told_before_the_first_copy(business: Business) -> None:
    fill(business, 4, guid)
    for number in range(4, 7):
        business.row(upper(number), "cat", f"{number}")
        business.file(f"{guid(number)}/raw.txt", f"text {number}")
    business.row("8", "cat", "8")
    business.file("008/raw.txt", "text of 8")
    outcome = business.run()
    guids, numbers = outcome.heard.warnings
    assert "3 label rows without files would find them" in guids
    assert "ID_FORMAT = guid" in guids
    first = min(upper(number) for number in range(4, 7))
    assert f"'{first}' in the label rows, '{first.lower()}' in the keys" in guids
    assert "1 label row without files" in numbers
    assert "printf('%03d', id) AS artifact_id" in numbers
    assert outcome.record.kept == 4
    assert with_guids(business).run().record.kept == 7


def test_no_match_at_all_says_it_in_the_error(business: Business) -> None:
    for number in range(4):
        business.row(upper(number), "cat" if number % 2 else "dog", f"{number}")
        business.file(f"{guid(number)}/raw.txt", f"text {number}")
    with pytest.raises(DataError, match=r"4 label rows without files.*\n.*ID_FORMAT = guid"):
        business.run()
    assert with_guids(business).run().record.kept == 4


def test_sixteen_bytes_in_dotnets_order_are_never_guessed_but_told(business: Business) -> None:
    business.sql("DROP TABLE labels")
    business.sql("CREATE TABLE labels (id BLOB, label TEXT, hash TEXT, extra INTEGER)")
    for number in range(20):
        held = uuid.UUID(guid(number)).bytes_le
        label = "cat" if number % 2 else "dog"
        business.sql("INSERT INTO labels VALUES (?, ?, ?, 0)", held, label, str(number))
        business.file(f"{guid(number)}/raw.txt", f"text {number}")
    with pytest.raises(DataError, match=r"20 label rows.*\.NET's") as caught:
        with_guids(business).run()
    sql = str(caught.value).partition("your column for id: ")[2].partition(" AS artifact_id")[0]
    business.columns = f"{sql} AS artifact_id, label, hash AS file_hash, extra"
    assert business.run(refresh=True).record.kept == 20


# --- folders that were copied under another spelling ----------------------------------------------


def test_folders_are_moved_and_nothing_is_copied_again(business: Business) -> None:
    business.functions += PROCESS
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    fill(business, 6)
    before = business.run()
    old = tree(artifacts(business))
    inodes = {path.stat().st_ino for path in artifacts(business).rglob("raw.txt")}
    business.files.rename(business.folder / "production-is-gone")
    outcome = with_guids(business).run(source=Unlisted(business.files), labels=Silent())
    now = tree(artifacts(business))
    assert set(now) == {key.lower() for key in old}
    assert {k: v for k, v in now.items() if k.endswith("raw.txt")} == {
        k.lower(): v for k, v in old.items() if k.endswith("raw.txt")
    }
    assert {path.stat().st_ino for path in artifacts(business).rglob("raw.txt")} == inodes
    assert f'"id": "{guid(0)}"'.encode() in now[f"{guid(0)}/truth.json"], "it ran for the new id"
    assert (before.record.copied, outcome.record.copied) == (6, 0)
    assert outcome.record.kept == 6
    assert summary(outcome)["stale"]["files"] == 0
    assert any("6 artifacts that were copied" in note for note in outcome.heard.notes)
    again = business.run(source=Unlisted(business.files), labels=Silent())
    assert again.record.copied == 0
    assert not any("copied under another spelling" in note for note in again.heard.notes)


def test_a_file_that_production_changed_meanwhile_is_copied_all_the_same(
    business: Business,
) -> None:
    fill(business, 4)
    business.run()
    business.file(f"{upper(0)}/raw.txt", "TEXT OF 0 ")
    outcome = with_guids(business).run(refresh=True)
    assert outcome.record.copied == 1
    assert (artifacts(business) / guid(0) / "raw.txt").read_text() == "TEXT OF 0 "


def test_what_differs_is_never_laid_over_another(business: Business) -> None:
    """Two spellings were two artifacts; now one folder is left in production."""
    fill(business, 4)
    business.row(guid(0), "dog", "another hash")
    business.file(f"{guid(0)}/raw.txt", "the other one")
    assert business.run().record.kept == 5
    business.sql("DELETE FROM labels WHERE id = ?", upper(0))
    (business.files / upper(0) / "raw.txt").unlink()
    outcome = with_guids(business).run(refresh=True)
    assert outcome.fate(guid(0)) == ["kept"]
    assert outcome.record.copied == 0
    assert (artifacts(business) / guid(0) / "raw.txt").read_text() == "the other one"
    assert (artifacts(business) / upper(0) / "raw.txt").read_text() == "text of 0 "
    assert summary(outcome)["stale"]["ids"] == [upper(0)]


def start(business: Business) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HANDFUL, "reconcile", str(business.directory)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def lasting(folder: Path) -> dict[str, bytes]:
    # Inodes and ctimes are each business's own.
    dated = {layout.SNAPSHOT, layout.RECONCILED, layout.SUMMARY, layout.STATS}
    return {
        key: content
        for key, content in tree(folder).items()
        if key.startswith("data/") and key not in dated
    }


@pytest.mark.slow
def test_killed_while_folders_are_moved_a_rerun_ends_the_same(tmp_path: Path) -> None:
    """A local store: each folder is renamed."""
    count, killed = 600, 0
    expected: dict[str, bytes] = {}
    for attempt in range(3):
        business = Business(tmp_path / str(attempt))
        fill(business, count)
        for path in business.files.rglob("raw.txt"):
            os.utime(path, ns=(10**18, 10**18))
        assert business.run().record.kept == count
        business.files.rename(business.folder / "production-is-gone")
        business.files.mkdir()
        write_settings(with_guids(business))
        if attempt:
            process = start(business)
            folder = artifacts(business)
            while process.poll() is None:
                moved = sum(path.name.islower() for path in folder.iterdir())
                if moved > attempt * 150:
                    process.send_signal(signal.SIGKILL)
                    break
            process.communicate()
            moved = sum(path.name.islower() for path in folder.iterdir())
            killed += 0 < moved < count
            print(f"killed when {moved} of {count} folders were moved")
            assert len(list(folder.iterdir())) == count, "nothing is lost"
        process = start(business)
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        found = lasting(business.folder / "store" / "EXP-1")
        assert set(tree(artifacts(business))) == {f"{guid(n)}/raw.txt" for n in range(count)}
        expected = expected or found
        assert found.keys() == expected.keys()
        assert [key for key in found if found[key] != expected[key]] == []
    assert killed >= 1


# --- on S3 ----------------------------------------------------------------------------------------


def on_s3(folder: Path, server: S3Server, endpoint_url: str) -> Business:
    """40 artifacts of upper-case GUIDs, of two files each."""
    business = business_on_s3(folder, server, endpoint_url, artifacts=0)
    for number in range(40):
        business.row(upper(number), "cat" if number % 3 else "dog", f"hash of {number}")
        for file in ("more.txt", "raw.txt"):
            business.file(f"{upper(number)}/{file}", f"{file} of {number} " * (number + 1))
    upload(business, server)
    return business


@pytest.mark.slow
def test_killed_while_a_server_moves_them_a_rerun_ends_the_same(
    tmp_path: Path, s3_server: S3Server
) -> None:
    expected = {
        f"{guid(number)}/{file}": f"{file} of {number} ".encode() * (number + 1)
        for number in range(40)
        for file in ("more.txt", "raw.txt")
    }
    with faulty(s3_server.endpoint_url, delay=0.02) as between:
        business = on_s3(tmp_path, s3_server, between.endpoint_url)
        business.settings["reconcile"]["COPY_CONCURRENCY"] = "4"
        write_settings(business)
        assert run_to_end(business) == ""
        folder = stored(business, f"{layout.ARTIFACTS}/")
        write_settings(with_guids(business))
        killed = 0
        for goal in (5, 50):
            process = start(business)
            while process.poll() is None:
                moved = sum(key.islower() for key in listing(s3_server, folder))
                if moved >= goal:
                    process.send_signal(signal.SIGKILL)
                    break
            process.communicate()
            between.settle()
            found = contents(s3_server, folder)
            assert {key.lower() for key in found} == set(expected), "nothing is lost"
            assert all(found[key] == expected[key.lower()] for key in found)
            left = Counter(key.islower() for key in found)
            print(f"killed when {left[True]} of {len(expected)} files were moved")
            killed += left[False] > 0
        begun = len(between.requests)
        assert run_to_end(business) == ""
        production = business.settings["production"]["FILES_URL"][5:].partition("/")[2]
        asked = [one for one in between.requests[begun:] if production in str(one)]
        assert contents(s3_server, folder) == expected
        assert asked == [], "production is asked for nothing"
        assert killed >= 1


def run_to_end(business: Business) -> str:
    process = start(business)
    _, told = process.communicate(timeout=120)
    return told if process.returncode else ""


# --- ids that only look alike ---------------------------------------------------------------------

LOOKALIKES = {
    "case": ("Alpha", "alpha"),
    "Unicode form": ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")),
    "Unicode form of Hangul": ("\ud55c\uae00", unicodedata.normalize("NFD", "\ud55c\uae00")),
    "a blank behind": ("alpha", "alpha "),
    "a blank before": ("alpha", " alpha"),
    "a no-break space": ("al pha", "al\u00a0pha"),
    "a point behind": ("alpha", "alpha."),
    "Turkish i": ("\u0130d", "id"),
    "sharp s": ("stra\u00dfe", "strasse"),
    "a compatibility form": ("\ufb01le", "file"),
    "an invisible letter": ("alpha", "al\u200bpha"),
    "Greek letters": ("A", "\u0391"),
    "zeros": ("007", "7"),
    "GUIDs": (upper(1), guid(1)),
}


def two(business: Business, name: str) -> Outcome:
    """Two artifacts of such ids, each with its own label and text, and some others."""
    for number, one in enumerate(LOOKALIKES[name]):
        business.artifact(one, f"label {number}", f"text {number}")
    fill_more(business)
    return business.run()


@pytest.mark.parametrize("name", LOOKALIKES)
def test_ids_that_look_alike_keep_their_own_fates(business: Business, name: str) -> None:
    outcome = two(business, name)
    for number, one in enumerate(LOOKALIKES[name]):
        [row] = outcome.rows(one)
        assert (row["fate"], row["label"]) == ("kept", f"label {number}")
        assert (artifacts(business) / one / "raw.txt").read_text() == f"text {number}"
    assert outcome.heard.warnings == []


@pytest.mark.parametrize("name", LOOKALIKES)
def test_one_of_two_that_look_alike_may_lack_its_files(business: Business, name: str) -> None:
    good, bad = LOOKALIKES[name]
    business.artifact(good, "cat", "text")
    business.row(bad, "dog", "another hash")
    fill_more(business)
    outcome = business.run()
    assert (outcome.fate(good), outcome.fate(bad)) == (["kept"], ["no_files"])
    assert outcome.heard.warnings == [], "its artifact belongs to another row"


def test_two_files_of_one_artifact_in_two_unicode_forms_are_still_ambiguous(
    business: Business,
) -> None:
    fill_more(business)
    business.artifact("a", "cat")
    for form in ("NFC", "NFD"):
        business.file("a/" + unicodedata.normalize(form, "caf\u00e9.txt"))
    business.settings["production"]["FILES_FROM_PROD"] = "*.txt"
    assert business.run().fate("a") == ["ambiguous_key"]


def test_this_file_system_keeps_them_apart_and_the_probe_leaves_nothing(
    business: Business,
) -> None:
    fill_more(business)
    store = business.run().store
    before = tree(business.folder / "store")
    assert file_system.probe_name_folding(store) == Folding(case=False, form=False)
    assert tree(business.folder / "store") == before


@pytest.mark.parametrize(
    ("name", "folding"),
    [
        ("case", Folding(case=True, form=False)),
        ("Unicode form", Folding(case=False, form=True)),
        ("Unicode form of Hangul", Folding(case=True, form=True)),
    ],
)
def test_where_the_file_system_takes_them_for_one_both_are_told_and_neither_is_copied(
    business: Business, monkeypatch: pytest.MonkeyPatch, name: str, folding: Folding
) -> None:
    """Such a file system is seldom at hand: only what it would answer is put in its place."""
    monkeypatch.setattr(file_system, "probe_name_folding", lambda _: folding)
    outcome = two(business, name)
    for one in LOOKALIKES[name]:
        [row] = outcome.rows(one)
        assert row["fate"] == "unsafe_name"
        assert all(f"'{other}'" in row["reason"] for other in LOOKALIKES[name])
        assert "file system" in row["reason"]
        assert not (artifacts(business) / one).exists()
    assert outcome.record.kept == 2


def test_files_of_one_artifact_that_the_file_system_takes_for_one(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_system, "probe_name_folding", lambda _: Folding(case=True, form=False))
    fill_more(business)
    business.artifact("a", "cat")
    business.file("a/RAW.txt")
    business.settings["production"]["FILES_FROM_PROD"] = "*.txt"
    outcome = business.run()
    assert outcome.fate("a") == ["unsafe_name"]
    assert "'RAW.txt', 'raw.txt'" in outcome.reason("a")
