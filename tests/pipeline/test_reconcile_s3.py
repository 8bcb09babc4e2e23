"""Reconcile where production, the store, or both lie on a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from tests.support.reconciling import PROCESS, Business, Outcome
from tests.support.servers import S3Server

LONG = "/".join(["n" * 235] * 4) + "/x.txt"
"""With the artifact's folder before it, a key of about 1,000 bytes, here and there."""
NAMES = ["raw.txt", "with space.txt", "plus+percent%20.txt", "ümläut-日本.txt", "sub/x.txt", LONG]


@pytest.fixture(params=["s3 to s3", "s3 to local", "local to s3"])
def business(request: pytest.FixtureRequest, tmp_path: Path, s3_server: S3Server) -> Business:
    """Four artifacts with odd file names; the production and the store where the name says."""
    found = Business(tmp_path)
    source, _, target = request.param.split()
    found.columns = "id AS artifact_id, label"
    found.settings["production"]["FILES_FROM_PROD"] = "*.txt"
    found.settings["reconcile"]["FILES_ON_RESEARCH"] = "*.txt, truth.json"
    found.functions += PROCESS
    for number in range(4):
        for name in NAMES:
            found.file(f"good-{number}/{name}", f"{number} {name}")
        found.row(f"good-{number}", "cat" if number % 2 else "dog")
    for name in NAMES:
        found.file(f"twin/{name}", f"0 {name}")
    found.row("twin", "dog")
    if source == "s3":
        found.settings["production"] |= {
            "FILES_URL": s3_server.place("handful-production"),
            "S3_ENDPOINT_URL": s3_server.endpoint_url,
        }
        upload(found, s3_server)
    if target == "s3":
        found.settings["experiment"] |= {
            "STORE": s3_server.place(),
            "S3_ENDPOINT_URL": s3_server.endpoint_url,
        }
    return found


def upload(business: Business, server: S3Server) -> None:
    """Production's directory to its bucket."""
    bucket, _, prefix = business.settings["production"]["FILES_URL"][5:].partition("/")
    client = server.client()
    for path in business.files.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(business.files)}"
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def kept_files(outcome: Outcome) -> dict[str, bytes]:
    return {
        f"{row['artifact_id']}/{file}": outcome.store.read(
            layout.artifact_file(row["artifact_id"], file)
        )
        for row in outcome.ledger.to_dicts()
        for file in row["files"]
    }


def test_the_whole_way_and_back_again(business: Business, s3_server: S3Server) -> None:
    first = business.run()
    assert first.record.kept == 4
    assert first.fate("twin") == ["duplicate"]
    assert "'good-0'" in first.reason("twin")
    files = kept_files(first)
    for number in range(4):
        for name in NAMES:
            assert files[f"good-{number}/{name}"] == f"{number} {name}".encode()
        told = json.loads(files[f"good-{number}/truth.json"])
        assert told["files"] == sorted(NAMES)
    again = business.run()
    assert again.record.copied == 0
    assert "process_func" not in again.heard.steps
    assert again.record.ledger_hash == first.record.ledger_hash
    assert again.ledger.equals(first.ledger)

    # A change that keeps the size is found by the etag, and only that file is copied.
    business.file("good-1/raw.txt", "1 RAW.TXT")
    if business.settings["production"].get("S3_ENDPOINT_URL"):
        upload(business, s3_server)
    third = business.run(refresh=True)
    assert third.record.copied == 1
    assert kept_files(third)["good-1/raw.txt"] == b"1 RAW.TXT"
    assert third.record.ledger_hash != first.record.ledger_hash


@pytest.mark.slow
def test_what_was_lost_is_brought_back(business: Business) -> None:
    first = business.run()
    before = kept_files(first)
    first.store.delete([layout.artifact_file("good-0", "sub/x.txt")])
    first.store.write(layout.artifact_file("good-1", "raw.txt"), b"cut")
    first.store.delete([layout.artifact_file("good-2", "truth.json")])
    outcome = business.run()
    assert kept_files(outcome) == before
    repaired = {row["artifact_id"] for row in outcome.ledger.to_dicts() if row["repaired"]}
    assert repaired == {"good-0", "good-1", "good-2"}


def test_hostile_keys_of_a_bucket_come_into_the_ledger_and_nowhere_else(
    tmp_path: Path, s3_server: S3Server
) -> None:
    business = Business(tmp_path)
    business.some()
    business.settings["production"] |= {
        "FILES_URL": s3_server.place("handful-production"),
        "S3_ENDPOINT_URL": s3_server.endpoint_url,
        "FILES_FROM_PROD": "raw.txt, *.bin",
    }
    business.settings["reconcile"]["FILES_ON_RESEARCH"] = "raw.txt"
    upload(business, s3_server)
    bucket, _, prefix = business.settings["production"]["FILES_URL"][5:].partition("/")
    client: Any = s3_server.client()
    for key in ("bad-1/raw.txt", "bad-1/a\nb.bin", "bad-2/raw.txt", "bad-2/a\tb.bin"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=b"x")
    for number in (1, 2):
        business.row(f"bad-{number}", "dog", f"h{number}")
    outcome = business.run()
    assert outcome.fate("bad-1") == outcome.fate("bad-2") == ["unsafe_name"]
    assert outcome.record.kept == 4
    below = business.folder / "store" / "EXP-1" / layout.ARTIFACTS
    assert {path.name for path in below.iterdir()} == {f"good-{n}" for n in range(4)}
