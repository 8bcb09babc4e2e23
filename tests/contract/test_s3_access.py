"""Roles and keys on a real S3 server: who may read where, and what is encrypted with which key."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from handful import layout
from handful.errors import Denied, StoreError, Unreachable
from handful.storage.base import Source, Store
from handful.storage.open import open_source, open_store
from handful.storage.s3 import copy as s3copy
from handful.storage.s3.store import PART
from tests.support.reconciling import PROCESS, Business
from tests.support.servers import S3Server, free_ports, role, running_s3

KEY = "alias/experiment"
BIG = b"0123456789abcdef" * (PART // 16 + 1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server that lends roles; only who asks for one may do anything of interest."""
    with running_s3(roles=True) as found, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        patch.setenv("AWS_ENDPOINT_URL_STS", found.endpoint_url)
        for name, value in found.reader.environment().items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def production(server: S3Server) -> Source:
    """A place of production with a small and a large file, as the role that reads it."""
    url = server.place("handful-production")
    bucket, _, prefix = url[5:].partition("/")
    for name, data in (("small.txt", b"small"), ("big.bin", BIG)):
        server.client().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=data)
    return open_source(url, endpoint_url=server.endpoint_url, role_arn=role("reads"))


@pytest.fixture
def store(server: S3Server) -> Store:
    """A place of the store, as the role that writes there, with a key."""
    return open_store(
        server.place(), endpoint_url=server.endpoint_url, role_arn=role("writes"), kms_key=KEY
    )


def keys_used(server: S3Server, store: Store) -> dict[str, str | None]:
    """Which key encrypts each object of the store."""
    bucket, _, prefix = store.url[5:].partition("/")
    found = {}
    for batch in store.list():
        for key in batch.column("key").to_pylist():
            head = server.client().head_object(Bucket=bucket, Key=f"{prefix}/{key}")
            assert head.get("ServerSideEncryption") in {None, "aws:kms"}
            found[key] = head.get("SSEKMSKeyId")
    return found


def test_each_role_does_its_own_and_nothing_else(
    server: S3Server, production: Source, store: Store, tmp_path: Path
) -> None:
    assert production.read("small.txt") == b"small"
    store.write("mine", b"1")
    assert store.read("mine") == b"1"
    for wrong, where in (("writes", production.url), ("reads", store.url)):
        stranger = open_store(where, endpoint_url=server.endpoint_url, role_arn=role(wrong))
        with pytest.raises(Denied):
            list(stranger.list())
        with pytest.raises(Denied):
            stranger.write("new", b"1")


def test_copies_go_through_where_no_principal_may_do_both(
    server: S3Server, production: Source, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(s3copy.ServerCopy, "copy", lambda *what: asked.append(what))
    store.copy_from(production, "small.txt", "a/small.txt")
    store.copy_from(production, "big.bin", "a/big.bin")
    assert not asked
    assert store.read("a/small.txt") == b"small"
    assert store.read("a/big.bin") == BIG
    assert keys_used(server, store) == {"a/small.txt": KEY, "a/big.bin": KEY}


def test_whatever_is_written_is_encrypted_with_the_key(
    server: S3Server, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "big").write_bytes(BIG)
    (tmp_path / "tree" / "marker").write_bytes(b"1")
    store.write("written", b"1")
    assert store.create("created", b"1")
    store.send(tmp_path / "tree" / "big", "sent")
    store.send_tree(tmp_path / "tree", "tree", last="marker")
    store.copy_from(store, "sent", "copied")
    with store.path("by-process-func").open("wb") as file:
        file.write(b"1")
    used = keys_used(server, store)
    assert set(used) == {
        *("written", "created", "sent", "copied", "by-process-func", "tree/big", "tree/marker")
    }
    assert set(used.values()) == {KEY}
    assert store.read("copied") == BIG


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.slow
def test_copies_across_buckets_take_the_key_of_the_store(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """On the server's side: by obstore, and by boto3 where obstore's way does not work."""
    for name, value in server.owner.environment().items():
        monkeypatch.setenv(name, value)
    plain = open_store(server.place("handful-production"), endpoint_url=server.endpoint_url)
    target = open_store(server.place(), endpoint_url=server.endpoint_url, kms_key=KEY)
    if not trusted:
        monkeypatch.setattr(s3copy.ServerCopy, "_first", lambda copy, job: copy._by_boto(job))
    for number in range(4):
        plain.write(f"{number}", b"%d" % number)
        target.copy_from(plain, f"{number}", f"{number}")
        assert target.read(f"{number}") == b"%d" % number
    assert set(keys_used(server, target).values()) == {KEY}
    assert set(keys_used(server, plain).values()) == {None}


def test_another_process_assumes_the_role_anew(store: Store) -> None:
    store.write("here", b"1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(store.read, ("here",)) == b"1"


def test_a_role_that_is_not_lent_is_named(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(server.place(), endpoint_url=server.endpoint_url, role_arn=role("nobody's"))
    with pytest.raises(Denied, match=r"nobody's") as denied:
        store.read("key")
    assert "trust policy" in str(denied.value)
    assert server.reader.secret_key not in str(denied.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    lost = open_store(server.place(), endpoint_url=server.endpoint_url, role_arn=role("writes"))
    with pytest.raises(Unreachable, match="lend the role"):
        lost.read("key")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bare = open_store(server.place(), endpoint_url=server.endpoint_url, role_arn=role("writes"))
    with pytest.raises(StoreError, match="no AWS credentials"):
        bare.read("key")


@pytest.mark.slow
def test_reconcile_between_two_roles_with_a_key(server: S3Server, tmp_path: Path) -> None:
    business = Business(tmp_path)
    business.some()
    business.functions += PROCESS
    place = server.place("handful-production")
    business.settings["production"] |= {
        "FILES_URL": place,
        "S3_ENDPOINT_URL": server.endpoint_url,
        "ASSUME_ROLE_ARN": role("reads"),
    }
    business.settings["experiment"] |= {
        "STORE": server.place(),
        "S3_ENDPOINT_URL": server.endpoint_url,
        "ASSUME_ROLE_ARN": role("writes"),
        "KMS_KEY": KEY,
    }
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt, truth.json"
    bucket, _, prefix = place[5:].partition("/")
    for path in business.files.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(business.files)}"
            server.client().put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    first = business.run()
    assert first.record.kept == 4
    assert set(keys_used(server, first.store).values()) == {KEY}
    assert b"good-1" in first.store.read(layout.artifact_file("good-1", "truth.json"))
    again = business.run()
    assert again.record.copied == 0
    assert again.record.ledger_hash == first.record.ledger_hash
