"""What only a server can do wrong: refuse, vanish, throttle, break off; and copies across them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handful.errors import Absent, Denied, StoreError, Unreachable, UserError
from handful.storage.base import Source
from handful.storage.open import open_source, open_store
from handful.storage.s3 import copy
from handful.storage.s3.store import PART, S3Store
from tests.support.faults import proxy
from tests.support.servers import Login, S3Server, free_ports

BIG = PART + 1_000_000
SECRET = "a-very-secret-key"

Call = Callable[[], object]


def keys(source: Source, prefix: str = "") -> list[str]:
    return sorted(key for batch in source.list(prefix) for key in batch.column("key").to_pylist())


def opened(server: S3Server, url: str = "", **options: str) -> S3Store:
    store = open_store(url or server.place(), endpoint_url=server.endpoint_url, **options)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def store(s3_server: S3Server) -> S3Store:
    return opened(s3_server)


@pytest.fixture
def login_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Login], None]:
    def become(login: Login) -> None:
        for name, value in login.environment().items():
            monkeypatch.setenv(name, value)

    return become


def readings(store: S3Store, scratch: Path) -> list[Call]:
    return [
        lambda: list(store.list()),
        lambda: list(store.list("ke")),
        lambda: store.head("key"),
        lambda: store.read("key"),
        lambda: store.fetch("key", scratch / "fetched"),
        lambda: store.fetch_tree("", scratch / "tree"),
    ]


def writings(store: S3Store, scratch: Path) -> list[Call]:
    (scratch / "file").write_bytes(b"x")
    return [
        lambda: store.write("key", b"new"),
        lambda: store.create("key", b"new"),
        lambda: store.send(scratch / "file", "key"),
        lambda: store.delete(["key"]),
        lambda: store.delete_tree("folder"),
        lambda: store.copy_from(store, "key", "copy"),
    ]


def test_a_wrong_secret_is_denied_and_never_absent(
    s3_server: S3Server, store: S3Store, login_as: Callable[[Login], None], tmp_path: Path
) -> None:
    store.write("key", b"old")
    login_as(Login(s3_server.owner.access_key, SECRET))
    stranger = opened(s3_server, store.url)
    calls = readings(stranger, tmp_path) + writings(stranger, tmp_path)
    for call in calls:
        with pytest.raises(Denied, match=stranger.url) as caught:
            call()
        assert SECRET not in str(caught.value)
    assert store.read("key") == b"old"


def test_an_unknown_access_key_is_denied_and_says_so(
    s3_server: S3Server, login_as: Callable[[Login], None]
) -> None:
    login_as(Login("nobody", SECRET))
    with pytest.raises(Denied, match="does not know this access key"):
        opened(s3_server).read("key")


def test_a_reader_may_read_and_is_denied_the_rest(
    s3_server: S3Server, store: S3Store, login_as: Callable[[Login], None], tmp_path: Path
) -> None:
    store.write("key", b"old")
    store.write("folder/key", b"old")
    login_as(s3_server.reader)
    reader = opened(s3_server, store.url)
    for read in readings(reader, tmp_path):
        read()
    for write in writings(reader, tmp_path):
        with pytest.raises(Denied):
            write()
    assert keys(store) == ["folder/key", "key"]
    assert store.read("key") == b"old"


def test_no_credentials_at_all_are_denied(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(Denied, match="no AWS credentials"):
        opened(s3_server).read("key")


def test_credentials_of_a_profile(
    s3_server: S3Server, store: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.write("key", b"old")
    me = s3_server.owner
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id={me.access_key}\naws_secret_access_key={me.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    team = opened(s3_server, store.url, profile="team")
    assert team.read("key") == b"old"
    assert team.path("key").read_bytes() == b"old"
    with pytest.raises(UserError, match="teem"):
        opened(s3_server, store.url, profile="teem").read("key")


def test_a_missing_bucket_is_absent_and_named(s3_server: S3Server, tmp_path: Path) -> None:
    store = opened(s3_server, "s3://no-such-bucket/prefix")
    calls = readings(store, tmp_path) + writings(store, tmp_path)
    for call in calls:
        with pytest.raises(Absent, match="no-such-bucket"):
            call()


@pytest.mark.slow
def test_a_server_that_is_not_there_is_unreachable_soon(tmp_path: Path) -> None:
    store = open_store("s3://bucket/prefix", endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}")
    for call in (lambda: store.read("key"), lambda: list(store.list("ke"))):
        started = time.monotonic()
        with pytest.raises(Unreachable, match="s3://bucket/prefix/ke"):
            call()
        assert time.monotonic() - started < 25


def every(number: int, fault: str) -> Callable[[str, str, int], str]:
    """Every so-manieth request fails, the first one too."""
    return lambda _method, _path, count: fault if count % number == 1 else "pass"


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_passing_faults_are_not_seen(s3_server: S3Server, tmp_path: Path, fault: str) -> None:
    (tmp_path / "big").write_bytes(b"x" * BIG)
    with proxy(s3_server.endpoint_url, every(3, fault)) as faulty:
        store = open_store(s3_server.place(), endpoint_url=faulty.endpoint_url)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: store.write(f"key/{n}", b"x"), range(40)))
        store.send(tmp_path / "big", "big")
        store.fetch("big", tmp_path / "back")
        store.copy_from(store, "key/1", "copy")
        assert len(keys(store, "key/")) == len(keys(store, "ke")) == 40
        store.delete_tree("key")
        assert keys(store) == ["big", "copy"]
    assert (tmp_path / "back").read_bytes() == b"x" * BIG
    assert faulty.done[fault] > 20, faulty.done


def test_bodies_that_break_off_are_asked_for_again(s3_server: S3Server, tmp_path: Path) -> None:
    def cut(method: str, path: str, count: int) -> str:
        return "cut" if method == "GET" and "big" in path and count % 3 else "pass"

    content = bytes(range(256)) * (BIG // 256)
    with proxy(s3_server.endpoint_url, cut) as faulty:
        store = open_store(s3_server.place(), endpoint_url=faulty.endpoint_url)
        store.write("big", content)
        store.fetch("big", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
        assert store.read("big") == content
        assert opened(s3_server).copy_from(store, "big", "copy") is None
    assert faulty.done["cut"] > 1, faulty.done
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


def test_a_server_that_only_throttles_is_unreachable_in_the_end(s3_server: S3Server) -> None:
    with proxy(s3_server.endpoint_url, lambda *_: "503") as faulty:
        store = open_store(s3_server.place(), endpoint_url=faulty.endpoint_url)
        started = time.monotonic()
        with pytest.raises(Unreachable, match="SlowDown"):
            store.read("key")
        assert time.monotonic() - started < 25
    assert faulty.done["503"] > 3


@pytest.mark.slow
def test_an_upload_that_is_interrupted_is_not_seen(
    s3_server: S3Server, store: S3Store, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(b"x" * BIG)
    store.write("key", b"old")

    def last_part_fails(method: str, path: str, _count: int) -> str:
        return "reset" if method == "PUT" and "partNumber=2" in path else "pass"

    with proxy(s3_server.endpoint_url, last_part_fails) as faulty:
        half = open_store(store.url, endpoint_url=faulty.endpoint_url)
        for key in ("key", "new"):
            with pytest.raises(Unreachable):
                half.send(tmp_path / "big", key)
        assert faulty.done["reset"] > 2
    assert keys(store) == ["key"]
    assert store.read("key") == b"old"


def test_a_200_with_an_error_inside_is_no_copy(s3_server: S3Server) -> None:
    error = "<?xml version='1.0'?><Error><Code>InternalError</Code><Message>no</Message></Error>"
    answered = []

    def lie_once(method: str, path: str, _count: int) -> str:
        if method == "PUT" and "copied" in path and len(answered) < 2:
            answered.append(path)
            return error
        return "pass"

    with proxy(s3_server.endpoint_url, lie_once) as faulty:
        store = open_store(s3_server.place(), endpoint_url=faulty.endpoint_url)
        store.write("original", b"content")
        store.copy_from(store, "original", "copied")
        assert store.read("copied") == b"content"
    assert len(answered) == 2


HOSTILE = ["fine", "a//b", "../up", "./x", "line&#10;break", "marker/", "zz"]


def listing(keys: list[str]) -> str:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
        f"<ETag>&quot;0f&quot;</ETag><Size>1</Size></Contents>"
        for key in keys
    )
    return (
        "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>"
        f"<Name>bucket</Name><Prefix/><KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )


def test_keys_that_no_path_may_have_are_listed_all_the_same(s3_server: S3Server) -> None:
    with proxy(s3_server.endpoint_url, lambda *_: listing(HOSTILE)) as odd:
        source = open_source("s3://bucket", endpoint_url=odd.endpoint_url)
        found = keys(source)
    assert found == sorted(key.replace("&#10;", "\n") for key in HOSTILE)
    with pytest.raises(StoreError, match="empty"):
        source.read("a//b")


def test_create_without_conditions_has_one_winner_too(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_conditional", False)
    for attempt in range(3):
        barrier = threading.Barrier(16)

        def claim(
            number: int, barrier: threading.Barrier = barrier, key: str = f"lock-{attempt}"
        ) -> bool:
            barrier.wait()
            return store.create(key, str(number).encode())

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(claim, range(16)))
        assert won.count(True) == 1
        assert store.read(f"lock-{attempt}") == str(won.index(True)).encode()
        assert store.create(f"lock-{attempt}", b"late") is False
    assert keys(store) == ["lock-0", "lock-1", "lock-2"]


@pytest.mark.slow
def test_a_server_that_ignores_conditions_is_found_out(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import obstore

    put = obstore.put

    def ignorant(*args: object, mode: str = "overwrite", **options: object) -> object:
        return put(*args, **options)  # type: ignore[arg-type]

    honest, careless = opened(s3_server), opened(s3_server)
    assert honest.create("key", b"1") is True
    assert honest._conditional is True
    monkeypatch.setattr(obstore, "put", ignorant)
    assert careless.create("key", b"1") is True
    assert careless.create("key", b"2") is False
    assert careless._conditional is False
    assert (careless.read("key"), keys(careless)) == (b"1", ["key"])


@pytest.fixture
def pair(s3_server: S3Server) -> tuple[S3Store, S3Store]:
    """Production and a store in two buckets of one server."""
    return opened(s3_server, s3_server.place("handful-production")), opened(s3_server)


def test_copies_across_buckets_are_made_by_the_server(
    pair: tuple[S3Store, S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    production, store = pair
    names = [f"a +%ü/{number}" for number in range(20)]
    for name in names:
        production.write(name, name.encode())
    # Nothing of the content may pass through here.
    monkeypatch.setattr(S3Store, "body", None)
    monkeypatch.setattr(copy.ServerCopy, "_by_boto", None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.copy_from(production, name, f"to/{name}"), names))
    monkeypatch.undo()
    assert {store.read(f"to/{name}").decode() for name in names} == set(names)


def test_how_to_copy_is_found_out_before_the_first_copy(
    pair: tuple[S3Store, S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    production, store = pair
    production.write("a", b"1")
    with pytest.raises(Absent, match=f"{production.url}/none"):
        store.expect_copies(production, "none", 1)
    store.expect_copies(production, "a", 1)
    mine = store.clients.boto().list_objects_v2(Bucket=store.bucket, Prefix=store.full("x")[:-1])
    assert "Contents" not in mine, "nothing is left, not even aside"
    assert store._copies[production.bucket]._trusted is True
    monkeypatch.setattr(copy.ServerCopy, "_first", None)
    store.copy_from(production, "a", "to/a")
    assert store.read("to/a") == b"1"


def test_boto_copies_where_obstores_way_does_not_work(
    pair: tuple[S3Store, S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    production, store = pair
    production.write("a", b"new")
    store.write("copy", b"old")
    # A server that takes the address for another: the copy arrives elsewhere.
    bare = production.clients.bucket_store
    monkeypatch.setattr(production.clients, "server_store", lambda kms_key: bare())
    for key in ("copy", "copy2"):
        store.copy_from(production, "a", key)
        assert store.read(key) == b"new"
    (only,) = store._copies.values()
    assert only._trusted is False


def test_objects_too_large_for_one_request_are_copied_in_parts(
    pair: tuple[S3Store, S3Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    production, store = pair
    production.write("small", b"small")
    store.copy_from(production, "small", "small")
    production.write("big", b"x" * BIG)
    import obstore
    from obstore.exceptions import GenericError

    def refuses(*_: object) -> None:
        raise GenericError(
            "Server returned non-2xx status code: 400 Bad Request: <Error><Code>InvalidRequest"
            "</Code><Message>The specified copy source is larger than the maximum allowable size "
            "for a copy source: 5368709120</Message></Error>"
        )

    monkeypatch.setattr(obstore, "copy", refuses)
    store.copy_from(production, "big", "big")
    assert store.head("big").size == BIG
    assert store._copies[production.bucket]._trusted is True


def test_a_missing_original_is_absent_and_named(pair: tuple[S3Store, S3Store]) -> None:
    production, store = pair
    production.write("a", b"1")
    store.copy_from(production, "a", "a")  # the way is trusted now
    with pytest.raises(Absent, match=f"{production.url}/none"):
        store.copy_from(production, "none", "copy")


@pytest.mark.parametrize("size", [3, BIG])
def test_another_servers_objects_are_streamed_through(
    s3_server: S3Server, store: S3Store, size: int
) -> None:
    port = s3_server.endpoint_url.rpartition(":")[2]
    # The same server by another name: nothing says that it is the same.
    other = open_store(s3_server.place(), endpoint_url=f"http://localhost:{port}")
    content = b"xyz" * (size // 3)
    other.write("a b", content)
    store.copy_from(other, "a b", "copy")
    assert store.read("copy") == content
    assert not store._copies


def test_folder_markers_do_no_harm(s3_server: S3Server, store: S3Store, tmp_path: Path) -> None:
    bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
    client = s3_server.client()
    for marker in ("", "tree/", "tree/sub/", "tree/empty/"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{marker}", Body=b"")
    store.write("tree/sub/file", b"1")
    back = store.fetch_tree("tree", tmp_path)
    assert (back / "sub" / "file").read_bytes() == b"1"
