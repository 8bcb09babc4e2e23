"""What only a local directory can do wrong: links, permissions, full disks, killed writers."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from handful.errors import Absent, Denied, Full, StoreError
from handful.storage import atomic_write
from handful.storage.base import Source
from handful.storage.keys import HIDDEN
from handful.storage.local.store import LocalSource, LocalStore

NOBODY = 65534


def keys(source: Source, prefix: str = "") -> list[str]:
    return sorted(key for batch in source.list(prefix) for key in batch.column("key").to_pylist())


def left_aside(store: LocalStore) -> list[str]:
    folder = Path(store.url) / HIDDEN
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that users other than the tests' own may enter."""
    path = Path(tempfile.mkdtemp(prefix="handful-shared-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's power over permissions, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As a disk that has only `size` bytes left would behave."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_opening_makes_nothing_and_the_first_write_makes_the_root(store: LocalStore) -> None:
    assert keys(store) == []
    with pytest.raises(Absent):
        store.read("a")
    store.delete(["a"])
    store.delete_tree("")
    assert not Path(store.url).exists()
    store.write("a", b"1")
    assert keys(store) == ["a"]


def test_a_missing_source_is_absent_and_is_not_made(tmp_path: Path) -> None:
    source = LocalSource(tmp_path / "none")
    with pytest.raises(Absent, match="none"):
        list(source.list())
    with pytest.raises(Absent):
        source.fetch_tree("", tmp_path)
    assert not (tmp_path / "none").exists()


def test_a_file_as_root_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(Absent, match="not a directory"):
        list(LocalSource(tmp_path / "file").list())
    with pytest.raises(StoreError, match="folder"):
        LocalStore(tmp_path / "file").write("a", b"")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_file_in_the_way_of_a_folder_and_the_reverse(store: LocalStore) -> None:
    store.write("file", b"1")
    store.write("folder/file", b"2")
    for key in ("file/below", "folder"):
        with pytest.raises(StoreError, match="stands where"):
            store.write(key, b"3")
        with pytest.raises(StoreError, match="stands where"):
            store.copy_from(store, "file", key)
    assert (store.read("file"), store.read("folder/file")) == (b"1", b"2")
    assert left_aside(store) == []


def test_links_inside_are_files_and_links_outside_are_denied(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "folder" / "real").write_bytes(b"real")
    (root / "inside").symlink_to("folder/real")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "outside-folder").symlink_to(tmp_path)
    (root / "circle").symlink_to(root)
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    source = LocalSource(root)
    assert keys(source) == ["folder/real", "inside"]
    assert keys(source, "outside-folder/") == []
    assert source.read("inside") == b"real"
    for key in ("outside", "outside-folder/secret"):
        for call in (source.read, source.head, source.path):
            with pytest.raises(Denied, match="leads out of the root"):
                call(key)
        with pytest.raises(Denied):
            source.fetch(key, tmp_path / "fetched")
        with pytest.raises(Denied):
            LocalStore(tmp_path / "store").copy_from(source, key, "copy")
    for key in ("broken", "pipe"):
        with pytest.raises(Absent):
            source.read(key)


def test_nothing_is_written_or_deleted_through_a_link(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (other / "file").write_bytes(b"theirs")
    (root / "link").symlink_to(other)
    store = LocalStore(root)
    with pytest.raises(Denied):
        store.write("link/file", b"ours")
    with pytest.raises(Denied):
        store.delete(["link/file"])
    with pytest.raises(Denied):
        store.delete_tree("link")
    store.delete_tree("")
    assert (other / "file").read_bytes() == b"theirs"
    assert not (root / "link").is_symlink()


def test_names_that_are_no_unicode_are_listed_readably(store: LocalStore) -> None:
    store.write("good", b"")
    Path(os.fsdecode(os.fsencode(store.url) + b"/bad-\xff")).write_bytes(b"")
    assert keys(store) == ["bad-\\xff", "good"]


def test_what_may_not_be_read_is_denied_and_never_absent(shared: Path) -> None:
    (shared / "root" / "closed").mkdir(parents=True)
    (shared / "root" / "closed" / "file").write_bytes(b"")
    (shared / "root" / "secret").write_bytes(b"")
    (shared / "root" / "secret").chmod(0)
    source = LocalSource(shared / "root")
    with nobody():
        with pytest.raises(Denied, match="secret"):
            source.read("secret")
        with pytest.raises(Denied, match="secret"):
            source.fetch("secret", shared / "fetched")
    (shared / "root" / "closed").chmod(0)
    with nobody():
        with pytest.raises(Denied, match="closed"):
            list(source.list())
        with pytest.raises(Denied, match="closed"):
            source.head("closed/file")
    (shared / "root" / "closed").chmod(0o755)


def test_a_read_only_store_is_denied_and_keeps_what_it_has(shared: Path, tmp_path: Path) -> None:
    store = LocalStore(shared / "store")
    store.write("a/old", b"old")
    (tmp_path / "new").write_bytes(b"new")
    for folder in ("store", "store/a", f"store/{HIDDEN}"):
        (shared / folder).chmod(0o555)
    with nobody():
        for call in (
            lambda: store.write("a/old", b"new"),
            lambda: store.create("a/new", b"new"),
            lambda: store.delete(["a/old"]),
            lambda: store.delete_tree("a"),
            lambda: LocalStore(shared / "store" / "other").write("x", b""),
            lambda: LocalStore(shared / "store").copy_from(store, "a/old", "a/new"),
        ):
            with pytest.raises(Denied, match="store"):
                call()
        assert keys(store) == ["a/old"]
        assert store.read("a/old") == b"old"


def test_a_full_disk_is_told_and_damages_nothing(store: LocalStore, tmp_path: Path) -> None:
    store.write("a", b"old")
    store.write("tree/a", b"old")
    store.write("tree/done", b"old")
    large = tmp_path / "large"
    large.mkdir()
    (large / "a").write_bytes(b"x" * 10_000)
    (large / "done").write_bytes(b"")
    with no_file_larger_than(4_096):
        for call in (
            lambda: store.write("a", b"x" * 10_000),
            lambda: store.create("new", b"x" * 10_000),
            lambda: store.send(large / "a", "a"),
            lambda: store.copy_from(LocalSource(large), "a", "a"),
            lambda: store.send_tree(large, "tree", last="done"),
            lambda: LocalSource(large).fetch("a", tmp_path / "fetched"),
        ):
            with pytest.raises(Full, match="free some room"):
                call()
    assert keys(store) == ["a", "tree/a", "tree/done"]
    assert {store.read(key) for key in keys(store)} == {b"old"}
    assert left_aside(store) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large", "store"]


def test_a_copy_keeps_the_time_and_is_no_link(store: LocalStore, tmp_path: Path) -> None:
    original = tmp_path / "production" / "file"
    original.parent.mkdir()
    original.write_bytes(b"original")
    os.utime(original, ns=(1, 1_600_000_000_123_456_789))
    source = LocalSource(original.parent)
    store.copy_from(source, "file", "copy")
    copy = Path(store.url) / "copy"
    assert store.head("copy").etag == source.head("file").etag == "mtime-1600000000123456789-8"
    assert copy.stat().st_ino != original.stat().st_ino
    assert original.stat().st_nlink == 1
    with copy.open("r+b") as file:
        file.write(b"changed!")
    assert original.read_bytes() == b"original"


def test_an_original_that_changes_while_it_is_copied_is_told(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = tmp_path / "file"
    original.write_bytes(b"before")

    def meddle(*_: object) -> bool:
        original.write_bytes(b"after, and longer")
        return False

    monkeypatch.setattr(atomic_write, "_try_reflink_copy", meddle)
    with pytest.raises(StoreError, match="changed while"):
        store.send(original, "copy")
    assert keys(store) == []
    assert left_aside(store) == []


def test_a_tree_is_not_sent_into_itself(store: LocalStore) -> None:
    store.write("tree/a", b"1")
    root = Path(store.url)
    for directory, prefix in ((root / "tree", "tree"), (root, "tree"), (root / "tree", "")):
        with pytest.raises(StoreError, match="in one another"):
            store.send_tree(directory, prefix)
    assert store.read("tree/a") == b"1"


class _Hangs:
    """A source that writes half a file and then waits to be killed."""

    url = "hangs:"

    def __init__(self, told: Connection) -> None:
        self._told = told

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> None:
        part.write_bytes(b"half of it")
        self._told.send("half")
        threading.Event().wait()


def _write_half(root: Path, told: Connection) -> None:
    store = LocalStore(root)
    store.copy_from(_Hangs(told), "key", "tree/file")  # type: ignore[arg-type]


def test_a_writer_that_is_killed_leaves_nothing_to_see(store: LocalStore) -> None:
    store.write("tree/file", b"old and whole")
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_write_half, args=(Path(store.url), tell))
    process.start()
    assert told.poll(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert store.read("tree/file") == b"old and whole"
    assert keys(store) == ["tree/file"]
    assert len(left_aside(store)) == 1
    atomic_write._cleaned.clear()  # as in a new process
    store.write("other", b"")
    assert left_aside(store) == []


def test_folders_go_when_they_are_empty_while_others_write(store: LocalStore) -> None:
    def churn(name: str) -> None:
        for number in range(200):
            store.write(f"a/b/c/{name}-{number}", b"")
            store.delete([f"a/b/c/{name}-{number}"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, ["one", "two", "three", "four"]))
    assert keys(store) == []
    assert sorted(path.name for path in Path(store.url).iterdir()) == [HIDDEN]


class _Meanwhile:
    """A source during whose copy something happens."""

    url = "meanwhile:"

    def __init__(self, event: Callable[[], object]) -> None:
        self._event = event

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> None:
        part.write_bytes(b"whole")
        self._event()


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("event", ["a link appears", "an interrupt"])
def test_a_copy_that_fails_late_leaves_nothing_aside(
    store: LocalStore, tmp_path: Path, event: str
) -> None:
    store.write("elsewhere", b"")
    (tmp_path / "outside").mkdir()
    link = Path(store.url) / "folder"
    events = {
        "a link appears": lambda: link.symlink_to(tmp_path / "outside"),
        "an interrupt": _interrupt,
    }
    with pytest.raises((Denied, KeyboardInterrupt)):
        store.copy_from(_Meanwhile(events[event]), "key", "folder/file")  # type: ignore[arg-type]
    assert left_aside(store) == []
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_copy_of_what_is_not_there_makes_no_store(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(Absent):
        store.copy_from(LocalSource(tmp_path / "source"), "none", "key")
    assert not Path(store.url).exists()


def test_a_write_that_takes_little_at_a_time_is_whole_or_an_error() -> None:
    class Slow(io.RawIOBase):
        taken = b""

        def __init__(self, most: int) -> None:
            self._most = most

        def write(self, data: Any, /) -> int:
            self.taken += bytes(data[: self._most])
            return len(data[: self._most])

    slow = Slow(3)
    atomic_write.write_all(slow, b"0123456789")  # type: ignore[arg-type]
    assert slow.taken == b"0123456789"
    with pytest.raises(OSError, match="nothing"):
        atomic_write.write_all(Slow(0), b"0123456789")  # type: ignore[arg-type]
