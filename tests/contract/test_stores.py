"""One body of tests for every store: a local directory and a prefix on a real S3 server."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handful.errors import Absent, StoreError
from handful.storage.base import Source, Store
from handful.storage.columns import LISTING_SCHEMA
from handful.storage.open import open_source, open_store
from tests.support.s3_servers import KINDS
from tests.support.servers import S3Server

ODD_NAMES = [
    "with space.txt",
    "plus+percent%20%2F%.txt",
    "ümläut-日本語-🙂.txt",
    "e\u0301-decomposed.txt",
    "question?hash#amp&equals=.txt",
    "quotes'\"`<>[]{}|^~$@!*;:,.txt",
    ".hidden",
    "..dots..",
    "no extension",
]
BAD_KEYS = ["", "/abs", "../up", "a/../b", "a//b", "./a", "a/.", "a/", "a\0b", "a\nb", "a\x7fb"]
BIG = 17 * 1024 * 1024
"""More than one part of an S3 upload."""

Open = Callable[[str], Store]
"""Opens a fresh store of the kind under test."""


@pytest.fixture(params=["local", "s3", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opening(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Open]:
    """kind → a function that opens a fresh store by a name of its own."""

    def of(kind: str) -> Open:
        if kind == "local":
            return lambda name: open_store(str(tmp_path / "stores" / name))
        server: S3Server = request.getfixturevalue("s3_server")
        if kind in KINDS:
            server = request.getfixturevalue("s3_servers")(kind)
            for variable, value in server.environment().items():
                monkeypatch.setenv(variable, value)

        def opened(name: str) -> Store:
            bucket = "handful-production" if name == "production" else "handful-store"
            return open_store(server.place(bucket), endpoint_url=server.endpoint_url)

        return opened

    return of


@pytest.fixture
def store(kind: str, opening: Callable[[str], Open]) -> Store:
    return opening(kind)("store")


def keys(source: Source, prefix: str = "") -> list[str]:
    return sorted(key for batch in source.list(prefix) for key in batch.column("key").to_pylist())


def source_of(store: Store) -> Source:
    """The same place, opened to be read only."""
    access = getattr(getattr(store, "clients", None), "access", None)
    return open_source(store.url, endpoint_url=access and access.endpoint_url)


def test_they_are_what_the_protocols_say(store: Store) -> None:
    assert isinstance(store, Store)
    source = source_of(store)
    assert isinstance(source, Source)
    assert not isinstance(source, Store), "a source must have no way to write"


def test_what_is_written_can_be_read(store: Store) -> None:
    store.write("a/b.txt", b"hello")
    store.write("empty", b"")
    assert store.read("a/b.txt") == b"hello"
    assert store.read("empty") == b""
    entry = store.head("a/b.txt")
    assert (entry.key, entry.size) == ("a/b.txt", 5)
    assert entry.etag
    assert '"' not in entry.etag


def test_writing_again_replaces_and_changes_the_etag(store: Store) -> None:
    store.write("a", b"old")
    before = store.head("a")
    store.write("a", b"new")
    assert store.read("a") == b"new"
    assert store.head("a").etag != before.etag


def test_large_content_comes_back_whole(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * (BIG // 256)
    (tmp_path / "big").write_bytes(content)
    store.send(tmp_path / "big", "sent")
    store.write("written", content)
    store.fetch("sent", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert store.read("written") == content
    assert store.head("sent").size == len(content)


def test_a_listing_has_every_key_once_with_its_entry(store: Store) -> None:
    for name in ("a/b", "a/bc", "a/d/e", "x", "ab/y"):
        store.write(name, name.encode())
    batches = list(store.list())
    assert all(batch.schema == LISTING_SCHEMA for batch in batches)
    rows = {row["key"]: row for batch in batches for row in batch.to_pylist()}
    assert set(rows) == {"a/b", "a/bc", "a/d/e", "x", "ab/y"}
    for key, row in rows.items():
        entry = store.head(key)
        assert (row["size"], row["etag"]) == (entry.size, entry.etag)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a/b", ["a/b", "a/bc"]),
        ("a/", ["a/b", "a/bc", "a/d/e"]),
        ("a", ["a/b", "a/bc", "a/d/e", "ab/y"]),
        ("a/d/", ["a/d/e"]),
        ("a/b/", []),
        ("none/", []),
        ("no", []),
        ("x/y/z", []),
    ],
)
def test_a_prefix_is_compared_as_text(store: Store, prefix: str, expected: list[str]) -> None:
    for name in ("a/b", "a/bc", "a/d/e", "x", "ab/y"):
        store.write(name, b"")
    assert keys(store, prefix) == expected


def entries(store: Store, prefix: str) -> list[tuple[str, int, str]]:
    rows = [row for batch in store.list(prefix) for row in batch.to_pylist()]
    return [(row["key"], row["size"], row["etag"]) for row in rows]


def test_a_fresh_store_is_empty(store: Store) -> None:
    assert keys(store) == []


@pytest.mark.slow
def test_more_keys_than_one_page(store: Store) -> None:
    names = [f"page/{number:05}" for number in range(2_300)]
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda name: store.write(name, b"x"), names))
    assert keys(store, "page/") == names
    assert keys(store, "page/0001") == names[10:20]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_come_back_as_they_went(
    store: Store, tmp_path: Path, name: str, kind: str
) -> None:
    if kind.startswith("nanio") and "%2F" in name:
        pytest.xfail("this server checks the signature of another key")
    key = f"folder {name}/{name}"
    store.write(key, name.encode())
    assert keys(store) == [key]
    assert keys(store, key) == [key]
    assert store.head(key).key == key
    assert store.read(key) == name.encode()
    store.fetch(key, tmp_path / "fetched" / "file")
    assert (tmp_path / "fetched" / "file").read_bytes() == name.encode()
    assert store.path(key).read_bytes() == name.encode()
    store.copy_from(store, key, f"copy/{name}")
    assert store.read(f"copy/{name}") == name.encode()
    store.delete([key])
    assert keys(store) == [f"copy/{name}"]


def test_keys_of_a_thousand_bytes(store: Store) -> None:
    key = "/".join(["ü" * 100] * 4 + ["n" * 100] * 1)
    key += "/" + "z" * (950 - len(key.encode()) - 1)
    assert len(key.encode()) == 950  # with its place on the server about a thousand
    store.write(key, b"long")
    assert keys(store) == [key]
    assert store.read(key) == b"long"


def test_a_name_beyond_the_limit_is_an_error_that_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="longer than"):
        store.write("n" * 1_100, b"")
    assert keys(store) == []


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_refused_everywhere(store: Store, tmp_path: Path, key: str) -> None:
    store.write("good", b"good")
    (tmp_path / "file").write_bytes(b"bad")
    calls: list[Callable[[], object]] = [
        lambda: store.read(key),
        lambda: store.head(key),
        lambda: store.fetch(key, tmp_path / "fetched"),
        lambda: store.write(key, b"bad"),
        lambda: store.create(key, b"bad"),
        lambda: store.send(tmp_path / "file", key),
        lambda: store.copy_from(store, "good", key),
        lambda: store.copy_from(store, key, "copy"),
        lambda: store.delete([key]),
    ]
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert not isinstance(caught.value, Absent)
    assert keys(store) == ["good"]
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize("prefix", ["../", "a/../", "a/..", "/", "a//", "a\n"])
def test_bad_prefixes_are_refused(store: Store, tmp_path: Path, prefix: str) -> None:
    store.write("good", b"")
    with pytest.raises(StoreError):
        store.delete_tree(prefix)
    with pytest.raises(StoreError):
        store.fetch_tree(prefix, tmp_path)
    with pytest.raises(StoreError):
        store.send_tree(tmp_path, prefix)
    with pytest.raises(StoreError):
        list(store.list(prefix))
    assert keys(store) == ["good"]


def test_what_is_not_there_is_absent(store: Store, tmp_path: Path) -> None:
    store.write("folder/file", b"")
    for key in ("none", "folder", "folder/file/below"):
        for call in (
            lambda key=key: store.read(key),
            lambda key=key: store.head(key),
            lambda key=key: store.fetch(key, tmp_path / "fetched"),
            lambda key=key: store.copy_from(store, key, "copy"),
        ):
            with pytest.raises(Absent, match=key):
                call()
    with pytest.raises(Absent, match="none"):
        store.fetch_tree("none", tmp_path / "scratch")
    assert not (tmp_path / "fetched").exists()
    assert keys(store) == ["folder/file"]


def test_sending_what_is_not_there_is_absent_and_names_the_file(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(Absent, match="no-such-file"):
        store.send(tmp_path / "no-such-file", "key")
    with pytest.raises(Absent, match="no-such-folder"):
        store.send_tree(tmp_path / "no-such-folder", "key")


def test_fetching_replaces_and_leaves_nothing_aside(store: Store, tmp_path: Path) -> None:
    store.write("a", b"new")
    target = tmp_path / "deep" / "er" / "file"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old and longer")
    store.fetch("a", target)
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_create_has_one_winner_among_sixteen(store: Store) -> None:
    barrier = threading.Barrier(16)

    def claim(number: int) -> bool:
        barrier.wait()
        return store.create("lock", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(claim, range(16)))
    assert won.count(True) == 1
    assert store.read("lock") == str(won.index(True)).encode()
    assert store.create("lock", b"late") is False
    store.delete(["lock"])
    assert store.create("lock", b"again") is True
    assert keys(store) == ["lock"], "nothing else may be seen"


def test_deleting(store: Store, kind: str) -> None:
    for name in ("a", "tree/x", "tree/deep/y", "trees"):
        store.write(name, b"")
    store.delete(["a", "none", "tree/none/none"])
    assert keys(store) == ["tree/deep/y", "tree/x", "trees"]
    if not kind.startswith(("rclone", "nanio")):  # to them a folder is a fault
        store.delete(["tree"])  # a folder is no object
    store.delete_tree("tree")
    assert keys(store) == ["trees"]
    store.delete_tree("none")
    store.delete([])
    store.delete_tree("")
    assert keys(store) == []


def test_deleting_more_than_one_request_takes(store: Store) -> None:
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda number: store.write(f"many/{number}", b""), range(1_050)))
    store.delete_tree("many")
    assert keys(store) == []


def tree(directory: Path, generation: str, names: list[str]) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(generation)
    return directory


def test_a_tree_goes_and_comes_back(store: Store, tmp_path: Path) -> None:
    names = ["a.txt", "deep/er/b +%.txt", "deep/c", "done.json"]
    store.write("trees", b"stays")
    store.write("tree/old", b"goes")
    store.send_tree(tree(tmp_path / "sent", "1", names), "tree", last="done.json")
    assert keys(store) == sorted([f"tree/{name}" for name in names] + ["trees"])
    back = store.fetch_tree("tree", tmp_path / "scratch")
    found = [p.relative_to(back).as_posix() for p in back.rglob("*") if p.is_file()]
    assert sorted(found) == sorted(names)
    assert all((back / name).read_text() == "1" for name in names)
    whole = store.fetch_tree("", tmp_path / "whole")
    assert (whole / "trees").read_bytes() == b"stays"


def test_a_tree_moves_with_all_that_is_in_it(store: Store) -> None:
    store.write("beside", b"stays")
    store.write("old-er/a", b"stays, too")
    for name in ("a.txt", "deep/er/b +%.txt", "\u00fc"):
        store.write(f"old/{name}", name.encode())
    before = {entry[0].removeprefix("old/"): entry for entry in entries(store, "old/")}
    store.move_tree("old", "far/new")
    assert keys(store, "old/") == []
    after = {entry[0].removeprefix("far/new/"): entry for entry in entries(store, "far/")}
    assert {n: e[1:] for n, e in after.items()} == {n: e[1:] for n, e in before.items()}
    assert all(store.read(f"far/new/{name}") == name.encode() for name in before)
    assert store.read("beside") == b"stays"
    assert store.read("old-er/a") == b"stays, too"
    store.move_tree("old", "far/new")
    assert len(keys(store, "far/")) == 3, "there is nothing to move"


def test_the_marker_of_a_tree_moves_with_it(store: Store) -> None:
    for name in ("a", "done", "z"):
        store.write(f"old/{name}", name.encode())
    store.write("new/a", b"another")
    store.move_tree("old", "new", last="done")
    assert keys(store) == ["new/a", "new/done", "new/z", "old/a"]
    store.move_tree("new", "newer", last="not there")
    assert keys(store) == ["newer/a", "newer/done", "newer/z", "old/a"]


def test_what_stands_where_a_tree_moves_to_stays(store: Store) -> None:
    store.write("old/equal", b"one")
    store.copy_from(store, "old/equal", "new/equal")  # as a move that was killed leaves it
    store.write("old/other", b"mine")
    store.write("new/other", b"another")
    store.write("old/fresh", b"fresh")
    store.move_tree("old", "new")
    found = {key: store.read(key) for key in keys(store)}
    assert found == {
        "new/equal": b"one",
        "new/fresh": b"fresh",
        "new/other": b"another",
        "old/other": b"mine",
    }


def test_a_tree_without_its_marker_replaces_nothing(store: Store, tmp_path: Path) -> None:
    store.send_tree(tree(tmp_path / "old", "1", ["a", "done"]), "tree", last="done")
    with pytest.raises(Absent, match="done"):
        store.send_tree(tree(tmp_path / "new", "2", ["a"]), "tree", last="done")
    assert store.read("tree/a") == b"1"
    assert store.read("tree/done") == b"1"


def test_who_sees_the_marker_sees_the_whole_tree(store: Store, tmp_path: Path) -> None:
    names = [f"part-{number}" for number in range(8)]
    stop = threading.Event()
    seen = {"whole": 0}
    wrong: list[str] = []

    def marker() -> bytes:
        try:
            return store.read("tree/done")
        except Absent:
            return b""

    def watch() -> None:
        while not stop.is_set():
            before = marker()
            try:
                parts = [store.read(f"tree/{name}") for name in names]
            except Absent:
                parts = []
            if before and marker() == before:
                seen["whole"] += 1
                if parts != [before] * len(names):
                    wrong.append(f"{before!r} with {parts}")

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            for generation in range(12):
                sent = tree(tmp_path / str(generation), str(generation), [*names, "done"])
                store.send_tree(sent, "tree", last="done")
                while seen["whole"] == 0 and not watcher.done():
                    pass
        finally:
            stop.set()
        watcher.result()
    assert not wrong
    assert seen["whole"]


@pytest.mark.parametrize("source_kind", ["local", "s3"])
def test_copying_between_all_kinds(
    kind: str, source_kind: str, opening: Callable[[str], Open], tmp_path: Path
) -> None:
    # One login at a time: on another make's server, S3 to S3 stays on that server.
    there = kind if source_kind == "s3" and kind in KINDS else source_kind
    store, production = opening(kind)("store"), opening(there)("production")
    source = source_of(production)
    content = {"a/small +%ü.txt": b"small", "empty": b"", "big": b"0123456789abcdef" * (BIG // 16)}
    for key, data in content.items():
        production.write(key, data)
    before = {key: source.head(key) for key in content}
    store.write("copies/big", b"replaced")
    for key in content:
        store.copy_from(source, key, f"copies/{key}")
    for key, data in content.items():
        assert store.read(f"copies/{key}") == data
        assert source.head(key) == before[key], "production must stay as it was"
    with pytest.raises(Absent, match="none"):
        store.copy_from(source, "none", "copies/none")
    assert keys(store) == sorted(f"copies/{key}" for key in content)


def test_a_source_of_another_make_is_copied_from_too(store: Store, tmp_path: Path) -> None:
    class Foreign:
        """Knows only what the protocol asks for."""

        url = "foreign:"

        def fetch(self, key: str, path: Path) -> None:
            path.write_bytes(key.encode())

        def download(self, key: str, part: Path, where: str, *, flush: bool) -> None:
            assert where.endswith("ours")
            assert flush
            self.fetch(key, part)

    store.copy_from(Foreign(), "their/key", "ours")  # type: ignore[arg-type]
    assert store.read("ours") == b"their/key"


def test_paths_for_the_users_functions(store: Store) -> None:
    store.write("artifact/raw text#1.json", b"{}")
    folder = store.path("artifact")
    assert (folder / "raw text#1.json").read_bytes() == b"{}"
    assert sorted(path.name for path in folder.iterdir()) == ["raw text#1.json"]
    assert not (folder / "made.json").exists()
    (folder / "made.json").write_text("made")
    assert store.read("artifact/made.json") == b"made"
    assert (store.path() / "artifact" / "made.json").exists()


def _read_elsewhere(store: Store, key: str, answers: multiprocessing.Queue[bytes]) -> None:
    answers.put(store.read(key))


def test_stores_go_to_spawned_processes(store: Store) -> None:
    store.write("a", b"from afar")  # its clients are open now
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_read_elsewhere, args=(store, "a", answers))
    process.start()
    answer = answers.get(timeout=60)
    process.join()
    assert answer == b"from afar"
    assert process.exitcode == 0
