"""Hashes of artifacts whose label rows give none: what is read, what is remembered, what fails."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from handful.errors import StoreError
from handful.steps.reconcile.snapshot import contents
from handful.steps.reconcile.snapshot.contents import ContentHasher
from handful.steps.reconcile.snapshot.tables import TableStore
from handful.storage.open import open_store
from tests.support.progress import Recording

FILES = {
    "artifact_id": pl.String,
    "file": pl.String,
    "key": pl.String,
    "size": pl.Int64,
    "etag": pl.String,
}


class Read:
    """A source that remembers what was read."""

    def __init__(self, store: Any, *, local: bool) -> None:
        self._store, self._local = store, local
        self.url = store.url
        self.keys: list[str] = []

    def read(self, key: str) -> bytes:
        self.keys.append(key)
        return bytes(self._store.read(key))

    def fetch(self, key: str, path: Path) -> None:
        self.keys.append(key)
        self._store.fetch(key, path)

    def path(self, key: str) -> Any:
        return self._store.path(key) if self._local else SimpleNamespace()


@pytest.fixture
def experiment(tmp_path: Path) -> Any:
    (tmp_path / "scratch").mkdir()
    return SimpleNamespace(
        store=open_store(str(tmp_path / "store")),
        scratch=tmp_path / "scratch",
        progress=Recording(),
    )


@pytest.fixture
def source(tmp_path: Path) -> Any:
    return Read(open_store(str(tmp_path / "production")), local=False)


def hasher(experiment: Any, source: Any) -> ContentHasher:
    mine = TableStore(experiment.store, experiment.scratch, experiment.progress)
    return ContentHasher(source, mine, experiment.scratch, experiment.progress)


def listed(
    source: Any, *rows: tuple[str, str, bytes | None], etag: str = "mtime-1"
) -> pl.DataFrame:
    """Files with their content; None: gone since the listing."""
    for artifact, file, content in rows:
        if content is not None:
            source._store.write(f"{artifact}/{file}", content)
    told = [(a, f, f"{a}/{f}", len(c or b""), etag) for a, f, c in rows]
    return pl.DataFrame(told, FILES, orient="row")


def expected(kind: str, *pairs: tuple[str, str]) -> str:
    """As the head of contents.py says."""
    text = "\n".join(f"{file}\n{content}" for file, content in sorted(pairs))
    return f"{kind}:{hashlib.sha256(text.encode()).hexdigest()}"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_hash_is_over_names_and_contents(experiment: Any, source: Any) -> None:
    files = listed(source, ("a", "y", b"1"), ("a", "x", b"2"), ("b", "y", b"1"))
    found = hasher(experiment, source)(files)
    assert dict(found.found.rows()) == {
        "a": expected("content", ("x", sha(b"2")), ("y", sha(b"1"))),
        "b": expected("content", ("y", sha(b"1"))),
    }
    assert (found.absent, found.failed) == ({}, {})
    done = [("reading contents", n, 3, "files", {}) for n in (1, 2, 3)]
    assert experiment.progress.advances == done


def test_etags_that_tell_the_content_are_enough(experiment: Any, source: Any) -> None:
    files = listed(source, ("a", "x", b"2"), ("b", "x", b"2"), etag="an-md5")
    mixed = listed(source, ("b", "y", b"3"))
    found = hasher(experiment, source)(pl.concat([files, mixed])).found
    assert dict(found.rows()) == {
        "a": expected("etags", ("x", "an-md5")),
        "b": expected("content", ("x", sha(b"2")), ("y", sha(b"3"))),
    }
    assert sorted(source.keys) == ["b/x", "b/y"], "one without makes all of its artifact be read"


def test_what_was_read_once_is_remembered(experiment: Any, source: Any) -> None:
    files = listed(source, ("a", "x", b"1"))
    first = hasher(experiment, source)(files).found
    more = pl.concat([files, listed(source, ("b", "x", b"2"))])
    again = hasher(experiment, source)(more).found
    assert set(first.rows()) < set(again.rows())
    assert source.keys == ["a/x", "b/x"]
    changed = files.with_columns(etag=pl.lit("mtime-2"))
    source._store.write("a/x", b"3")
    assert hasher(experiment, source)(changed).found.rows() != first.rows()
    assert source.keys == ["a/x", "b/x", "a/x"]


def test_what_cannot_be_read_is_told_and_has_no_hash(experiment: Any, source: Any) -> None:
    files = listed(
        source,
        ("a", "x", b"1"),
        ("a", "y", None),
        ("b", "x", b"1"),
        ("c", "x", b"1"),
        ("c", "y", None),
    )
    broken = "c/x"
    read = source.read

    def fail(key: str) -> bytes:
        if key == broken:
            raise StoreError("the disk is broken")
        return read(key)

    source.read = fail
    found = hasher(experiment, source)(files)
    assert found.found["artifact_id"].to_list() == ["b"]
    assert found.absent == {"a": "y", "c": "y"}
    assert found.failed == {"c": f"x cannot be read: {StoreError('the disk is broken')}"}


@pytest.mark.parametrize("local", [True, False], ids=["local", "a bucket's"])
def test_large_files_are_hashed_piece_by_piece_and_leave_nothing(
    experiment: Any, source: Any, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setattr(contents, "_MAX_CONTENT_IN_MEMORY", 3)
    source._local = local
    listed(source, ("a", "x", b"123"), ("a", "y", b"1234"))
    for key, content in (("a/x", b"123"), ("a/y", b"1234")):
        found = contents.sha256(source, key, len(content), experiment.scratch)
        assert found == sha(content)
    assert source.keys == (["a/x"] if local else ["a/x", "a/y"])
    assert list(experiment.scratch.iterdir()) == []
