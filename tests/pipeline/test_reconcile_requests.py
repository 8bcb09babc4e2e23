"""What a reconcile asks of the server, counted by a proxy before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from handful import layout
from handful.storage.keys import HIDDEN
from tests.support.buckets import PRODUCTION, business_on_s3, copied_to, in_pipeline, stored
from tests.support.faults import Proxy, Request, faulty
from tests.support.reconciling import PROCESS, Business
from tests.support.servers import S3Server

ARTIFACTS = 30
SMALL = 50
"""Requests beside the copies' listings, whatever the number of artifacts: lock, records, snapshot,
ledger, a look at each file that the record names, and one at each that is replaced under the
lock."""


@pytest.fixture
def before_s3(s3_server: S3Server) -> Iterator[Proxy]:
    with faulty(s3_server.endpoint_url) as between:
        yield between


@pytest.fixture
def business(tmp_path: Path, s3_server: S3Server, before_s3: Proxy) -> Business:
    return business_on_s3(tmp_path, s3_server, before_s3.endpoint_url, ARTIFACTS)


def listed(request: Request) -> str:
    """`bucket/prefix` if it asks for a page of a listing; else empty."""
    query = parse_qs(urlsplit(request.raw_path).query)
    if "list-type" not in query:
        return ""
    return f"{request.bucket}/{query.get('prefix', [''])[0]}"


def told(requests: list[Request]) -> dict[str, int]:
    """Requests by what they are for."""
    kinds = Counter("page" if listed(r) else "copy" if r.is_copy else r.method for r in requests)
    return dict(kinds)


def test_a_redo_with_nothing_to_do_costs_two_listings_and_a_run_none(
    business: Business, before_s3: Proxy
) -> None:
    business.functions += PROCESS
    business.settings["reconcile"] |= {
        "FILES_ON_RESEARCH": "*.txt, truth.json",
        "NUM_PROCESSES": "1",
    }
    first = in_pipeline(business)
    so_far = len(before_s3.requests)
    print(f"first: {told(before_s3.requests)}")
    redone = in_pipeline(business, redo=["reconcile"])
    redo = before_s3.requests[so_far:]
    so_far = len(before_s3.requests)
    print(f"--redo: {told(redo)}")
    up_to_date = in_pipeline(business)
    run = before_s3.requests[so_far:]
    print(f"again: {told(run)}")

    pages = Counter(listed(r) for r in redo if listed(r))
    copies = copied_to(business, "")
    once = (layout.RECONCILIATION, layout.LOCK, HIDDEN)
    of_the_step = {stored(business, f"{at}/") for at in once}
    assert set(pages) == {copies, *of_the_step}
    assert pages[copies] == 2, "to plan, and to verify"
    assert not [r for r in redo if r.bucket == PRODUCTION or r.is_copy]
    about_artifacts = [r for r in redo if r.path.startswith(copies)]
    assert about_artifacts == [], "no file is looked at one by one"
    assert len(redo) - pages[copies] <= SMALL
    assert redone.ledger_hash == first.ledger_hash
    assert redone.copied == 0

    assert [listed(r) for r in run if listed(r)] == []
    assert not [r for r in run if r.bucket == PRODUCTION]
    assert len(run) <= SMALL
    assert up_to_date == redone


def test_a_first_reconcile_asks_once_for_each_thing(business: Business, before_s3: Proxy) -> None:
    in_pipeline(business)
    pages = Counter(listed(r) for r in before_s3.requests if listed(r))
    copies = Counter(r.copy_source for r in before_s3.requests if r.is_copy)
    looks = [r for r in before_s3.requests if r.method == "HEAD" and r.bucket == PRODUCTION]
    print(f"{told(before_s3.requests)}; pages {dict(pages)}")
    assert sum(n for what, n in pages.items() if what.startswith(f"{PRODUCTION}/")) == 1
    assert pages[copied_to(business, "")] == 2
    assert len(copies) == copies.total() == 2 * ARTIFACTS
    assert looks == [], "the listing has said what there is"
    assert pages[stored(business, f"{layout.LOCK}/")] == 2, "before the lock is taken, and after"


def test_the_snapshot_and_the_label_counts_are_in_the_store_before_the_first_copy(
    business: Business, before_s3: Proxy
) -> None:
    in_pipeline(business)
    copied = copied_to(business, "")
    asked = [(r.method, r.path) for r in before_s3.requests if r.is_write]
    first = next(i for i, (_, path) in enumerate(asked) if path.startswith(copied))
    for key in (layout.LABELS, layout.LISTING, layout.SNAPSHOT, layout.LABEL_COUNTS):
        assert ("PUT", stored(business, key)) in asked[:first], key
    parts = [asked.index(("PUT", stored(business, key))) for key in (layout.LABELS, layout.LISTING)]
    assert max(parts) < asked.index(("PUT", stored(business, layout.SNAPSHOT)))
    last = [path for _, path in asked if path.startswith(stored(business, layout.RECONCILIATION))]
    assert stored(business, layout.RECONCILED) in last[-2:], "behind it only the lock is removed"
