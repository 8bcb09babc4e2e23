"""Keys are sampled alike from a directory and from every S3 server that packages give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handful.errors import Absent, Denied, StoreError, Unreachable
from handful.pipeline.proposal.findings import Deadline, SampledKeys
from handful.pipeline.proposal.key_places import sample_keys
from handful.pipeline.proposal.key_shape import propose_files
from handful.progress import Silent
from handful.storage.base import Source
from handful.storage.open import open_source
from tests.support.key_layouts import LAYOUTS, Layout
from tests.support.s3_servers import AnyServer, kinds
from tests.support.servers import free_ports

PRODUCTION = "handful-production"
MAKERS = ["moto-http", "seaweedfs-http"]
ARTIFACTS = 25


def login(server: AnyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=kinds())
def server(
    request: pytest.FixtureRequest,
    s3_servers: Callable[[str], AnyServer],
    monkeypatch: pytest.MonkeyPatch,
) -> AnyServer:
    found = s3_servers(str(request.param))
    login(found, monkeypatch)
    return found


def upload(server: AnyServer, keys: Iterable[str]) -> Source:
    """A fresh place that holds these keys."""
    url = server.place(PRODUCTION)
    prefix = url.partition(f"{PRODUCTION}/")[2]
    client = server.client(max_pool_connections=16)

    def put(key: str) -> None:
        client.put_object(Bucket=PRODUCTION, Key=f"{prefix}/{key}", Body=b"x" * 50)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, keys))
    return open_source(url, endpoint_url=server.endpoint_url, ca_bundle=server.ca)


def write(root: Path, keys: Iterable[str]) -> Source:
    for key in keys:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 50)
    return open_source(str(root))


def sample(source: Source, most: int = 10_000, seconds: float = 60) -> SampledKeys:
    return sample_keys(source, Deadline.of(seconds), Silent(), most=most, seed=1)


def is_read(layout: Layout, ids: list[str], found: SampledKeys) -> bool:
    return any(one.key_pattern in layout.patterns for one in propose_files(found, ids, layout.fold))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("place", ["directory", *MAKERS])
def test_every_layout_is_taken_whole_and_in_part(
    layout: Layout,
    place: str,
    tmp_path: Path,
    s3_servers: Callable[[str], AnyServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifacts = layout.artifacts(ARTIFACTS)
    ids = [one for one, _ in artifacts]
    keys = {key for _, made in artifacts for key in made}
    if place == "directory":
        source = write(tmp_path, keys)
    else:
        login(s3_servers(place), monkeypatch)
        source = upload(s3_servers(place), keys)
    whole = sample(source)
    assert whole.is_all
    assert set(whole.keys) == keys
    assert set(whole.sizes) == {50}
    assert is_read(layout, ids, whole)
    part = sample(source, most=len(keys) - 5)
    assert not part.is_all
    assert keys > set(part.keys)
    assert len(part.keys) >= 0.3 * len(keys)


def test_a_dated_tree_is_sampled_widely(server: AnyServer) -> None:
    months = [f"{year}/{month:02}" for year in (2023, 2024) for month in (1, 5, 9)]
    days = [f"{month}/{day:02}" for month in months for day in range(1, 11)]
    keys = {f"{day}/{n:04}-{day[-2:]}/{name}" for day in days for n in range(8) for name in "ab"}
    found = sample(upload(server, keys), most=600)
    assert set(found.keys) <= keys
    assert not found.is_all
    assert len(found.keys) >= 400
    assert len({key[:10] for key in found.keys}) >= 0.6 * len(days)


def test_a_flat_bucket_is_sampled_from_end_to_end(server: AnyServer) -> None:
    keys = [f"doc-{n:06}.pdf" for n in range(0, 30_000, 25)]
    found = sample(upload(server, keys), most=500)
    assert set(found.keys) <= set(keys)
    tenths = {int(key[4:10]) // 3_000 for key in found.keys}
    assert len(tenths) >= 8


def test_hostile_keys_are_left_out(
    s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers("moto-http")
    login(server, monkeypatch)
    good = [f"{n:03}/text.txt" for n in range(30)]
    bad = ["a/../b.txt", "a//b.txt", "a/./b.txt", "tab\t.txt", "bell\a/x"]
    markers = ["folder/", "old_$folder$"]
    source = upload(server, [*good, *bad])
    prefix = source.url.partition(f"{PRODUCTION}/")[2]
    for name in markers:
        server.client().put_object(Bucket=PRODUCTION, Key=f"{prefix}/{name}", Body=b"")
    long = "long/" + "x" * (1_000 - len(prefix))
    server.client().put_object(Bucket=PRODUCTION, Key=f"{prefix}/{long}", Body=b"x")
    for most in (10_000, 20):
        found = sample(source, most=most)
        assert set(found.keys) <= {*good, long}
        assert len(found.keys) >= 15


def test_an_empty_place_has_no_keys(server: AnyServer, tmp_path: Path) -> None:
    for source in (upload(server, []), open_source(str(tmp_path))):
        found = sample(source)
        assert found.keys == ()
        assert found.is_all


def test_a_missing_bucket_and_a_wrong_login(
    s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3_servers("seaweedfs-http")
    login(server, monkeypatch)
    with pytest.raises(Absent):
        sample(open_source("s3://handful-nowhere", endpoint_url=server.endpoint_url))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Denied):
        sample(open_source(f"s3://{PRODUCTION}", endpoint_url=server.endpoint_url))


def test_nobody_answers(
    s3_servers: Callable[[str], AnyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    login(s3_servers("moto-http"), monkeypatch)
    with pytest.raises(Unreachable):
        sample(
            open_source(f"s3://{PRODUCTION}", endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}")
        )


def test_a_page_that_is_no_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html><body>Please log in</body></html>")

        def log_message(self, *_: object) -> None: ...

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    server = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(StoreError):
            sample(open_source("s3://any", endpoint_url=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()


def test_a_silent_server_does_not_hold_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        found = sample(open_source("s3://any", endpoint_url=url), seconds=1)
        assert time.monotonic() - began < 4
        assert found.keys == ()
        assert not found.is_all
