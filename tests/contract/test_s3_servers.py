"""What handful needs of an S3 server, on every server that packages give, over http and TLS.

`test_stores.py` runs its whole body on each of them with the slow tests.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.errors import Absent, Archived, Denied, StoreError
from handful.storage.base import markers_left_out
from handful.storage.open import open_source, open_store
from handful.storage.s3.store import PART, S3Store
from tests.support.buckets import (
    all_files,
    business_on_s3,
    contents,
    copied_to,
    in_pipeline,
    production,
    put,
    stored,
)
from tests.support.reconciling import PROCESS
from tests.support.s3_servers import AnyServer, kinds
from tests.support.servers import Login

NOT_ATOMIC = {"moto"}
"""Looks first and writes then: of two that put under a condition at once, both may win."""
IGNORES_CONDITIONS = {"rclone", "nanio"}
CHECKS_NOTHING = {"moto", "ministack", "localbucket"}
"""Whoever asks may do everything there."""
KEEPS_MARKERS = {"seaweedfs", "moto", "rgw", "ministack"}
"""Others refuse a key that ends in `/`, or make a file of it."""
IS_A_FILE_SYSTEM = {"rclone", "nanio", "localbucket"}
"""They cannot hold `abc` beside `abc/y`."""
KEEPS_DOTS = {"moto", "rgw"}
KEEPS_VERSIONS = {"seaweedfs", "moto", "rgw", "ministack"}
BIG = PART + 1_000_003
ODD = [
    "with blank.txt",
    "ümläut-日本語-🙂.txt",
    "plus+and%20%2F%.txt",
    "a&b=c?d#e.txt",
    "quotes'\"<>[].txt",
    ".hidden",
]
ODD_ELSEWHERE = {"nanio-http": {"plus+and%20%2F%.txt"}, "nanio-https": {"plus+and%20%2F%.txt"}}


def make(kind: str) -> str:
    return kind.partition("-")[0]


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(
    kind: str, s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> AnyServer:
    """The server, whose owner's login is in the environment."""
    found = s3_servers(kind)
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def store(server: AnyServer) -> S3Store:
    return opened(server)


def opened(server: AnyServer, url: str = "") -> S3Store:
    store = open_store(url or server.place(), endpoint_url=server.endpoint_url)
    assert isinstance(store, S3Store)
    return store


def keys(store: Any, prefix: str = "") -> list[str]:
    return sorted(key for batch in store.list(prefix) for key in batch.column("key").to_pylist())


def full(store: S3Store, key: str) -> dict[str, str]:
    return {"Bucket": store.bucket, "Key": f"{store.url.split('/', 3)[3]}/{key}"}


def test_a_store_does_what_reconcile_needs(store: S3Store, tmp_path: Path) -> None:
    store.write("a/b.txt", b"old")
    store.write("a/b.txt", b"new")
    assert (store.read("a/b.txt"), store.head("a/b.txt").size) == (b"new", 3)
    store.fetch("a/b.txt", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"new"
    store.copy_from(store, "a/b.txt", "c/d.txt")
    assert keys(store) == ["a/b.txt", "c/d.txt"]
    store.delete(["a/b.txt", "none", "c/d.txt"])
    assert keys(store) == []
    store.write("one", b"")
    store.delete(["one"])
    for call in (lambda: store.read("none"), lambda: store.copy_from(store, "none", "x")):
        with pytest.raises(Absent, match="none"):
            call()


@pytest.mark.slow
def test_large_content_goes_in_parts_and_comes_back(store: S3Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * (BIG // 256)
    (tmp_path / "big").write_bytes(content)
    store.send(tmp_path / "big", "big")
    store.copy_from(store, "big", "copy")
    assert store.head("copy").size == len(content)
    assert store.read("copy") == content


@pytest.mark.parametrize("size", [3, BIG])
def test_what_another_server_holds_is_streamed_here(
    store: S3Store, server: AnyServer, size: int
) -> None:
    # The same server by another name: nothing says that it is the same.
    elsewhere = replace(server, endpoint_url=server.endpoint_url.replace("127.0.0.1", "localhost"))
    production = opened(elsewhere, server.place("handful-production"))
    content = b"xyz" * (size // 3)
    production.write("a b", content)
    source = open_source(production.url, endpoint_url=elsewhere.endpoint_url)
    store.copy_from(source, "a b", "copy")
    assert store.read("copy") == content


@pytest.mark.slow
def test_what_one_request_may_not_copy_is_copied_all_the_same(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts; or, where the server tells no ETag of a copied part, through this machine."""
    import obstore
    from obstore.exceptions import GenericError

    def refuses(*_: object) -> None:
        raise GenericError("status code: 400 Bad Request: <Error><Code>EntityTooLarge</Code>")

    content = b"x" * BIG
    store.write("big", content)
    monkeypatch.setattr(obstore, "copy", refuses)
    store.copy_from(store, "big", "copy")
    assert store.read("copy") == content


def test_copies_across_buckets(store: S3Store, server: AnyServer) -> None:
    production = opened(server, server.place("handful-production"))
    for name in ODD:
        if name not in ODD_ELSEWHERE.get(server_kind(server), ()):
            production.write(f"x/{name}", name.encode())
    store.expect_copies(production, "x/.hidden", len(".hidden"))
    for key in keys(production):
        store.copy_from(production, key, key)
        assert store.read(key) == production.read(key)


def server_kind(server: AnyServer) -> str:
    return f"{server.name}-{server.endpoint_url.partition(':')[0]}"


@pytest.mark.slow
def test_a_user_s_own_functions_write_the_same_bytes(store: S3Store) -> None:
    path = store.path("artifact")
    (path / "made.json").write_bytes(b"made by hand")
    assert store.read("artifact/made.json") == b"made by hand"
    assert (path / "made.json").read_bytes() == b"made by hand"
    assert [child.name for child in path.iterdir()] == ["made.json"]


@pytest.mark.parametrize("kind", kinds(slow=("nanio", "https")), indirect=True)
@pytest.mark.slow
def test_more_keys_than_one_page(store: S3Store) -> None:
    names = [f"page/{number:05}" for number in range(1_020)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.write(name, b"x"), names))
    assert keys(store, "page/") == names
    assert keys(store, "page/0001") == names[10:20]
    store.delete_tree("page")
    assert keys(store) == []


@pytest.mark.parametrize("name", ODD)
def test_odd_keys_come_back_as_they_went(store: S3Store, kind: str, name: str) -> None:
    if name in ODD_ELSEWHERE.get(kind, ()):
        pytest.xfail("this server checks the signature of another key")
    key = f"{name}/{name}"
    store.write(key, name.encode())
    assert keys(store) == [key]
    assert store.read(key) == name.encode()
    store.copy_from(store, key, f"copy/{name}")
    assert store.path(f"copy/{name}").read_bytes() == name.encode()
    store.delete([key, f"copy/{name}"])
    assert keys(store) == []


def test_keys_that_no_path_may_have_are_listed(
    store: S3Store, server: AnyServer, kind: str
) -> None:
    """Where the server keeps them: none is lost from the ledger, and none is read."""
    if make(kind) in IS_A_FILE_SYSTEM:
        pytest.skip("this server refuses such keys")
    client = server.client()
    kept = {"good"}
    store.write("good", b"x")
    for key in ("x//y", "line\nbreak", "a/./b", "a/../c"):
        with contextlib.suppress(client.exceptions.ClientError):
            client.put_object(**full(store, key), Body=b"x")
            kept.add(key)
    found = set(keys(store))
    assert "good" in found
    if make(kind) in KEEPS_DOTS:
        assert found == kept >= {"x//y", "a/./b", "a/../c"}
        for key in found - {"good"}:
            with pytest.raises(StoreError):
                store.read(key)


def test_a_key_below_another_key(store: S3Store, kind: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    store.write("abc", b"1")
    if make(kind) not in IS_A_FILE_SYSTEM:
        store.write("abc/y", b"2")
        assert keys(store) == ["abc", "abc/y"]
        return
    with pytest.raises((BotoCoreError, ClientError)):
        store.clients.single_try().put_object(**full(store, "abc/y"), Body=b"2")
    assert store.read("abc") == b"1"


def test_who_may_not_is_denied(
    store: S3Store, server: AnyServer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if make(kind) in CHECKS_NOTHING:
        pytest.skip("this server checks no credentials")
    store.write("key", b"old")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-very-secret-key")
    stranger = opened(server, store.url)
    for call in (
        lambda: stranger.read("key"),
        lambda: keys(stranger),
        lambda: stranger.delete(["key"]),
        lambda: stranger.copy_from(stranger, "key", "copy"),
    ):
        with pytest.raises(Denied, match="secret key does not belong") as caught:
            call()
        assert "<" not in str(caught.value), "nobody reads XML"
    for name, value in Login("nobody", "a-very-secret-key").environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Denied):
        opened(server, store.url).read("key")


def test_a_bucket_that_is_not_there(server: AnyServer) -> None:
    store = opened(server, "s3://no-such-bucket/prefix")
    for call in (
        lambda: keys(store),
        lambda: store.write("key", b"x"),
        lambda: store.copy_from(store, "key", "copy"),
    ):
        with pytest.raises(Absent, match="no-such-bucket"):
            call()


def test_create_has_one_winner_and_knows_whether_the_server_sees_to_it(
    store: S3Store, kind: str
) -> None:
    together = 1 if make(kind) in NOT_ATOMIC else 4
    barrier = threading.Barrier(together)

    def claim(number: int) -> bool:
        barrier.wait()
        return store.create("lock", str(number).encode())

    with ThreadPoolExecutor(together) as pool:
        won = list(pool.map(claim, range(4)))
    assert won.count(True) == 1
    assert store.read("lock") == str(won.index(True)).encode()
    assert store._conditional is (make(kind) not in IGNORES_CONDITIONS)
    assert keys(store) == ["lock"]


def test_folder_markers_are_left_out_and_counted(
    store: S3Store, server: AnyServer, kind: str, tmp_path: Path
) -> None:
    if make(kind) not in KEEPS_MARKERS:
        pytest.skip("this server keeps no key that ends in /")
    client = server.client()
    store.write("a03/raw.txt", b"text")
    store.write("a03/empty.txt", b"")
    for marker in ("", "a03/", "a03/pages/", "a03/pages_$folder$"):
        client.put_object(**full(store, marker), Body=b"")
    batches = list(store.list())
    assert keys(store) == ["a03/empty.txt", "a03/raw.txt"]
    assert sum(map(markers_left_out, batches)) == 3  # the root's own is nobody's
    back = store.fetch_tree("a03", tmp_path)
    assert sorted(path.name for path in back.iterdir()) == ["empty.txt", "raw.txt"]


def test_only_the_latest_version_counts(store: S3Store, server: AnyServer, kind: str) -> None:
    if make(kind) not in KEEPS_VERSIONS:
        pytest.skip("this server keeps no versions")
    client = server.client()
    bucket = f"versioned-{make(kind)}"
    with contextlib.suppress(client.exceptions.ClientError):
        client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versioned = opened(server, server.place(bucket))
    for content in (b"first", b"second"):
        versioned.write("kept", content)
        versioned.write("gone", content)
    versioned.delete(["gone"])
    assert keys(versioned) == ["kept"]
    store.copy_from(versioned, "kept", "copy")
    assert store.read("copy") == b"second"
    with pytest.raises(Absent):
        store.copy_from(versioned, "gone", "copy")


@pytest.fixture
def moto(s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch) -> AnyServer:
    found = s3_servers("moto-http")
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


def test_archived_objects_are_told_before_a_copy(moto: AnyServer) -> None:
    store, client = opened(moto), moto.client()
    readable = ("STANDARD", "GLACIER_IR", "INTELLIGENT_TIERING", "STANDARD_IA")
    for name in (*readable, "GLACIER", "DEEP_ARCHIVE"):
        client.put_object(**full(store, name), Body=b"x", StorageClass=name)
    rows = {row["key"]: row["archived"] for batch in store.list() for row in batch.to_pylist()}
    archived = {"GLACIER": "GLACIER", "DEEP_ARCHIVE": "DEEP_ARCHIVE"}
    assert rows == dict.fromkeys(readable) | archived
    for call in (lambda: store.read("GLACIER"), lambda: store.copy_from(store, "GLACIER", "x")):
        with pytest.raises(Archived, match="restore it"):
            call()


def test_a_storage_class_that_is_a_mere_label_archives_nothing(
    s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers("seaweedfs-http")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    store = opened(server)
    server.client().put_object(**full(store, "cold"), Body=b"x", StorageClass="GLACIER")
    ((row,),) = [batch.to_pylist() for batch in store.list()]
    assert (row["key"], row["archived"]) == ("cold", None)
    assert store.read("cold") == b"x"


def test_objects_of_a_customer_s_own_key_are_told_as_such(
    s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers("seaweedfs-http")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    store = opened(server)
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    server.client().put_object(**full(store, "theirs"), Body=b"x", **key)
    for call in (lambda: store.read("theirs"), lambda: store.copy_from(store, "theirs", "x")):
        with pytest.raises(StoreError, match="SSE-C"):
            call()


@pytest.mark.parametrize("kind", kinds(slow=("http",)), indirect=True)
def test_an_experiment_lives_there(server: AnyServer, tmp_path: Path) -> None:
    """From bucket to bucket, with process_func, and nothing to do the next time."""
    business = business_on_s3(tmp_path, server, server.endpoint_url, artifacts=6)
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "*.txt, truth.json"
    business.settings["production"]["FILES_FROM_PROD"] = "*.txt"
    business.functions += PROCESS
    if server.name in KEEPS_MARKERS:
        for marker in ("doc-000/", "doc-000/pages/"):
            put(server.client(), production(business, marker), b"")
    first = in_pipeline(business)
    assert (first.kept, first.copied) == (6, 12)
    kept = contents(server, copied_to(business, ""))
    assert sorted(kept) == sorted(all_files(6) | {f"doc-{n:03}/truth.json" for n in range(6)})
    summary = json.loads(contents(server, stored(business, "data/reconciliation/"))["summary.json"])
    assert summary["keys"]["folder_markers_left_out"] == 2 * (server.name in KEEPS_MARKERS)
    assert in_pipeline(business) == first, "nothing to do"
    again = in_pipeline(business, redo=["reconcile"])
    assert (again.copied, again.ledger_hash) == (0, first.ledger_hash)


def test_archived_artifacts_have_a_fate_of_their_own(moto: AnyServer, tmp_path: Path) -> None:
    business = business_on_s3(tmp_path, moto, moto.endpoint_url, artifacts=6)
    client = moto.client()
    for artifact, name in (("doc-001", "GLACIER"), ("doc-002", "GLACIER_IR")):
        bucket, _, key = production(business, f"{artifact}/raw.txt").partition("/")
        client.put_object(Bucket=bucket, Key=key, Body=artifact.encode(), StorageClass=name)
    outcome = business.run()
    assert outcome.fate("doc-001") == ["archived"]
    assert "GLACIER" in outcome.reason("doc-001")
    assert "--refresh" in outcome.reason("doc-001")
    assert outcome.record.kept == 5
    # An archive tier that no listing tells (INTELLIGENT_TIERING's), or a later move: at the copy.
    bucket, _, key = production(business, "doc-003/raw.txt").partition("/")
    original = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=original, StorageClass="DEEP_ARCHIVE")
    bucket, _, copy = copied_to(business, "doc-003/raw.txt").partition("/")
    client.delete_object(Bucket=bucket, Key=copy)
    later = business.run()
    assert later.fate("doc-003") == ["archived"]
    assert "restore it" in later.reason("doc-003")
    assert later.record.kept == 4
    # Restored, and taken anew.
    for artifact in ("doc-001", "doc-003"):
        bucket, _, key = production(business, f"{artifact}/raw.txt").partition("/")
        client.put_object(Bucket=bucket, Key=key, Body=original)
    assert business.run(refresh=True).record.kept == 6
    # What is archived after it was copied stays kept: nothing of it has to be read again.
    bucket, _, key = production(business, "doc-004/raw.txt").partition("/")
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=body, StorageClass="GLACIER")
    assert business.run(refresh=True).fate("doc-004") == ["kept"]
