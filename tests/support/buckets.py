"""A business of `reconciling` on a real S3 server: files in one bucket, the store in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from handful import layout
from handful.pipeline.run import run
from handful.pipeline.step import Choice
from handful.records import Reconciled
from tests.support.faults import Proxy
from tests.support.progress import Recording
from tests.support.reconciling import Business
from tests.support.servers import S3Server

HANDFUL = Path(sys.executable).with_name("handful")
PRODUCTION = "handful-production"
NAMES = ("more.txt", "raw.txt")
_DATED = (layout.SNAPSHOT, layout.RECONCILED, layout.SUMMARY)
_AT_ONCE = 8


def business_on_s3(
    folder: Path, server: S3Server, endpoint_url: str, artifacts: int = 60
) -> Business:
    """`artifacts` artifacts doc-000, … of two files each, uploaded; nothing is in the store.

    Production and store are reached at `endpoint_url`, which may be a proxy before `server`.
    """
    business = Business(folder)
    business.settings["production"] |= {
        "FILES_URL": server.place(PRODUCTION),
        "S3_ENDPOINT_URL": endpoint_url,
        "FILES_FROM_PROD": ", ".join(NAMES),
    }
    business.settings["experiment"] |= {"STORE": server.place(), "S3_ENDPOINT_URL": endpoint_url}
    for number in range(artifacts):
        name = f"doc-{number:03}"
        business.row(name, "cat" if number % 3 else "dog", f"hash of {name}")
        for file in NAMES:
            business.file(f"{name}/{file}", f"{file} of {name} " * (number + 1))
    upload(business, server)
    return business


def production(business: Business, key: str) -> str:
    """`bucket/key` of one of production's objects."""
    return f"{business.settings['production']['FILES_URL'][5:]}/{key}"


def stored(business: Business, key: str = "") -> str:
    """`bucket/key` of something in the experiment's store."""
    return f"{business.settings['experiment']['STORE'][5:]}/EXP-1/{key}"


def copied_to(business: Business, key: str) -> str:
    """`bucket/key` to which the production's object `artifact/file` is copied."""
    return stored(business, f"{layout.ARTIFACTS}/{key}")


def upload(business: Business, server: S3Server) -> None:
    """Every file of the production's directory to its bucket."""
    client = server.client()
    paths = [path for path in business.files.rglob("*") if path.is_file()]

    def one(path: Path) -> None:
        put(client, production(business, str(path.relative_to(business.files))), path.read_bytes())

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, paths))


def put(client: Any, path: str, content: bytes) -> None:
    """Put `content` at `bucket/key`."""
    bucket, _, key = path.partition("/")
    client.put_object(Bucket=bucket, Key=key, Body=content)


def remove(client: Any, path: str) -> None:
    """Delete `bucket/key`."""
    bucket, _, key = path.partition("/")
    client.delete_object(Bucket=bucket, Key=key)


def listing(server: S3Server, below: str) -> dict[str, dict[str, Any]]:
    """What lies below the folder `bucket/prefix/`: relative key → what the server says of it."""
    bucket, _, prefix = below.partition("/")
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        entry["Key"].removeprefix(prefix): entry
        for page in pages
        for entry in page.get("Contents", [])
    }


def contents(server: S3Server, below: str) -> dict[str, bytes]:
    """Everything below the folder `bucket/prefix/`: relative key → content."""
    bucket, _, prefix = below.partition("/")
    client = server.client()

    def one(key: str) -> bytes:
        content: bytes = client.get_object(Bucket=bucket, Key=prefix + key)["Body"].read()
        return content

    keys = list(listing(server, below))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(keys, pool.map(one, keys), strict=True))


def lasting(business: Business, server: S3Server) -> dict[str, bytes]:
    """The experiment's data, all but time stamps and locks: relative key → content."""
    found = contents(server, stored(business, "data/"))
    kept = {
        key: content
        for key, content in found.items()
        if f"data/{key}" not in _DATED and not f"data/{key}".startswith(f"{layout.LOCK}/")
    }
    record, summary = (
        json.loads(found[key.removeprefix("data/")]) for key in (layout.RECONCILED, layout.SUMMARY)
    )
    summary.pop("production_as_of")
    told = {"ledger_hash": record["ledger_hash"], "fates": record["fates"], "summary": summary}
    return kept | {"told": json.dumps(told).encode()}


def undisturbed(folder: Path, server: S3Server, artifacts: int = 60) -> dict[str, bytes]:
    """What a run without any fault leaves in the store: see `lasting`."""
    calm = business_on_s3(folder, server, server.endpoint_url, artifacts)
    assert in_pipeline(calm).kept == artifacts
    return lasting(calm, server)


def same(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    """Fail with the names of what differs, not with all the contents."""
    assert found.keys() == expected.keys()
    assert [key for key in expected if found[key] != expected[key]] == []


def all_files(artifacts: int = 60) -> set[str]:
    """artifact/file of all that `business_on_s3` makes."""
    return {f"doc-{number:03}/{name}" for number in range(artifacts) for name in NAMES}


def copies_of(business: Business, between: Proxy, *, since: int = 0) -> Counter[str]:
    """artifact/file → how often the server copied it into the store."""
    folder = copied_to(business, "")
    return Counter({k.removeprefix(folder): n for k, n in between.copies(since=since).items()})


def in_pipeline(business: Business, redo: Collection[str] = ()) -> Reconciled:
    """As `handful reconcile` does it, lock and all, but in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        experiment = business.open(Recording(), Path(scratch))
        records = run(experiment, Choice("reconcile", "reconcile", frozenset(redo)))
    return cast(Reconciled, records["reconcile"])


def write_settings(business: Business) -> None:
    """Write the experiment's files without running anything."""
    with tempfile.TemporaryDirectory() as scratch:
        business.open(Recording(), Path(scratch))


def start(
    business: Business, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """`handful reconcile` as a process of its own."""
    return subprocess.Popen(
        [HANDFUL, "reconcile", str(business.directory), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**(os.environ if environment is None else environment)},
    )


def console(
    business: Business, *options: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run `handful reconcile` to its end: exit status, and all that it said."""
    write_settings(business)
    process = start(business, *options, environment=environment)
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said
