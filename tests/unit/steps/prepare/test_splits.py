"""The draw: sizes, groups that stay whole, and nobody who moves."""

from __future__ import annotations

import hashlib
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.splitting.balancing import Shares, balance
from handful.steps.prepare.splitting.exact_split import find_exact_split
from handful.steps.prepare.splitting.groups import Links
from handful.steps.prepare.splitting.quotas import quota
from handful.steps.prepare.splitting.splits import SPLITS, Drawn, draw

SHARES = (0.8, 0.1, 0.1)
shares = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)
labels = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60)


def artifacts(names: Sequence[str]) -> list[Artifact]:
    return [Artifact(f"id-{n:05d}", label, (), "{}") for n, label in enumerate(names)]


def alone(count: int) -> Links:
    return Links([()] * count, [None] * count, lambda *_: [])


def sharing(values: Sequence[object]) -> Links:
    keys = [() if value is None else (value,) for value in values]
    return Links(keys, [None] * len(keys), lambda *_: [])


@given(st.integers(0, 400), shares)
def test_a_quota_is_the_share_rounded_up_or_down(count: int, parts: tuple[float, ...]) -> None:
    seats = quota(count, parts)  # type: ignore[arg-type]
    assert sum(seats) == count
    assert all(abs(seat - count * part) < 1 for seat, part in zip(seats, parts, strict=True))


@pytest.mark.parametrize(
    ("count", "seats"),
    [
        (0, (0, 0, 0)),
        (1, (1, 0, 0)),
        (2, (1, 0, 1)),
        (3, (2, 0, 1)),
        (6, (4, 1, 1)),
        (10, (8, 1, 1)),
    ],
)
def test_rare_labels_go_to_train_then_test_then_validation(
    count: int, seats: tuple[int, int, int]
) -> None:
    assert quota(count, SHARES) == seats


@given(labels, shares, st.integers(0, 3))
def test_without_groups_every_label_is_within_one_of_its_share(
    names: list[str], parts: tuple[float, float, float], seed: int
) -> None:
    mine = artifacts(names)
    drawn = draw(mine, alone(len(mine)), {}, parts, seed)
    counts = Counter((a.label, drawn[a.id].split) for a in mine)
    for label, total in Counter(names).items():
        for split, part in zip(SPLITS, parts, strict=True):
            assert abs(counts[label, split] - total * part) < 1


@given(st.data(), labels, shares)
def test_groups_are_never_cut(data: st.DataObject, names: list[str], parts: tuple) -> None:  # type: ignore[type-arg]
    values = data.draw(
        st.lists(st.none() | st.integers(0, 8), min_size=len(names), max_size=len(names))
    )
    mine = artifacts(names)
    drawn = draw(mine, sharing(values), {}, parts, 0)
    seen: dict[object, set[tuple[str, str]]] = defaultdict(set)
    for artifact, value in zip(mine, values, strict=True):
        place = drawn[artifact.id]
        assert place.split in SPLITS
        seen[value if value is not None else artifact.id].add((place.split, place.group))
    assert all(len(places) == 1 for places in seen.values())


def nearest(sizes: Sequence[int], parts: Sequence[float]) -> float:
    """How far from their shares the splits are at least, whatever is done with whole groups."""
    everything = sum(sizes)
    wanted = [everything * part for part in parts]
    return min(
        max(
            abs(found - want)
            for found, want in zip((a, b, everything - a - b), wanted, strict=True)
        )
        for a, b in reached_exactly(sizes)
    )


def reached_exactly(sizes: Sequence[int]) -> set[tuple[int, int]]:
    """How many artifacts train and validation can have."""
    reached = {(0, 0)}
    for size in sizes:
        reached = {place for a, b in reached for place in ((a + size, b), (a, b + size), (a, b))}
    return reached


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=12),
    st.sampled_from([SHARES, (0.6, 0.2, 0.2), (0.34, 0.33, 0.33)]),
    st.integers(0, 3),
)
@example([3, 4, 4], SHARES, 0)  # all to train and 8/3/0 are equally far from the rounded shares
@example([5, 5, 5, 6], (0.34, 0.33, 0.33), 0)  # three groups have to move at once
@example([12, 12, 1, 12, 12, 12, 1, 11, 11], (0.34, 0.33, 0.33), 0)
def test_grouped_labels_are_within_half_of_their_largest_group(
    sizes: list[int], parts: tuple[float, float, float], seed: int
) -> None:
    """Or, where whole groups cannot come that near, as near as they can."""
    values = [number for number, size in enumerate(sizes) for _ in range(size)]
    mine = artifacts(["a"] * len(values))
    drawn = draw(mine, sharing(values), {}, parts, seed)
    counts = Counter(place.split for place in drawn.values())
    off = max(
        abs(counts[split] - len(values) * part) for split, part in zip(SPLITS, parts, strict=True)
    )
    assert off <= max(1.0, max(sizes) / 2, nearest(sizes, parts)) + 1e-6


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=7),
    st.sampled_from([SHARES, (0.6, 0.2, 0.2), (0.5, 0.0, 0.5)]),
)
def test_a_settled_label_is_as_near_as_whole_groups_can_be(
    sizes: list[int], parts: tuple[float, float, float]
) -> None:
    wanted = np.array(parts) * sum(sizes)
    is_open = [part > 0 for part in parts]
    found = find_exact_split(sizes, [0] * len(sizes), wanted, is_open)
    assert found is not None
    off = max(
        abs(sum(size for size, at in zip(sizes, found, strict=True) if at == split) - want)
        for split, want in enumerate(wanted)
    )
    best = min(
        max(
            abs(sum(size for size, at in zip(sizes, way, strict=True) if at == split) - want)
            for split, want in enumerate(wanted)
        )
        for way in itertools.product([s for s in range(3) if is_open[s]], repeat=len(sizes))
    )
    assert off == pytest.approx(best)
    assert all(is_open[split] for split in found)


def test_a_label_too_large_to_settle_is_left_as_it_is() -> None:
    wanted = np.array([640.0, 80.0, 80.0])
    assert find_exact_split([26] * 20 + [28] * 10, [0] * 30, wanted, [True] * 3) is not None
    assert find_exact_split([26] * 20 + [28] * 9 + [40], [0] * 30, wanted, [True] * 3) is None
    assert find_exact_split([5000], [0], np.array([4000.0, 500.0, 500.0]), [True] * 3) is None


@pytest.mark.parametrize(("purity", "large"), [(0.95, 60), (0.7, 60), (0.7, 20)])
def test_groups_of_mixed_labels_leave_no_label_far_from_its_share(
    purity: float, large: int
) -> None:
    """Without evening out, a label here is up to three of its largest groups away."""
    chance = random.Random(2)
    names: list[str] = []
    values: list[int] = []
    largest: Counter[str] = Counter()
    for number in range(1000):
        own = f"label {int(30 * chance.random() ** 2)}"
        others = (f"label {int(30 * chance.random() ** 2)}" for _ in itertools.count())
        size = chance.choice([1, 1, 1, 2, 5, large])
        group = [own if chance.random() < purity else next(others) for _ in range(size)]
        names += group
        values += [number] * size
        largest |= Counter(group)
    mine = artifacts(names)
    drawn = draw(mine, sharing(values), {}, SHARES, 0)
    counts = Counter((a.label, drawn[a.id].split) for a in mine)
    within = [
        abs(counts[label, split] - total * part) <= max(1.0, largest[label] / 2)
        for label, total in Counter(names).items()
        for split, part in zip(SPLITS, SHARES, strict=True)
    ]
    off = [
        abs(counts[label, split] - total * part) / largest[label]
        for label, total in Counter(names).items()
        for split, part in zip(SPLITS, SHARES, strict=True)
    ]
    print(f"{within.count(True)} of {len(within)} within half of the label's largest group")
    assert within.count(True) >= 0.95 * len(within)
    assert max(off) <= 2 / 3 + 1e-6


@given(st.data(), labels, st.integers(0, 3))
@settings(max_examples=200)
def test_those_who_come_later_move_nobody(data: st.DataObject, names: list[str], seed: int) -> None:
    """And no group is in two splits, but for what is left out."""
    values = data.draw(
        st.lists(st.none() | st.integers(0, 6), min_size=len(names), max_size=len(names))
    )
    others = data.draw(
        st.lists(st.none() | st.integers(10, 13), min_size=len(names), max_size=len(names))
    )
    early = data.draw(st.sets(st.integers(0, len(names) - 1)))
    everyone = artifacts(names)
    keys = [
        tuple(key for key in pair if key is not None) for pair in zip(values, others, strict=True)
    ]
    first = sorted(early)
    before = draw(
        [everyone[i] for i in first],
        Links([keys[i] for i in first], [None] * len(first), lambda *_: []),
        {},
        SHARES,
        seed,
    )
    links = Links(keys, [None] * len(keys), lambda *_: [])
    after = draw(everyone, links, before, SHARES, seed)
    assert all(after[i].split == place.split for i, place in before.items())
    split_of_key: dict[object, set[str]] = defaultdict(set)
    for artifact, mine in zip(everyone, keys, strict=True):
        if after[artifact.id].split != "left_out":
            for key in mine:
                split_of_key[key].add(after[artifact.id].split)
    assert all(len(found) == 1 for found in split_of_key.values())
    for artifact in everyone:
        if after[artifact.id].split == "left_out":
            assert artifact.id not in before
            assert "together" in after[artifact.id].reason
    assert draw(everyone, links, after, SHARES, seed) == after


@given(labels, st.randoms(use_true_random=False))
def test_only_the_seed_and_the_ids_decide(names: list[str], chance: random.Random) -> None:
    mine = artifacts(names)
    drawn = draw(mine, alone(len(mine)), {}, SHARES, 1)
    assert drawn == draw(mine, alone(len(mine)), {}, SHARES, 1)
    if len(names) > 30:
        seeds = (draw(mine, alone(len(mine)), {}, SHARES, seed) for seed in range(2, 8))
        assert any(other != drawn for other in seeds)


def test_likeness_through_one_who_is_left_out_does_not_count() -> None:
    """a – x – b: a in train, b in test, x is left out; y is like x only, and stays."""
    mine = artifacts(["l"] * 4)
    a, b, x, y = range(4)
    pairs = {(a, x), (b, x), (x, y)}
    links = Links(
        [()] * 4,
        ["f"] * 4,
        lambda *members: [(i, j) for i, j in pairs if {i, j} <= {*members[0], *members[1]}],
    )
    before = {mine[a].id: Drawn("train", mine[a].id, "drawn")}
    before |= {mine[b].id: Drawn("test", mine[b].id, "drawn")}
    outcomes = set()
    for seed in range(20):
        drawn = draw(mine, links, before, SHARES, seed)
        assert drawn[mine[a].id].split == "train"
        assert drawn[mine[b].id].split == "test"
        assert drawn[mine[x].id].split == "left_out"
        assert drawn[mine[x].id].reason == "it would tie test and train together"
        assert drawn[mine[y].id].split in SPLITS
        assert drawn[mine[y].id].group == mine[y].id
        outcomes.add(drawn[mine[y].id].split)
        again = draw(mine, links, drawn, SHARES, seed)
        assert again == drawn
    assert outcomes


def test_a_chain_of_newcomers_is_cut_at_one_only() -> None:
    """a – x – y – b: one of the two newcomers joins, the other is left out."""
    mine = artifacts(["l"] * 4)
    chain = [(0, 2), (2, 3), (3, 1)]
    links = Links([()] * 4, ["f"] * 4, lambda *_: chain)
    before = {
        mine[0].id: Drawn("train", mine[0].id, "drawn"),
        mine[1].id: Drawn("validation", mine[1].id, "drawn"),
    }
    for seed in range(10):
        drawn = draw(mine, links, before, SHARES, seed)
        assert sorted(drawn[mine[i].id].split == "left_out" for i in (2, 3)) == [False, True]


def test_skewed_groups_stay_near_their_share_and_large_ledgers_are_quick() -> None:
    """The greedy's own bound: two thirds of the label's largest group."""
    chance = random.Random(0)
    names: list[str] = []
    values: list[int] = []
    largest: Counter[str] = Counter()
    for number in itertools.count():
        if len(names) > 50_000:
            break
        label, size = f"label {int(60 * chance.random() ** 3)}", chance.choice([1, 1, 1, 2, 5, 60])
        names += [label] * size
        values += [number] * size
        largest[label] = max(largest[label], size)
    mine = artifacts(names)
    began = time.process_time()
    drawn = draw(mine, sharing(values), {}, SHARES, 0)
    assert time.process_time() - began < 10
    counts = Counter((a.label, drawn[a.id].split) for a in mine)
    for label, total in Counter(names).items():
        for split, part in zip(SPLITS, SHARES, strict=True):
            assert abs(counts[label, split] - total * part) <= largest[label] * 2 / 3 + 1


def world(seed: int) -> tuple[list[Artifact], Links, tuple[float, float, float], random.Random]:
    """Groups of mixed labels, ties of two kinds and near-duplicates, all from one seed.

    The largest group of each label has four of it. So all that the draw weighs is a sum of quarters
    and the same on every machine.
    """
    chance = random.Random(seed)
    kinds = "abcdefgh"[: chance.randint(1, 8)]
    names: list[str] = []
    keys: list[tuple[str, ...]] = []
    for number in range(chance.randint(1, 60)):
        own = chance.choice(kinds)
        for _ in range(chance.choice([1, 1, 2, 3, 4])):
            names.append(own if chance.random() < 0.7 else chance.choice(kinds))
            more = (f"tie {chance.randint(0, 20)}",) if chance.random() < 0.02 else ()
            keys.append((f"group {number}", *more))
    for kind in kinds:
        names += [kind] * 4
        keys += [(f"four of {kind}",)] * 4
    alike = [(i, chance.randrange(len(names))) for i in range(len(names)) if chance.random() < 0.05]
    parts = chance.choice([SHARES, (0.5, 0.25, 0.25), (0.5, 0.0, 0.5), (0.6, 0.2, 0.2)])
    links = Links(
        keys,
        families_of(len(names), alike),
        lambda *members: [pair for pair in alike if set(pair) <= {*members[0], *members[1]}],
    )
    return artifacts(names), links, parts, chance


def families_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[int | None]:
    """The chain that each is in; None: it is like nobody."""
    chain = list(range(count))
    for one, other in pairs:
        chain = [chain[one] if c == chain[other] else c for c in chain]
    sizes = Counter(chain)
    return [c if sizes[c] > 1 else None for c in chain]


def among(links: Links, some: Sequence[int]) -> Links:
    """The links of some artifacts, numbered anew."""
    place = {number: i for i, number in enumerate(some)}

    def direct(*members: Sequence[int]) -> list[tuple[int, int]]:
        pairs = links.direct(*([some[m] for m in each] for each in members))
        return [(place[a], place[b]) for a, b in pairs]

    return Links([links.shared[i] for i in some], [links.family[i] for i in some], direct)


def overlapping(chance: random.Random) -> tuple[list[str], list[tuple[int]]]:
    """Groups of several labels, each once: evened out by groups that change places."""
    kinds = "abcdefgh"[: chance.randint(3, 8)]
    groups = [
        chance.sample(kinds, min(len(kinds), chance.choice([1, 2, 3, 4])))
        for _ in range(chance.randint(5, 40))
    ]
    names = [name for group in groups for name in group]
    return names, [(n,) for n, group in enumerate(groups) for _ in group]


def uneven(chance: random.Random) -> tuple[list[str], list[tuple[int]]]:
    """The same with labels that come by fours, and so may be twice as far from their shares."""
    names, keys = overlapping(chance)
    fours = {"a", "c"}
    times = [4 if name in fours else 1 for name in names]
    return (
        [name for name, often in zip(names, times, strict=True) for _ in range(often)],
        [key for key, often in zip(keys, times, strict=True) for _ in range(often)],
    )


def small(chance: random.Random) -> tuple[list[str], list[tuple[int]]]:
    """Many labels of a few small groups: evened out by groups that go on from the third split."""
    groups = [
        [f"label {label}"] * chance.choice([1, 1, 2, 3])
        for label in range(chance.randint(5, 60))
        for _ in range(chance.randint(1, 5))
    ]
    names = [name for group in groups for name in group]
    return names, [(n,) for n, group in enumerate(groups) for _ in group]


def digest_of(draws: Iterable[dict[str, Drawn]]) -> str:
    digest = hashlib.sha256()
    for drawn in draws:
        told = sorted((i, one.split, one.group, one.reason) for i, one in drawn.items())
        digest.update(repr(told).encode())
    return digest.hexdigest()[:16]


def test_every_version_draws_the_same() -> None:
    """Who compares with others, or takes their split, has theirs: another result here is another
    split for everybody."""
    draws = []
    for seed in range(15):
        mine, links, parts, chance = world(seed)
        some = sorted(chance.sample(range(len(mine)), len(mine) // 2))
        first = draw([mine[i] for i in some], among(links, some), {}, parts, seed)
        grown, at_once = (draw(mine, links, before, parts, seed) for before in (first, {}))
        draws += [first, grown, at_once]
    assert digest_of(draws) == "6b75bdd0e20be83e"


@pytest.mark.parametrize(
    ("kind", "seeds", "expected"),
    [
        # Seeds for which groups do change places.
        (
            overlapping,
            (0, 6, 13, 17, 18, 24, 39, 44, 63, 65, 74, 75, 77, 101, 596),
            "8e6a45ba9d75112b",
        ),
        (uneven, (10, 19, 67, 98, 109, 132, 144), "f746bb8898f83564"),
        (small, (76, 167, 169, 184, 237, 242, 255, 273, 274, 496), "a23a25e94dfd70e5"),
    ],
)
def test_every_version_evens_out_the_same(
    kind: Callable[[random.Random], Any], seeds: tuple[int, ...], expected: str
) -> None:
    draws = []
    for seed in seeds:
        chance = random.Random(seed)
        names, keys = kind(chance)
        parts = chance.choice([SHARES, (0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.5, 0.0, 0.5)])
        links = Links(keys, [None] * len(names), lambda *_: [])
        draws.append(draw(artifacts(names), links, {}, parts, seed))
    assert digest_of(draws) == expected


def test_groups_are_exchanged_across_a_split_that_takes_none() -> None:
    """No single group can move: only the two at once, and the split between theirs is closed."""
    have = np.array([[7.0, 0.0, 4.0], [1.0, 0.0, 1.0]])
    wanted = np.array([[4.0, 0.0, 7.0], [1.0, 0.0, 1.0]])
    shares = Shares(wanted, wanted, np.array([2.0, 2.0]), (True, False, True))
    assert balance([{0: 7, 1: 1}, {0: 4, 1: 1}], [0, 2], have, shares) == [2, 0]
