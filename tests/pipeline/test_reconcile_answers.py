"""Whole reconciles on a real S3 server that throttles, resets, breaks off or lies.

Each test prints its counts. Everything goes through the lock and the pipeline, as `handful
reconcile` does it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from handful import layout
from tests.support.buckets import (
    all_files,
    business_on_s3,
    copied_to,
    copies_of,
    in_pipeline,
    lasting,
    same,
    undisturbed,
)
from tests.support.faults import Proxy, Request, Rule, faulty
from tests.support.reconciling import Business
from tests.support.servers import S3Server

ARTIFACTS = 60
SHARE = 0.05


@pytest.fixture
def before_s3(s3_server: S3Server) -> Iterator[Proxy]:
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


def kind(request: Request) -> str:
    """What a request is for, as far as clients differ in how they repeat it."""
    if request.method == "GET":
        return "listing" if "list-type=2" in request.raw_path else "reading"
    if request.method == "PUT" and f"/{layout.LOCK}/" in request.path:
        return "conditional put"
    if "/probe-" in request.path:
        return "probe"  # see `create_fallback`; each has its own name, so none is ever repeated
    return "deletion" if request.method in {"POST", "DELETE"} else "anything else"


def now_and_then(fault: str, seed: str) -> Rule:
    """SHARE of all requests fail; which ones depends on their number alone."""

    def rule(request: Request) -> str:
        return fault if random.Random(f"{seed}-{request.number}").random() < SHARE else "pass"

    return rule


def unanswered(business: Business, between: Proxy) -> Counter[str]:
    """artifact/file → how often the answer to a copy that was made did not come whole."""
    folder = copied_to(business, "")
    lost = (r for r in between.requests if r.is_copy and r.fault in {"lost", "cut"})
    return Counter(r.path.removeprefix(folder) for r in lost)


def test_one_request_in_twenty_throttled_is_not_noticed(
    business: Business, before_s3: Proxy, s3_server: S3Server, expected: dict[str, bytes]
) -> None:
    before_s3.rule = now_and_then("503", "3")
    in_pipeline(business)
    copies = copies_of(business, before_s3)
    print(
        f"{before_s3.done['503']} of {len(before_s3.requests)} requests answered with 503; "
        f"{copies.total()} copies of {len(copies)} objects"
    )
    assert before_s3.done["503"] >= 5
    assert copies == Counter(all_files()), "each object once"
    same(lasting(business, s3_server), expected)


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("503", "everything"),
        ("reset", "anything else"),
        ("lost", "anything else"),
        ("cut", "anything else"),
        ("cut", "listing"),
        ("cut", "reading"),
        ("reset", "conditional put"),
        ("lost", "conditional put"),
        ("reset", "deletion"),
        ("lost", "deletion"),
        ("cut", "deletion"),
    ],
)
def test_every_first_try_fails_and_nobody_notices(
    business: Business,
    before_s3: Proxy,
    s3_server: S3Server,
    expected: dict[str, bytes],
    fault: str,
    what: str,
) -> None:
    """Harder than one in twenty: each request of the kind fails, and passes when it is repeated."""
    seen: Counter[tuple[str, str]] = Counter()

    def every_other_one(request: Request) -> str:
        if what not in {"everything", kind(request)}:
            return "pass"
        same_one = (request.method, request.raw_path)
        seen[same_one] += 1
        return fault if seen[same_one] % 2 else "pass"

    before_s3.rule = every_other_one
    in_pipeline(business)
    copies, repeated = copies_of(business, before_s3), unanswered(business, before_s3)
    print(
        f"{fault}, {what}: {before_s3.done[fault]} of {len(before_s3.requests)} requests; "
        f"{copies.total()} copies of {len(copies)} objects, {repeated.total()} of them without "
        "a whole answer"
    )
    assert before_s3.done[fault] >= 1
    assert copies == Counter(all_files()) + repeated, "again only where no answer came"
    same(lasting(business, s3_server), expected)


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
@pytest.mark.slow
def test_a_200_with_an_error_inside_is_no_copy(
    business: Business,
    before_s3: Proxy,
    s3_server: S3Server,
    expected: dict[str, bytes],
    code: str,
) -> None:
    lied: Counter[str] = Counter()

    def lies_first(request: Request) -> str:
        name = request.path.removeprefix(copied_to(business, ""))
        if request.is_copy and int(name[4:7]) % 6 == 0 and not lied[name]:
            lied[name] += 1
            return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        return "pass"

    before_s3.rule = lies_first
    record = in_pipeline(business)
    copies = copies_of(business, before_s3)
    print(f"{lied.total()} times 200 with {code}; {copies.total()} copies of {len(copies)} objects")
    assert lied.total() == before_s3.done["answer"] == 2 * ARTIFACTS // 6
    assert record.copied == 2 * ARTIFACTS
    assert copies == Counter(all_files()), "each object once"
    same(lasting(business, s3_server), expected)
