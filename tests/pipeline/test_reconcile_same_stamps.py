"""A local file of production that changed, although its size and modification time did not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handful import layout
from handful.storage.open import open_store
from tests.support.reconciling import PROCESS, Business, Outcome, artifacts, tree
from tests.support.servers import S3Server

KEY = "good-1/raw.txt"
OLD, NEW = "text of good-1", "TEXT OF GOOD-1"


@pytest.fixture
def business(tmp_path: Path) -> Business:
    found = Business(tmp_path)
    found.some()
    return found


def in_place(path: Path) -> None:
    """`touch -r`: written over, and its time stamps put back."""
    status = path.stat()
    path.write_text(NEW)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def moved_over(path: Path) -> None:
    """`rsync --times`: another file, renamed over this one."""
    status = path.stat()
    other = path.with_name("other")
    other.write_text(NEW)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def folder_exchanged(path: Path) -> None:
    """Another version of the folder, which lay ready before and is as old: only the inode tells."""
    aside = path.parents[2] / "next-version"
    (aside / path.parent.name).rename(path.parents[2] / "now")
    path.parent.rename(path.parents[2] / "before")
    (path.parents[2] / "now").rename(path.parent)


def prepared_exchange(business: Business) -> None:
    path = business.files / KEY
    aside = business.folder / "next-version" / path.parent.name
    aside.mkdir(parents=True)
    (aside / path.name).write_text(NEW)
    status = path.stat()
    os.utime(aside / path.name, ns=(status.st_atime_ns, status.st_mtime_ns))


WAYS = (in_place, moved_over, folder_exchanged)


def stored(business: Business) -> str:
    return (artifacts(business) / KEY).read_text()


def noticed(outcome: Outcome) -> bool:
    return any("changed in content" in warning for warning in outcome.heard.warnings)


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("how", ["refresh", "compare_contents"])
def test_it_is_noticed_and_all_that_was_made_from_it_is_made_again(
    business: Business, change: Callable[[Path], None], how: str
) -> None:
    business.functions += PROCESS.replace(
        '"files": files', '"text": (artifact_path / "raw.txt").read_text()'
    )
    prepared_exchange(business)
    first = business.run()
    change(business.files / KEY)
    unasked = business.run()
    assert unasked.record.copied == 0
    assert stored(business) == OLD
    again = business.run(**{how: True})
    assert noticed(again)
    assert again.record.copied == 1
    assert stored(business) == NEW
    assert NEW in (artifacts(business) / "good-1" / "truth.json").read_text()
    assert again.record.ledger_hash != first.record.ledger_hash
    assert again.record.kept == 4
    if how == "refresh":
        ((_, _, _, changed),) = [
            row for row in dict(again.heard.tables)[_title(again)] if row[0] == "files"
        ]
        assert changed == 1
    _nothing_more_to_do(business, again)


def _title(outcome: Outcome) -> str:
    return next(title for title in outcome.heard.steps if title.startswith("production since"))


def _nothing_more_to_do(business: Business, last: Outcome) -> None:
    before = tree(artifacts(business))
    for words in ({}, {"refresh": True}, {"compare_contents": True}):
        more = business.run(**words)
        assert more.record.copied == 0, words
        assert not noticed(more), words
        assert more.record.ledger_hash == last.record.ledger_hash, words
    assert tree(artifacts(business)) == before


def test_names_of_the_pattern_stay_in_the_ledger(business: Business) -> None:
    business.settings["production"]["KEY_PATTERN"] = "{artifact_id}/{stem}.txt"
    first = business.run()
    in_place(business.files / KEY)
    again = business.run(refresh=True)
    assert noticed(again)
    assert stored(business) == NEW
    for outcome in (first, again):
        rows = outcome.ledger.filter(pl.col("fate") == "kept")["row"]
        assert set(rows.str.json_path_match("$.stem")) == {"raw"}


def test_it_may_change_back_and_change_again(business: Business) -> None:
    path = business.files / KEY
    first = business.run()
    in_place(path)
    business.run(refresh=True)
    status = path.stat()
    path.write_text(OLD)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    back = business.run(refresh=True)
    assert noticed(back)
    assert stored(business) == OLD
    assert back.record.kept == first.record.kept
    in_place(path)
    again = business.run(compare_contents=True)
    assert stored(business) == NEW
    _nothing_more_to_do(business, again)


def test_a_hash_that_was_computed_is_computed_anew(business: Business) -> None:
    """Without a file_hash of the database, of artifacts that were dropped as well."""
    business.columns = "id AS artifact_id, label, extra"
    business.artifact("twin", "dog", "text of good-0")
    first = business.run()
    assert first.fate("twin") == ["duplicate"]
    hash_before = first.rows("good-0")[0]["file_hash"]
    path = business.files / "twin" / "raw.txt"
    status = path.stat()
    path.write_text("TEXT OF GOOD-0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = business.run(refresh=True)
    assert again.fate("twin") == ["kept"]
    assert again.rows("good-0")[0]["file_hash"] == hash_before
    _nothing_more_to_do(business, again)


def test_rights_and_links_change_no_content(business: Business) -> None:
    """ctime is a hint: what is read then is equal, and nothing is done."""
    first = business.run()
    for path in business.files.rglob("raw.txt"):
        path.chmod(0o600)
    os.link(business.files / KEY, business.folder / "a-second-name")
    again = business.run(refresh=True)
    assert not noticed(again)
    assert again.record.copied == 0
    assert again.record.ledger_hash == first.record.ledger_hash


def test_what_did_not_change_is_not_read(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    business.run()
    read: list[Any] = []
    monkeypatch.setattr(
        "handful.steps.reconcile.copying.same_stamps._digests", lambda path: read.append(path)
    )
    business.run(refresh=True)
    assert read == []


def test_a_store_without_stats_goes_by_its_date(business: Business) -> None:
    """As the first release left it: what was touched since then is compared."""
    first = business.run()
    (business.folder / "store" / "EXP-1" / layout.STATS).unlink()
    in_place(business.files / KEY)
    again = business.run(refresh=True)
    assert noticed(again)
    assert stored(business) == NEW
    assert again.record.kept == first.record.kept
    _nothing_more_to_do(business, again)


def test_a_store_without_stats_is_as_it_was(business: Business) -> None:
    first = business.run()
    place = business.folder / "store" / "EXP-1"
    listing = (place / layout.LISTING).read_bytes()
    (place / layout.STATS).unlink()
    assert pl.read_parquet(place / layout.LISTING)["etag"].str.contains(r"^mtime-\d+-\d+$").all()
    again = business.run()
    assert again.record.ledger_hash == first.record.ledger_hash
    assert (place / layout.LISTING).read_bytes() == listing


@pytest.mark.parametrize("when", ["before the copy", "before the record of copies"])
@pytest.mark.slow
def test_killed_on_the_way_it_is_copied_all_the_same(
    business: Business, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    business.run()
    in_place(business.files / KEY)
    where = "copying.copies.Copier.copy" if when == "before the copy" else "ledger.conclude"

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"handful.steps.reconcile.{where}", killed)
        with pytest.raises(KeyboardInterrupt):
            business.run(refresh=True)
    again = business.run()
    assert stored(business) == NEW
    assert again.record.kept == 4
    _nothing_more_to_do(business, again)


def test_a_damaged_copy_is_noticed_when_it_is_looked_at_again(business: Business) -> None:
    business.run()
    in_place(artifacts(business) / KEY)
    again = business.run(compare_contents=True)
    assert noticed(again)
    assert stored(business) == OLD
    _nothing_more_to_do(business, again)


def test_what_changed_openly_waits_for_a_refresh(business: Business) -> None:
    """The snapshot's date counts; --redo takes nothing anew that a refresh would show."""
    first = business.run()
    (business.files / KEY).write_text("another length, another time")
    again = business.run(compare_contents=True)
    assert not noticed(again)
    assert stored(business) == OLD
    assert again.record.ledger_hash == first.record.ledger_hash


@pytest.mark.parametrize("how", ["refresh", "compare_contents"])
@pytest.mark.parametrize("etags", ["kept", "lost"])
@pytest.mark.slow
def test_a_store_in_a_bucket(business: Business, s3_server: S3Server, how: str, etags: str) -> None:
    """Its ETags tell the copies' content; where they do not, the copies are read."""
    business.settings["experiment"] |= {
        "STORE": s3_server.place(),
        "S3_ENDPOINT_URL": s3_server.endpoint_url,
    }
    first = business.run()
    store = open_store(first.store.url, endpoint_url=s3_server.endpoint_url)
    if etags == "lost":
        store.delete([layout.COPIES])
    in_place(business.files / KEY)
    again = business.run(**{how: True})
    assert noticed(again)
    assert store.read(f"{layout.ARTIFACTS}/{KEY}").decode() == NEW
    for words in ({}, {"refresh": True}, {"compare_contents": True}):
        more = business.run(**words)
        assert more.record.copied == 0
        assert more.record.ledger_hash == again.record.ledger_hash


def test_a_large_file_is_compared_in_pieces(business: Business) -> None:
    big = b"0123456789" * 500_000
    business.row("big", "cat", "hash of big")
    path = business.file("big/raw.txt", big)
    business.run()
    status = path.stat()
    path.write_bytes(big[:-1] + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = business.run(refresh=True)
    assert noticed(again)
    assert (artifacts(business) / "big" / "raw.txt").read_bytes().endswith(b"!")
    shutil.rmtree(business.files / "big")
    assert not noticed(business.run(compare_contents=True))
