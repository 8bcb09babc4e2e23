"""A bucket is sampled from end to end in few requests, whatever its layout and its server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.errors import Denied, Unreachable
from handful.storage.retry import Throttled
from handful.storage.s3.key_gaps import KeyGaps
from handful.storage.s3.sample import MOST_REQUESTS, REQUESTS_AT_ONCE, BucketSampler, SamplePage
from handful.storage.sampling import KeyCollector
from tests.support.listed_bucket import ListedBucket

DAYS = [date(2023, 1, 1) + timedelta(n) for n in range(400)]


def guids(count: int) -> list[str]:
    random = Random(7)
    return [str(uuid.UUID(int=random.getrandbits(128))) for _ in range(count)]


def sampled(bucket: ListedBucket, most: int = 10_000, seed: int = 0) -> KeyCollector:
    into = KeyCollector(most, Random(seed))
    sampler = BucketSampler(bucket.ask, into)
    sampler.run()
    assert sampler.requests == len(bucket.asked) <= MOST_REQUESTS
    assert set(into.sizes) <= set(bucket.sorted)
    assert into.edges <= set(into.sizes)
    return into


def dated() -> list[str]:
    """50,000 keys over 400 days."""
    ids = guids(400 * 25)
    names = ["1_body.eml", "2_invoice.pdf", "headers.json", "index.txt", "meta.json"]
    folders = [f"{DAYS[number // 25]:%Y/%m/%d}/{one}" for number, one in enumerate(ids)]
    return [f"{folder}/{name}" for folder in folders for name in names]


@pytest.mark.parametrize("seed", range(3))
def test_of_a_dated_bucket_most_days_are_seen(seed: int) -> None:
    keys = dated()
    assert len(keys) == 50_000
    bucket = ListedBucket(keys)
    found = sampled(bucket, seed=seed)
    assert not found.is_all
    assert 9_000 <= len(found.sizes) <= 10_000
    assert len({key[:10] for key in found.sizes}) > 220
    assert len({key[:7] for key in found.sizes}) == len({f"{day:%Y/%m}" for day in DAYS})
    assert len(bucket.asked) < 340


@pytest.mark.parametrize(
    ("name", "least"),
    [
        (lambda n, one: f"{one}.pdf", 19),
        (lambda n, one: f"doc-{n:08}.pdf", 18),
        (lambda n, one: f"doc-{n}.pdf", 15),
        (lambda n, one: f"{one}/text.txt", 19),
        (lambda n, one: f"{DAYS[n // 500]:%Y-%m-%d}_{one[:8]}.eml", 18),
        (lambda n, one: f"a-common-beginning-of-all-the-names-{n:06}/x", 18),
        (lambda n, one: f"{['acme', 'globex', 'initech'][n % 3]}/{one}.json", 19),
        (lambda n, one: f"{one.upper()}.TXT", 19),
        (lambda n, one: f"archive/{n % 50}/{one}", 19),
    ],
)
def test_a_flat_bucket_is_seen_from_end_to_end(name: Callable[[int, str], str], least: int) -> None:
    """200,000 names of one level, in twentieths."""
    bucket = ListedBucket(name(n, one) for n, one in enumerate(guids(200_000)))
    found = sampled(bucket)
    place = {key: number for number, key in enumerate(bucket.sorted)}
    twentieths = {20 * place[key] // len(place) for key in found.sizes}
    assert len(twentieths) >= least
    assert len(found.sizes) >= 5_000


@pytest.mark.parametrize("folders", [True, False])
@pytest.mark.parametrize("points", [True, False])
def test_a_server_that_ignores_what_it_is_asked(folders: bool, points: bool) -> None:
    bucket = ListedBucket(dated(), knows_folders=folders, knows_points=points)
    found = sampled(bucket)
    assert len({key[:7] for key in found.sizes}) >= 12
    assert len(found.sizes) >= 1_000


@pytest.mark.parametrize("folders", [True, False])
@pytest.mark.parametrize("points", [True, False])
def test_a_small_bucket_is_taken_whole(folders: bool, points: bool) -> None:
    keys = {f"{one}/{name}" for one in guids(2_500) for name in ("raw.json", "meta.json")}
    bucket = ListedBucket(keys, knows_folders=folders, knows_points=points)
    found = sampled(bucket)
    assert found.is_all
    assert set(found.sizes) == keys
    assert not found.edges


@given(
    st.sets(st.text("ab1/-.é~", min_size=1, max_size=8), max_size=200),
    st.integers(1, 60),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_keys_are(
    keys: set[str], most: int, folders: bool, points: bool, seed: int
) -> None:
    bucket = ListedBucket(keys, knows_folders=folders, knows_points=points)
    found = sampled(bucket, most, seed)
    assert len(found.sizes) <= most
    if found.is_all:
        assert set(found.sizes) == {
            key for key in keys if "" not in key.split("/") and not {".", ".."} & {*key.split("/")}
        }


def test_kinds_side_by_side_are_seen_of_the_same_artifacts() -> None:
    ids = guids(20_000)
    found = sampled(ListedBucket(f"{kind}/{one}.json" for kind in ("raw", "meta") for one in ids))
    kinds: dict[str, set[str]] = {}
    for key in found.sizes:
        kinds.setdefault(key.split("/")[1], set()).add(key.split("/")[0])
    assert sum(len(one) == 2 for one in kinds.values()) > 300


def test_a_folder_that_may_not_be_listed_is_passed_over() -> None:
    bucket = ListedBucket([f"{top}/{n:05}/x" for top in ("open", "shut") for n in range(9_000)])

    def ask(what: dict[str, Any]) -> SamplePage:
        if what["Prefix"].startswith("shut"):
            raise Denied("access is denied", where="s3://any")
        return bucket.ask(what)

    into = KeyCollector(2_000, Random(0))
    BucketSampler(ask, into).run()
    assert sum(key.startswith("open") for key in into.sizes) >= 1_500


def test_a_server_that_goes_away_is_an_error() -> None:
    bucket = ListedBucket(dated())

    def ask(what: dict[str, Any]) -> SamplePage:
        if len(bucket.asked) > 50:
            raise Unreachable("gone", where="s3://any")
        return bucket.ask(what)

    with pytest.raises(Unreachable):
        BucketSampler(ask, KeyCollector(10_000, Random(0))).run()


def test_a_server_that_wants_to_be_asked_less_is_left_alone() -> None:
    bucket = ListedBucket(dated())

    def ask(what: dict[str, Any]) -> SamplePage:
        if len(bucket.asked) > 50:
            raise Throttled("SlowDown", where="s3://any")
        return bucket.ask(what)

    into = KeyCollector(10_000, Random(0))
    BucketSampler(ask, into).run()
    assert 500 < len(into.sizes) < 10_000
    assert len(bucket.asked) <= 51 + REQUESTS_AT_ONCE


def test_no_more_than_a_few_requests_are_under_way_at_once() -> None:
    import threading

    bucket, lock = ListedBucket(dated()), threading.Lock()
    now = most = 0

    def ask(what: dict[str, Any]) -> SamplePage:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
            return bucket.ask(what)

    BucketSampler(ask, KeyCollector(3_000, Random(0))).run()
    assert 1 < most <= REQUESTS_AT_ONCE


def test_it_ends_in_time() -> None:
    bucket = ListedBucket(dated(), seconds=0.05)
    began = time.monotonic()
    into = KeyCollector(10_000, Random(0), began + 0.5)
    BucketSampler(bucket.ask, into).run()
    assert time.monotonic() - began < 1
    assert into.sizes


def test_the_same_seed_asks_the_same() -> None:
    keys = dated()
    first, second = ListedBucket(keys), ListedBucket(keys)
    assert sampled(first, 2_000).sizes == sampled(second, 2_000).sizes


def test_what_is_covered_is_not_asked_for_again() -> None:
    gaps = KeyGaps()
    names = [f"{n:03}" for n in range(1_000)]
    gaps.learn(names[:100])
    gaps.cover("", names[:100], to_end=False)
    random, seen = Random(0), set(names[:100])
    for _ in range(400):
        point = gaps.point(random)
        if point is None:
            break
        page = [name for name in names if name > point][:10]
        assert point not in seen or point == names[99]
        gaps.cover(point, page, to_end=len(page) < 10)
        seen |= set(page)
    assert len(seen) > 800
