"""A server, or what stands before it, that sends other bytes than it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from handful.errors import Unreachable
from handful.storage import retry
from handful.storage.open import open_source, open_store
from handful.storage.s3.source import S3Source
from handful.storage.s3.store import PART, S3Store
from tests.support.faults import Request, faulty
from tests.support.servers import S3Server

CONTENT = b"the amount that is due is 42 " * 100
Reading = Callable[[S3Source, Path], bytes]


def read(source: S3Source, _: Path) -> bytes:
    return source.read("file")


def fetch(source: S3Source, scratch: Path) -> bytes:
    source.fetch("file", scratch / "fetched")
    return (scratch / "fetched").read_bytes()


def fetch_tree(source: S3Source, scratch: Path) -> bytes:
    return (source.fetch_tree("", scratch) / "file").read_bytes()


def copy_here(source: S3Source, scratch: Path) -> bytes:
    store = open_store(str(scratch / "store"))
    store.copy_from(source, "file", "copy")
    return store.read("copy")


READINGS = [read, fetch, fetch_tree, copy_here]


@pytest.fixture
def url(s3_server: S3Server) -> str:
    store = open_store(s3_server.place(), endpoint_url=s3_server.endpoint_url)
    store.write("file", CONTENT)
    return store.url


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRIES", 3)


def source_at(url: str, endpoint_url: str) -> S3Source:
    source = open_source(url, endpoint_url=endpoint_url)
    assert isinstance(source, S3Source)
    return source


def body_of(request: Request) -> bool:
    return request.method == "GET" and request.path.endswith("/file")


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("fault", ["short", "flip"])
def test_a_body_that_is_another_is_asked_for_again(
    s3_server: S3Server, url: str, tmp_path: Path, reading: Reading, fault: str
) -> None:
    lies = iter([fault, fault])
    rule = lambda request: next(lies, "pass") if body_of(request) else "pass"  # noqa: E731
    with faulty(s3_server.endpoint_url, rule) as mine:
        assert reading(source_at(url, mine.endpoint_url), tmp_path) == CONTENT
        assert mine.done[fault] == 2


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("fault", ["short", "flip"])
def test_one_that_stays_another_is_an_error_that_names_the_object(
    s3_server: S3Server, url: str, tmp_path: Path, reading: Reading, fault: str
) -> None:
    rule = lambda request: fault if body_of(request) else "pass"  # noqa: E731
    with (
        faulty(s3_server.endpoint_url, rule) as mine,
        pytest.raises(Unreachable, match="arrived") as told,
    ):
        reading(source_at(url, mine.endpoint_url), tmp_path)
    assert told.value.fault.where == f"{url}/file"
    assert not [*tmp_path.rglob("fetched")]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("fault", ["short", "flip"])
def test_what_goes_through_this_machine_to_another_server_is_compared(
    s3_server: S3Server, url: str, fault: str
) -> None:
    target = open_store(s3_server.place(), endpoint_url=s3_server.endpoint_url)
    assert isinstance(target, S3Store)
    lies = iter([fault])
    rule = lambda request: next(lies, "pass") if body_of(request) else "pass"  # noqa: E731
    with faulty(s3_server.endpoint_url, rule) as mine:
        target.copy_from(source_at(url, mine.endpoint_url), "file", "copy")
        assert mine.done[fault] == 1
    assert target.read("copy") == CONTENT


def test_of_an_object_in_parts_the_size_is_compared(s3_server: S3Server, tmp_path: Path) -> None:
    store = open_store(s3_server.place(), endpoint_url=s3_server.endpoint_url)
    path = tmp_path / "large"
    path.write_bytes(b"0123456789abcdef" * (PART // 16) + b"and more")
    store.send(path, "file")
    assert "-" in store.head("file").etag
    lies = iter(["short"])
    rule = lambda request: next(lies, "pass") if body_of(request) else "pass"  # noqa: E731
    with faulty(s3_server.endpoint_url, rule) as mine:
        source_at(store.url, mine.endpoint_url).fetch("file", tmp_path / "fetched")
        assert mine.done["short"] == 1
    assert (tmp_path / "fetched").read_bytes() == path.read_bytes()


def test_an_etag_that_is_no_md5_is_found_out_and_the_size_compared(
    s3_server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that makes its ETags otherwise: here the MD5 is made otherwise."""
    import hashlib

    plain = hashlib.md5
    monkeypatch.setattr(hashlib, "md5", lambda **options: plain(b"other", **options))
    source = source_at(url, s3_server.endpoint_url)
    assert source.read("file") == CONTENT
    assert source.clients.etags_are_md5 is False
    lies = iter(["short"])
    rule = lambda request: next(lies, "pass") if body_of(request) else "pass"  # noqa: E731
    with faulty(s3_server.endpoint_url, rule) as mine:
        source = source_at(url, mine.endpoint_url)
        source.clients.etags_are_md5 = False
        assert source.read("file") == CONTENT
        assert mine.done["short"] == 1
