"""Whole reconciles while production refuses, loses or changes files, or the store holds others.

On a real S3 server behind a proxy; each test prints its counts.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from handful import layout
from handful.errors import StepError
from tests.support.buckets import (
    NAMES,
    all_files,
    business_on_s3,
    copied_to,
    copies_of,
    lasting,
    production,
    put,
    remove,
    same,
    undisturbed,
)
from tests.support.faults import Proxy, Request, Rule, faulty, passes
from tests.support.reconciling import Business, Outcome
from tests.support.servers import S3Server

ARTIFACTS = 60


@pytest.fixture
def before_s3(s3_server: S3Server) -> Any:
    """A proxy before the server that passes everything, until its rule is changed."""
    with faulty(s3_server.endpoint_url) as between:
        yield between


@pytest.fixture
def business(tmp_path: Path, s3_server: S3Server, before_s3: Proxy) -> Business:
    return business_on_s3(tmp_path, s3_server, before_s3.endpoint_url, ARTIFACTS)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> dict[str, bytes]:
    """What a run without any fault leaves in the store."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed"), s3_server, ARTIFACTS)


def refuses(business: Business, files: set[str]) -> Rule:
    """Production denies these files to everybody."""
    denied = {production(business, file) for file in files}
    return lambda r: "403" if any(r.names(path) for path in denied) else "pass"


def fates(outcome: Outcome) -> dict[str, int]:
    return dict(outcome.ledger.group_by("fate").len().iter_rows())


def test_denied_files_are_told_apart_from_absent_ones(
    business: Business, before_s3: Proxy, s3_server: S3Server
) -> None:
    denied = {"doc-030/raw.txt", "doc-041/more.txt", "doc-052/raw.txt", "doc-052/more.txt"}
    absent = ["doc-033/raw.txt", "doc-044/more.txt"]
    for file in absent:
        remove(s3_server.client(), production(business, file))
    business.settings["reconcile"]["MAX_FAILED"] = "5"
    before_s3.rule = refuses(business, denied)
    outcome = business.run()
    tries = Counter(r.copy_source for r in before_s3.requests if r.is_copy and r.fault == "403")
    copies = copies_of(business, before_s3)
    print(
        f"{before_s3.done['403']} times 403, {tries.total()} of them to copies of {len(tries)} "
        f"files; {copies.total()} copies of {len(copies)} objects; {fates(outcome)}"
    )
    for file in sorted(denied - {"doc-052/more.txt"}):
        artifact, _, name = file.partition("/")
        assert outcome.fate(artifact) == ["copy_failed"]
        assert "denied" in outcome.reason(artifact)
        assert "AccessDenied" in outcome.reason(artifact)
        assert name in outcome.reason(artifact) or artifact == "doc-052"
    for file in absent:
        artifact, _, name = file.partition("/")
        assert outcome.fate(artifact) == ["missing_files"]
        assert outcome.reason(artifact) == f"production lacks '{name}'"
    assert fates(outcome) == {"kept": ARTIFACTS - 5, "copy_failed": 3, "missing_files": 2}
    assert set(tries) == {production(business, file) for file in denied}
    assert set(tries.values()) == {2}, "once to copy it, once to mend it; a denial is not repeated"
    lacking = {f"{file[:7]}/{name}" for file in absent for name in NAMES}
    assert copies == Counter(all_files(ARTIFACTS) - denied - lacking), "each other object once"


def test_too_many_denials_end_it_and_what_arrived_is_not_copied_again(
    business: Business, before_s3: Proxy, s3_server: S3Server, expected: dict[str, bytes]
) -> None:
    business.settings["reconcile"]["MAX_FAILED"] = "3"
    before_s3.rule = refuses(business, {f"doc-{n:03}/raw.txt" for n in range(40, 50)})
    with pytest.raises(StepError, match=r"more than MAX_FAILED = 3 allows") as caught:
        business.run()
    assert "access is denied" in str(caught.value)
    first = copies_of(business, before_s3)
    before_s3.rule = passes
    outcome = business.run()
    copies = copies_of(business, before_s3)
    print(f"{first.total()} copies before it ended, {copies.total()} in all")
    assert 0 < first.total() < 2 * ARTIFACTS
    assert outcome.record.copied == 2 * ARTIFACTS - first.total()
    assert copies == Counter(all_files(ARTIFACTS))
    same(lasting(business, s3_server), expected)


def at_the_first_look(business: Business, do: Any) -> Rule:
    """`do` when production's listing has ended: at the first request for one of its objects."""
    folder, waiting = production(business, "doc-"), [do]

    def rule(request: Request) -> str:
        if waiting and (request.path + request.copy_source).find(folder) >= 0:
            waiting.pop()()
        return "pass"

    return rule


def test_what_vanishes_or_changes_after_the_listing_is_named(
    business: Business, before_s3: Proxy, s3_server: S3Server
) -> None:
    client = s3_server.client()
    longer, other = b"a longer text than it was " * 99, business.files / "doc-042/raw.txt"
    swapped = other.read_bytes().swapcase()

    def change() -> None:
        remove(client, production(business, "doc-040/raw.txt"))
        put(client, production(business, "doc-041/raw.txt"), longer)
        put(client, production(business, "doc-042/raw.txt"), swapped)

    business.settings["reconcile"]["MAX_FAILED"] = "3"
    before_s3.rule = at_the_first_look(business, change)
    outcome = business.run()
    copies = copies_of(business, before_s3)
    print(f"{fates(outcome)}; {copies.total()} copies of {len(copies)} objects")
    assert outcome.fate("doc-040") == ["missing_files"]
    assert outcome.reason("doc-040") == "raw.txt is gone from production since the snapshot"
    for artifact in ("doc-041", "doc-042"):
        assert outcome.fate(artifact) == ["copy_failed"]
        assert "changed in production since the snapshot" in outcome.reason(artifact)
    assert fates(outcome) == {"kept": ARTIFACTS - 3, "copy_failed": 2, "missing_files": 1}
    again = {"doc-041/raw.txt", "doc-042/raw.txt"}
    assert {file for file, times in copies.items() if times > 1} == again
    assert set(copies) == all_files(ARTIFACTS) - {"doc-040/raw.txt"}

    so_far = len(before_s3.requests)
    refreshed = business.run(refresh=True)
    later = copies_of(business, before_s3, since=so_far)
    print(f"after --refresh: {fates(refreshed)}; {later.total()} copies")
    assert refreshed.fate("doc-040") == ["missing_files"]
    assert refreshed.fate("doc-041") == refreshed.fate("doc-042") == ["kept"]
    assert later.total() == 0, "what was copied is what production has now"
    assert refreshed.store.read(layout.artifact_file("doc-041", "raw.txt")) == longer
    assert refreshed.store.read(layout.artifact_file("doc-042", "raw.txt")) == swapped


def test_what_stands_at_the_destination_is_replaced_if_it_differs(
    business: Business, before_s3: Proxy, s3_server: S3Server, expected: dict[str, bytes]
) -> None:
    client = s3_server.client()

    def place(file: str, change: Any) -> None:
        put(client, copied_to(business, file), change((business.files / file).read_bytes()))

    for number in range(30):
        file = f"doc-{number:03}/raw.txt"
        kind = (bytes, lambda content: content[:-7], bytes.swapcase)[number % 3]
        place(file, kind)
    outcome = business.run()
    copies = copies_of(business, before_s3)
    there = {f"doc-{number:03}/raw.txt" for number in range(0, 30, 3)}
    print(f"30 were there, 10 whole, 10 cut short, 10 other; {copies.total()} copies")
    assert copies == Counter(all_files(ARTIFACTS) - there)
    assert outcome.record.copied == 2 * ARTIFACTS - len(there)
    same(lasting(business, s3_server), expected)
