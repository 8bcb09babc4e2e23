"""Documents of label rows as a source."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from handful.errors import Absent, Damaged, StoreError
from handful.steps.reconcile.snapshot import tables
from handful.storage.base import Source
from handful.storage.local.store import LocalStore
from handful.storage.row_files import DOCUMENTS_SCHEMA, PART_BYTES, RowFiles, etag_of


def kept(folder: Path, contents: list[bytes]) -> RowFiles:
    """Of artifacts 0, 1, …, one file each, written in several parts."""
    rows = pl.DataFrame(
        {
            "nr": range(len(contents)),
            "artifact_id": [str(number) for number in range(len(contents))],
            "file": ["text.txt"] * len(contents),
            "content": contents,
        },
        {"nr": pl.UInt32, "artifact_id": pl.String, "file": pl.String, "content": pl.Binary},
    )
    with tables.writing(folder / "documents", DOCUMENTS_SCHEMA, part_bytes=PART_BYTES) as writer:
        for part in rows.iter_slices(3):
            writer.add(part)
    listing = rows.select(
        key=pl.col("artifact_id") + "/text.txt",
        size=pl.col("content").bin.size().cast(pl.Int64),
        etag=pl.Series([etag_of(one) for one in contents]),
    )
    listing.write_parquet(folder / "listing")
    return RowFiles(folder / "listing", lambda: folder / "documents")


def test_it_is_a_source(tmp_path: Path) -> None:
    assert isinstance(kept(tmp_path, [b"a"]), Source)


def test_each_is_found_by_its_key_in_any_order(tmp_path: Path) -> None:
    contents = [bytes([number]) * (1_000_000 + number) for number in range(30)]
    source = kept(tmp_path, contents)
    for number in (29, 0, 15, 3, 28, 0):
        assert source.read(f"{number}/text.txt") == contents[number]
        entry = source.head(f"{number}/text.txt")
        assert (entry.size, entry.etag) == (len(contents[number]), etag_of(contents[number]))
    assert source._documents is not None
    assert len(source._documents._ends) > 5
    assert len(source._documents._held) <= 4


def test_a_store_copies_from_it(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    source, store = kept(tmp_path / "rows", [b"", b"one"]), LocalStore(tmp_path / "store")
    for number, content in enumerate([b"", b"one"]):
        told = store.copy_from(source, f"{number}/text.txt", f"x/{number}")
        assert store.read(f"x/{number}") == content
        assert told is not None
        assert told.startswith("xxh3:")
    source.fetch("1/text.txt", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").read_bytes() == b"one"


def test_it_lists_what_it_has(tmp_path: Path) -> None:
    (batch,) = kept(tmp_path, [b"a", b"bc"]).list("1")
    assert batch.to_pylist() == [
        {"key": "1/text.txt", "size": 2, "etag": etag_of(b"bc"), "archived": None}
    ]
    assert list(RowFiles().list()) == []


def test_what_is_not_there_is_absent(tmp_path: Path) -> None:
    for source in (kept(tmp_path, [b"a"]), RowFiles()):
        for ask in (source.head, source.read):
            with pytest.raises(Absent):
                ask("../etc/passwd")
        with pytest.raises(StoreError, match="no path"):
            source.path("0/text.txt")
        with pytest.raises(StoreError, match="no path"):
            source.fetch_tree("0", tmp_path)


def test_damage_is_told(tmp_path: Path) -> None:
    kept(tmp_path, [b"a", b"b"])
    listing = pl.read_parquet(tmp_path / "listing").with_columns(etag=pl.lit("0" * 32))
    listing.write_parquet(tmp_path / "listing")
    wrong = RowFiles(tmp_path / "listing", lambda: tmp_path / "documents")
    with pytest.raises(Damaged, match="not what the snapshot says"):
        wrong.read("0/text.txt")
    (tmp_path / "documents").write_bytes(b"PAR1 nothing")
    with pytest.raises(Damaged, match="damaged"):
        RowFiles(tmp_path / "listing", lambda: tmp_path / "documents").read("0/text.txt")
