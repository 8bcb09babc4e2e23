"""`handful forget` where the store is a bucket that keeps older versions."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from handful import layout
from tests.support.clouds import client, running_moto
from tests.support.tiny import COMMON, WORDS, Tiny, make

GONE = "artifact-zz0101"
TOKENS = ("artifact-zz01", "quetzalword")
"""Of its id and its text."""
BUCKET = "kept-versions"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with running_moto() as url:
        yield url


def versions(s3: Any) -> Iterator[tuple[str, str]]:
    """Every version of every object, the markers of deletions too: key → what it holds."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in page.get("DeleteMarkers", ()):
            yield one["Key"], ""
        for one in page.get("Versions", ()):
            body = s3.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"]
            yield one["Key"], told_by(one["Key"], body.read())


def told_by(key: str, data: bytes) -> str:
    text = data.decode("latin-1")
    if key.endswith(".parquet"):
        text += str(pl.read_parquet(io.BytesIO(data)).to_dicts())
    elif key.endswith(".arrow"):
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            text += str(stream.read_all().to_pylist())
    return text


def naming(s3: Any) -> set[str]:
    found = {key for key, text in versions(s3) if any(t in key or t in text for t in TOKENS)}
    return {key for key in found if not key.endswith("functions.py")}


def test_no_version_of_any_object_tells_of_it(server: str, tmp_path: Path) -> None:
    s3 = client(server, "s3", "us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    tiny = business_of(tmp_path)
    where = ("--set", f"experiment.STORE=s3://{BUCKET}/here")
    where += ("--set", f"experiment.S3_ENDPOINT_URL={server}")
    done = tiny.handful("run", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    before = naming(s3)
    assert any(layout.LABELS in key for key in before), before
    assert any("predictions.parquet" in key or ".arrow" in key for key in before), before
    done = tiny.handful("forget", GONE, "--yes", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert naming(s3) == set()
    done = tiny.handful("status", "--verify", *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "to do" not in done.stdout
    assert "1 document is forgotten" in done.stdout
    assert tiny.handful("reconcile", "--refresh", *where).returncode == 0
    assert naming(s3) == set()


def business_of(folder: Path) -> Tiny:
    tiny = make(folder)
    shutil.rmtree(tiny.files / "artifact-0059")
    tiny.sql(
        f"UPDATE labels SET artifact_id = '{GONE}' WHERE artifact_id = 'artifact-0059'",
    )
    (tiny.files / GONE).mkdir()
    words = random.Random(1).choices([*COMMON, *next(iter(WORDS.values()))], k=20)
    (tiny.files / GONE / "text.txt").write_text(" ".join([*words, "quetzalword"]))
    return tiny
