"""Older versions of objects are deleted, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from handful.storage.open import open_store
from handful.storage.s3.store import S3Store
from handful.storage.s3.versions import purge_versions


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def versions(client: Any) -> list[tuple[str, bool]]:
    told = client.list_object_versions(Bucket="kept")
    found = [*told.get("Versions", ()), *told.get("DeleteMarkers", ())]
    return sorted((one["Key"], one["IsLatest"]) for one in found)


def test_only_what_stands_is_left_of_the_keys(server: str) -> None:
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="kept")
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    store = open_store("s3://kept/exp", endpoint_url=server)
    assert isinstance(store, S3Store)
    for content in (b"1", b"2", b"3"):
        for key in ("a/one.json", "a/one.json.more", "a/gone.txt"):
            store.write(key, content)
    store.delete(["a/gone.txt"])
    assert len(versions(client)) == 10
    assert purge_versions(store, {"a/one.json", "a/gone.txt", "a/never"}.__contains__) == ()
    assert versions(client) == [
        ("exp/a/one.json", True),
        *[("exp/a/one.json.more", False)] * 2,
        ("exp/a/one.json.more", True),
    ]
    assert store.read("a/one.json") == b"3"
