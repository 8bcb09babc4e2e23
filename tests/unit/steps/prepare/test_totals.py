"""Many labels with few artifacts each: the splits have their shares all the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.splitting.groups import Links
from handful.steps.prepare.splitting.splits import SPLITS, Drawn, draw

SHARES = (0.8, 0.1, 0.1)


def artifacts(counts: Sequence[int], first: int = 0) -> list[Artifact]:
    """Label n has counts[n] of them, numbered from `first`."""
    return [
        Artifact(f"id-{label:05d}-{n + first}", f"label {label}", (), "{}")
        for label, count in enumerate(counts)
        for n in range(count)
    ]


def tied(groups: Sequence[object]) -> Links:
    return Links([(group,) for group in groups], [None] * len(groups), lambda *_: [])


def drawn(
    mine: Sequence[Artifact],
    shares: tuple[float, float, float] = SHARES,
    before: dict[str, Drawn] | None = None,
    groups: Sequence[object] | None = None,
) -> dict[str, Drawn]:
    groups = list(range(len(mine))) if groups is None else groups
    return draw(mine, tied(groups), before or {}, shares, 0)


def sizes(places: dict[str, Drawn]) -> list[int]:
    counts = Counter(place.split for place in places.values())
    return [counts[split] for split in SPLITS]


@pytest.mark.parametrize(
    ("labels", "each", "expected"),
    [
        (60, 5, [240, 30, 30]),
        (60, 3, [144, 18, 18]),
        (60, 2, [96, 12, 12]),
        (60, 7, [336, 42, 42]),
        (200, 4, [640, 80, 80]),
        (20, 25, [400, 50, 50]),
        (2, 5, [8, 1, 1]),
        (2, 3, [4, 1, 1]),
        (3, 7, [15, 3, 3]),  # near enough, so each label is in every split
        (60, 1, [60, 0, 0]),  # what cannot be learnt is not tested
    ],
)
def test_the_splits_have_the_shares_that_were_asked_for(
    labels: int, each: int, expected: list[int]
) -> None:
    assert sizes(drawn(artifacts([each] * labels))) == expected


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.6, 0.2, 0.2), (0.9, 0.05, 0.05)])
@pytest.mark.parametrize("each", [2, 3, 5, 9])
def test_other_shares(shares: tuple[float, float, float], each: int) -> None:
    found = sizes(drawn(artifacts([each] * 60), shares))
    for has, share in zip(found, shares, strict=True):
        assert has == pytest.approx(60 * each * share, abs=max(1, 15 * each * share))
        assert has > 0


def test_an_open_share_only_is_filled() -> None:
    assert sizes(drawn(artifacts([3] * 60), (0.9, 0.1, 0.0))) == [162, 18, 0]


def test_groups_of_two_and_three_stay_whole() -> None:
    mine = artifacts([5] * 60)
    groups = [(one.label, one.id[-1] in "01") for one in mine]
    places = drawn(mine, groups=groups)
    assert sizes(places) == [240, 30, 30]
    together = {(group, places[one.id].split) for one, group in zip(mine, groups, strict=True)}
    assert len(together) == len(set(groups))


def test_who_was_placed_stays_and_newcomers_fill_what_lacks() -> None:
    """A store of an earlier build: of each label four in train, one in test, none in validation."""
    mine = artifacts([5] * 60)
    before = {
        one.id: Drawn("test" if one.id.endswith("-4") else "train", one.id, "drawn") for one in mine
    }
    assert sizes(drawn(mine, before=before)) == [240, 0, 60]
    grown = drawn(mine + artifacts([1] * 60, first=5), before=before)
    assert {i: grown[i] for i in before} == before
    assert sizes(grown)[1] == pytest.approx(36, abs=1)
    assert sizes(grown)[2] == 60


counts = st.lists(st.integers(1, 12), min_size=1, max_size=40)
parts = st.sampled_from([SHARES, (0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.9, 0.1, 0.0)])


@given(counts, parts)
def test_no_label_pays_for_it(each: list[int], shares: tuple[float, float, float]) -> None:
    """Each stays within one of its share, and has something to learn from."""
    mine = artifacts(each)
    places = drawn(mine, shares)
    have = Counter((one.label, places[one.id].split) for one in mine)
    for label, count in Counter(one.label for one in mine).items():
        assert have[label, "train"] > 0
        for split, share in zip(SPLITS, shares, strict=True):
            assert abs(have[label, split] - count * share) < 1


@given(counts, parts)
def test_no_split_is_empty_that_could_have_some(
    each: list[int], shares: tuple[float, float, float]
) -> None:
    """Whatever more than one artifact has can give one away."""
    places = drawn(artifacts(each), shares)
    spare = sum(count - 1 for count in each if count > 1)
    for split, share, has in zip(SPLITS, shares, sizes(places), strict=True):
        if share and sum(each) * share >= 1 and spare >= 3:
            assert has > 0, split


def test_many_thousand_labels_take_seconds() -> None:
    mine = artifacts([5] * 6_000)
    began = time.process_time()
    assert sizes(drawn(mine)) == [24_000, 3_000, 3_000]
    assert time.process_time() - began < 5
