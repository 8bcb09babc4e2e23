"""A listing read by many hands holds every key, whatever the server's order and the keys are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.storage import parallel_listing
from handful.storage.parallel_listing import HANDS, between, list_in_parallel
from tests.support.paging import Order, Server, byte_order, folder_order


def all_of(server: Server, common: str, seams: Sequence[str] = ()) -> list[str]:
    pages = list_in_parallel(server.after, common, seams)
    return [key for page in pages for key in page.column(0).to_pylist()]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_listing, "FULL", 10)
    monkeypatch.setattr(parallel_listing, "WORTH", 20)


IDS = {
    "guids": lambda n: f"{n * 2654435761 % 2**32:08x}-{n:04x}",
    "numbers": lambda n: f"doc-{n:08d}",
    "one folder": lambda n: f"all/the-same-{n}",
    "names": lambda n: f"{'éöü日本'[n % 5]} {n}",
    "dots and dashes": lambda n: "doc" + ".-/_+ "[n % 6] + str(n),
}


@pytest.mark.parametrize("order", [byte_order, folder_order])
@pytest.mark.parametrize("kind", IDS)
def test_every_key_comes(eager: None, kind: str, order: Order) -> None:
    keys = {f"p/{IDS[kind](n)}/{name}.txt" for n in range(700) for name in "ab"}
    server = Server(keys, order)
    found = all_of(server, "p/")
    assert set(found) == keys
    if order is byte_order:
        assert len(found) == len(keys)


@given(
    st.sets(st.text("abz/-.09 ~é", min_size=1, max_size=8), max_size=300),
    st.sampled_from([byte_order, folder_order]),
    st.integers(1, 7),
)
@settings(max_examples=150, deadline=None)
def test_every_key_comes_whatever_it_is(keys: set[str], order: Order, page: int) -> None:
    before = parallel_listing.FULL, parallel_listing.WORTH
    parallel_listing.FULL, parallel_listing.WORTH = 3, 5
    try:
        assert set(all_of(Server(keys, order, page), "")) == keys
    finally:
        parallel_listing.FULL, parallel_listing.WORTH = before


@given(
    st.sets(st.text("abz/-.09 ~é", min_size=1, max_size=8), max_size=200),
    st.sets(st.text("abz/-.09 ~é", min_size=1, max_size=8), max_size=40),
    st.sampled_from([byte_order, folder_order]),
    st.integers(1, 7),
)
@settings(max_examples=150, deadline=None)
def test_every_key_comes_wherever_it_is_cut(
    keys: set[str], seams: set[str], order: Order, page: int
) -> None:
    before = parallel_listing.FULL, parallel_listing.WORTH
    parallel_listing.FULL, parallel_listing.WORTH = 3, 5
    try:
        assert set(all_of(Server(keys, order, page), "", sorted(seams))) == keys
    finally:
        parallel_listing.FULL, parallel_listing.WORTH = before


@pytest.mark.parametrize("order", [byte_order, folder_order])
def test_good_seams_cost_no_page_more_and_no_key_twice(eager: None, order: Order) -> None:
    """One round trip: each range is a page, and begins at a folder, where all orders agree."""
    ids = sorted(IDS["dots and dashes"](n).replace("/", "") for n in range(400))
    server = Server({f"p/{name}/{file}" for name in ids for file in "ab"}, order)
    found = all_of(server, "p/", [f"p/{name}" for name in ids[4::4]])
    assert sorted(found) == sorted(server.keys)
    assert server.pages <= 2 * len(ids) / 8 + 2 * HANDS
    assert len(server.threads) > 1


def test_many_hands_share_a_long_listing(eager: None) -> None:
    keys = {f"p/{IDS['guids'](n)}/a.txt" for n in range(4_000)}
    one, many = Server(keys), Server(keys)
    began = time.monotonic()
    one.seconds = many.seconds = 0.005
    assert sum(page.num_rows for page in one.after(None)) == len(keys)
    alone = time.monotonic() - began
    began = time.monotonic()
    assert set(all_of(many, "p/")) == keys
    together = time.monotonic() - began
    print(f"{alone / together:.1f} times as fast with {len(many.threads)} hands")
    assert len(many.threads) == HANDS
    assert alone / together > 3
    assert many.pages < 2 * one.pages


def test_a_short_listing_costs_one_hand() -> None:
    server = Server({f"k{n}" for n in range(50)})
    assert len(all_of(server, "")) == 50
    assert (server.pages, len(server.threads)) == (5, 1)


def test_an_error_of_any_hand_is_raised(eager: None) -> None:
    server = Server({f"p/{IDS['guids'](n)}" for n in range(2_000)})

    def failing(after: str | None) -> Iterator[pa.RecordBatch]:
        if after is not None:
            raise OSError("no")
        yield from server.after(after)

    with pytest.raises(OSError, match="no"):
        list(list_in_parallel(failing, "p/"))


def test_who_stops_listening_leaves_no_hand_at_work(eager: None) -> None:
    server = Server({f"p/{IDS['guids'](n)}" for n in range(5_000)})
    before = threading.active_count()
    listing = list_in_parallel(server.after, "p/")
    next(listing)
    listing.close()
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


@given(st.text("az/-.09é", min_size=0, max_size=6), st.none() | st.text("az09-é", max_size=6))
@settings(deadline=None)
def test_between_is_between(low: str, high: str | None) -> None:
    if high is not None and not low < high:
        return
    found = between(low, high)
    assert found is None or (low < found and (high is None or found < high))


def test_between_is_about_the_middle() -> None:
    assert between("", None) == "V"
    assert between("doc-1", "doc-9") == "doc-5"
    assert between("doc-15", "doc-2") is not None
