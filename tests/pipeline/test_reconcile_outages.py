"""Whole reconciles that lose the database or their life, and the proof that nothing is written
to production. Each test prints its counts."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from handful import layout
from tests.support.buckets import (
    PRODUCTION,
    business_on_s3,
    console,
    contents,
    copied_to,
    lasting,
    listing,
    production,
    put,
    same,
    start,
    stored,
    write_settings,
)
from tests.support.faults import Proxy, Request, faulty
from tests.support.reconciling import PROCESS, Business
from tests.support.servers import REGION, S3Server

ROWS = 60_000
STALLS_AT = 45_000
"""Label rows after which the database stalls: the driver has fetched some batches by then."""


# --- the database is lost in mid-stream -----------------------------------------------------------


def with_labels_in(business: Business, postgres: str, server: Any) -> Any:
    """Label rows in PostgreSQL, most of them without files; what asks it as its administrator.

    While the table `stall` has a row, the query halts in the midst of its rows.
    """
    database = urlsplit(postgres).path.strip("/")
    user = postgres.removeprefix("postgresql://").partition(":")[0]

    def ask(*statements: str) -> str:
        return str(server.psql(f"\\connect {database}\n" + "\n".join(statements)))

    ask(
        "CREATE TABLE labels (n int, id text, label text); CREATE TABLE stall (n int);",
        f"INSERT INTO labels SELECT n, 'doc-' || lpad(n::text, greatest(3, length(n::text)), '0'), "
        f"CASE n % 2 WHEN 0 THEN 'cat' ELSE 'dog' END FROM generate_series(0, {ROWS - 1}) AS n;",
        f"INSERT INTO stall VALUES ({STALLS_AT});",
        f"GRANT SELECT ON labels, stall TO {user};",
    )
    business.settings["production"] |= {
        "DATABASE_URL": postgres,
        "LABEL_QUERY": "SELECT id AS artifact_id, label, 'hash of ' || id AS file_hash, "
        "CASE WHEN n = (SELECT n FROM stall) THEN pg_sleep(60)::text END AS nap FROM labels",
    }
    return ask


@pytest.mark.slow
def test_a_database_lost_in_mid_stream_leaves_nothing_half(
    tmp_path: Path, s3_server: S3Server, postgres: str, postgres_server: Any
) -> None:
    business = business_on_s3(tmp_path, s3_server, s3_server.endpoint_url, 4)
    ask = with_labels_in(business, postgres, postgres_server)
    write_settings(business)
    process = start(business, "--json")
    try:
        ended, deadline = "", time.monotonic() + 60
        while "t" not in ended.split():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            ended = ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE wait_event = 'PgSleep' AND datname = current_database();"
            )
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    left = sorted(listing(s3_server, stored(business, "data/")))
    print(f"ended after {STALLS_AT} of {ROWS} rows; in the store: {left}; told:\n{said}")
    assert process.returncode == 1
    assert "the connection was lost; run it again" in said
    assert str(urlsplit(postgres).password) not in said
    assert left == []

    ask("DELETE FROM stall;")
    status, said = console(business)
    assert status == 0, said
    found = listing(s3_server, stored(business, "data/"))
    print(f"run again: {len(found)} objects in the store")
    assert layout.SNAPSHOT.removeprefix("data/") in found
    copies = [key for key in found if key.startswith("reconciled_artifacts/")]
    assert len(copies) == 8


# --- killed at any moment -------------------------------------------------------------------------


class Kills:
    """Runs of one experiment that are killed, and what had arrived whole at each death."""

    def __init__(self, business: Business, server: S3Server, between: Proxy) -> None:
        self.business, self.server, self.between = business, server, between
        self.arrived: list[tuple[int, set[str]]] = []
        """After each kill: how many requests there had been, and which copies stood."""
        self._folder = copied_to(business, "")

    def run(self, requests: int, seconds: float) -> bool:
        """Kill it so many seconds after so many requests; False if it had ended by then."""
        begun = len(self.between.requests)
        process = start(self.business)
        try:
            while not self.between.wait_for(begun + requests, 0.05) and process.poll() is None:
                pass
            deadline = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
        finally:
            process.kill()
            said, _ = process.communicate()
        if process.returncode >= 0:
            assert process.returncode == 0, said
            return False
        self._look()
        return True

    def finish(self) -> None:
        assert self.run(10**9, 0) is False

    def _look(self) -> None:
        self.between.settle()
        originals = listing(self.server, production(self.business, ""))
        found = listing(self.server, self._folder)
        whole = {
            key
            for key, entry in found.items()
            if (entry["Size"], entry["ETag"]) == (originals[key]["Size"], originals[key]["ETag"])
        }
        assert whole == set(found), "nothing half is ever seen"
        self.arrived.append((len(self.between.requests), whole))

    def copied_twice(self) -> Counter[str]:
        """Copies of what had arrived whole before some kill, made after it."""
        again: Counter[str] = Counter()
        for number, whole in self.arrived:
            for path, times in self.between.copies(since=number).items():
                if path.removeprefix(self._folder) in whole:
                    again[path] += times
        return again


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same_and_copies_nothing_twice(
    tmp_path: Path, s3_server: S3Server, kills: int
) -> None:
    moments = random.Random(os.environ.get("HANDFUL_TEST_SEED", "1"))
    with faulty(s3_server.endpoint_url, delay=0.02) as between:
        business = business_on_s3(tmp_path, s3_server, between.endpoint_url)
        write_settings(business)
        calm = Kills(business, s3_server, between)
        calm.finish()
        requests = len(between.requests)
        expected = lasting(business, s3_server)
        assert between.copies().total() == 120
        killed: list[Kills] = []
        while sum(len(runs.arrived) for runs in killed) < kills:
            business.settings["experiment"]["STORE"] = s3_server.place()
            write_settings(business)
            one = Kills(business, s3_server, between)
            killed.append(one)
            for _ in range(min(5, kills)):
                if not one.run(moments.randint(1, requests), moments.uniform(0, 0.2)):
                    break
            else:
                one.finish()
            at = [len(whole) for _, whole in one.arrived]
            print(f"killed when {at} of 120 copies stood; copied twice: {one.copied_twice()}")
            same(lasting(business, s3_server), expected)
            assert one.copied_twice() == Counter()
    stood = [len(whole) for one in killed for _, whole in one.arrived]
    print(f"{len(stood)} kills, {sum(0 < n < 120 for n in stood)} of them while it copied")
    assert any(0 < n < 120 for n in stood)


# --- production is only ever read -----------------------------------------------------------------


def two_profiles(folder: Path, server: S3Server) -> dict[str, str]:
    """The environment of a process that has no login but the profiles `reader` and `owner`."""
    lines = []
    for login in (server.reader, server.owner):
        lines += [
            f"[profile {login.access_key}]",
            f"aws_access_key_id = {login.access_key}",
            f"aws_secret_access_key = {login.secret_key}",
            f"region = {REGION}",
        ]
    config = folder / "aws-config"
    config.write_text("\n".join(lines))
    mine = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return mine | {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def refuses_writes_to_production(request: Request) -> str:
    return "403" if request.is_write and request.bucket == PRODUCTION else "pass"


def everything_that_writes(
    business: Business, server: S3Server, environment: Mapping[str, str]
) -> None:
    """A first run with process_func, a refresh after changes, a prune, a repair, an OVERWRITE."""

    def run(*options: str) -> None:
        status, said = console(business, *options, environment=environment)
        assert status == 0, said

    run()
    put(server.client(), production(business, "doc-001/raw.txt"), b"another text")
    business.sql("DELETE FROM labels WHERE id = 'doc-002'")
    put(server.client(), copied_to(business, "doc-003/raw.txt"), b"cut")
    before = state_of_production(business, server)
    run("--refresh", "--prune")
    business.settings["reconcile"]["OVERWRITE"] = "true"
    run()
    assert state_of_production(business, server) == before


def state_of_production(business: Business, server: S3Server) -> dict[str, Any]:
    below = listing(server, production(business, ""))
    return {key: (e["ETag"], e["Size"], e["LastModified"]) for key, e in below.items()}


@pytest.mark.parametrize(
    "logins",
    [pytest.param("one login for both", marks=pytest.mark.slow), "production by a reader"],
)
@pytest.mark.slow
def test_nothing_is_ever_written_to_production(
    tmp_path: Path, s3_server: S3Server, logins: str
) -> None:
    environment: Mapping[str, str] = os.environ
    with faulty(s3_server.endpoint_url, refuses_writes_to_production) as between:
        business = business_on_s3(tmp_path, s3_server, between.endpoint_url, 6)
        business.functions += PROCESS
        business.settings["reconcile"]["FILES_ON_RESEARCH"] = "*.txt, truth.json"
        business.settings["reconcile"]["NUM_PROCESSES"] = "1"
        if logins == "production by a reader":
            environment = two_profiles(tmp_path, s3_server)
            business.settings["production"]["AWS_PROFILE"] = s3_server.reader.access_key
            business.settings["experiment"]["AWS_PROFILE"] = s3_server.owner.access_key
            reader = login_of_reader(s3_server)
            with pytest.raises(ClientError, match="AccessDenied"):
                put(reader, production(business, "doc-000/raw.txt"), b"x")
        everything_that_writes(business, s3_server, environment)
        writes = Counter(r.bucket for r in between.requests if r.is_write)
        reads = Counter(r.bucket for r in between.requests if not r.is_write)
        print(f"{logins}: writes {dict(writes)}, reads {dict(reads)}, {dict(between.done)}")
        copies = between.copies()
    assert set(writes) == {"handful-store"}
    assert between.done["403"] == 0
    assert reads[PRODUCTION] > 0
    assert (copies.total() == 0) == (logins == "production by a reader")
    kept = contents(s3_server, copied_to(business, ""))
    assert kept["doc-001/raw.txt"] == b"another text"
    assert kept["doc-003/raw.txt"] == (business.files / "doc-003/raw.txt").read_bytes()
    assert len(kept) == 5 * 3
    assert not any(key.startswith("doc-002/") for key in kept)


def login_of_reader(server: S3Server) -> Any:
    import boto3

    who = server.reader
    session = boto3.Session(who.access_key, who.secret_key, region_name=REGION)
    return session.client("s3", endpoint_url=server.endpoint_url)
