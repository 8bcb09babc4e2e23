"""What a killed process leaves beside a store on a server: probes, claims, copies to try with."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from handful.storage import atomic_write
from handful.storage.open import open_store
from handful.storage.s3 import create_fallback
from tests.support.servers import S3Server

KINDS = ("probe-{}", "claims/0123456789abcdef/{}")


def mark_of(pid: int, host: str = "") -> str:
    return f"{host or socket.gethostname()}~{pid}~{secrets.token_hex(8)}"


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_of(server: S3Server, place: str, marks: list[str]) -> set[str]:
    """Lay each mark down in each kind of key, let a store try its server; what is still there."""
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    client, folder = server.client(), f"{prefix}/.handful-tmp/"
    for mark in marks:
        for kind in KINDS:
            client.put_object(Bucket=bucket, Key=folder + kind.format(mark), Body=b"")
    client.put_object(Bucket=bucket, Key=f"{prefix}/kept", Body=b"")
    open_store(place, endpoint_url=server.endpoint_url).expect_create()
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    keys = {one["Key"].removeprefix(f"{prefix}/") for one in found}
    assert "kept" in keys
    return {key.removeprefix(".handful-tmp/") for key in keys - {"kept"}}


def test_what_the_dead_left_goes_and_nothing_else(
    s3_server: S3Server, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_fallback, "STALE", timedelta(seconds=-1))
    alive, elsewhere = atomic_write.mark(), mark_of(dead, host="another-machine")
    of_older_builds = secrets.token_hex(8)
    stays = [alive, elsewhere, of_older_builds]
    found = left_of(s3_server, s3_server.place(), [mark_of(dead), mark_of(dead), *stays])
    assert found == {kind.format(mark) for kind in KINDS for mark in stays}


def test_a_claim_that_counts_stays_since_two_machines_may_have_one_name(
    s3_server: S3Server, dead: int
) -> None:
    mark = mark_of(dead)
    assert left_of(s3_server, s3_server.place(), [mark]) == {KINDS[1].format(mark)}


def test_what_is_old_goes_whose_ever_it_was(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create_fallback, "FORGOTTEN", timedelta(seconds=-1))
    marks = [mark_of(1, host="another-machine"), secrets.token_hex(8)]
    assert left_of(s3_server, s3_server.place(), marks) == set()


def test_a_tree_of_that_name_elsewhere_is_nobodys_rubbish(s3_server: S3Server, dead: int) -> None:
    """`STORE` may be a folder of a bucket that others use, too."""
    place = s3_server.place()
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    other = f"{prefix}-other/.handful-tmp/probe-{mark_of(dead)}"
    s3_server.client().put_object(Bucket=bucket, Key=other, Body=b"")
    assert left_of(s3_server, place, []) == set()
    assert s3_server.client().head_object(Bucket=bucket, Key=other)
