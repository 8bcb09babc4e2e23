"""The label knobs, the label map, and the sample of MAX_ARTIFACTS."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.encoding.shards import BYTES, EACH, FEW, LEAST, SIZE, cut
from handful.steps.prepare.labels import (
    apply_label_aliases,
    dense_label_map,
    describe_label_id_changes,
    label_map,
    labels_seen,
    nearest,
)
from handful.steps.prepare.selection import Candidate, sample


def test_kept_ids_only_grow() -> None:
    first = label_map(["b", "a", "c", "a"], None)
    assert first == {"a": 0, "b": 1, "c": 2}
    assert label_map(["Z", "b", "aa"], first) == {"a": 0, "b": 1, "c": 2, "Z": 3, "aa": 4}


waves_of_labels = st.lists(st.sets(st.text(max_size=3)), max_size=6)


@given(waves_of_labels)
def test_kept_ids_stay(waves: list[set[str]]) -> None:
    found: dict[str, int] = {}
    for wave in waves:
        grown = label_map(wave, found)
        assert all(grown[label] == number for label, number in found.items())
        assert sorted(grown.values()) == list(range(len(grown)))
        found = grown
    assert set(found) == set().union(*waves)


@given(waves_of_labels, st.data())
def test_dense_ids_depend_on_what_was_seen_and_not_on_what_was_used(
    waves: list[set[str]], data: st.DataObject
) -> None:
    """However labels were merged or left out in between, when that is undone nothing is left."""
    seen: tuple[str, ...] | None = None
    frozen: dict[str, int] = {}
    everything: set[str] = set()
    for wave in waves:
        everything |= wave
        used = data.draw(st.sets(st.sampled_from(sorted(everything)))) if everything else set()
        seen = labels_seen(seen, frozen, everything)
        frozen = dense_label_map(used, seen)
        assert sorted(frozen.values()) == list(range(len(used)))
        assert frozen.keys() == used
    straight: tuple[str, ...] = ()
    for number in range(len(waves)):
        straight = labels_seen(straight, {}, set().union(*waves[: number + 1]))
    whole = dense_label_map(everything, seen or ())
    assert whole == dense_label_map(everything, straight)
    assert list(whole) == list(seen or ())


def test_the_order_of_a_store_of_an_earlier_build_is_that_of_its_label_map() -> None:
    assert labels_seen(None, None, ["b", "a"]) == ("a", "b")
    # One wave, as far as anybody can tell: what was merged from the beginning has its place.
    assert labels_seen(None, {"a": 0, "c": 1}, ["c", "b", "a"]) == ("a", "b", "c")
    grown = labels_seen(None, {"b": 0, "c": 1, "a": 2}, ["c", "b", "a", "aa"])
    assert grown == ("b", "c", "a", "aa")
    assert dense_label_map(["a", "c"], grown) == {"c": 0, "a": 1}


def test_what_becomes_of_ids_is_told() -> None:
    before = {"a": 0, "b": 1, "c": 2}
    assert describe_label_id_changes(before, before) is None
    assert describe_label_id_changes(before, {**before, "d": 3}) is None
    assert describe_label_id_changes({}, before) is None
    told = describe_label_id_changes(before, {"a": 0, "c": 1})
    assert told is not None
    assert "no artifact has b any more, and c got another id" in told
    assert "KEEP_LABEL_IDS" in told
    last = describe_label_id_changes(before, {"a": 0, "b": 1})
    assert last is not None
    assert "no artifact has c any more, and the others keep their ids" in last
    many = {f"label {n}": n for n in range(40)}
    hostile = describe_label_id_changes({"\x1b[2J": 40, **many}, {"z": 0})
    assert hostile is not None
    assert "\x1b" not in hostile
    assert "and 31 more" in hostile


def test_aliases_are_applied_once_so_two_labels_can_be_swapped() -> None:
    mine = tuple(Artifact(str(n), label, (), "{}") for n, label in enumerate("abc"))
    swapped = apply_label_aliases(mine, {"a": "b", "b": "a"})
    assert [one.label for one in swapped] == ["b", "a", "c"]


def test_the_nearest_label_is_named() -> None:
    assert nearest("permisive", ["Copyleft", "Permissive"]) == "'Permissive'"
    assert nearest("COPYLEFT", ["Copyleft", "Permissive"]) == "'Copyleft'"
    assert nearest("xyz", ["b", "a"]) == "one of 'a', 'b'"


candidates = st.lists(
    st.tuples(st.sampled_from("aaaabbc"), st.sampled_from(("train", "validation", "test"))),
    max_size=80,
).map(lambda rows: [Candidate(f"id-{n}", *row) for n, row in enumerate(rows)])


@given(candidates, st.integers(0, 90), st.integers(0, 90), st.integers(0, 3))
def test_a_smaller_sample_is_contained_in_a_larger(
    mine: list[Candidate], one: int, other: int, seed: int
) -> None:
    small, large = sorted((one, other))
    assert sample(mine, small, seed) <= sample(mine, large, seed)
    assert len(sample(mine, small, seed)) == min(small, len(mine))
    assert sample(mine, small, seed) == sample(list(reversed(mine)), small, seed)


def test_a_sample_has_the_mix_of_the_whole() -> None:
    mine = [
        Candidate(f"{label}-{n}", label, split)
        for label, count in (("big", 1000), ("small", 100), ("rare", 3))
        for n in range(count)
        for split in ["train" if n % 10 < 8 else "test" if n % 10 == 8 else "validation"]
    ]
    chosen = sample(mine, 110, 0)
    taken = [one for one in mine if one.id in chosen]
    by_label = Counter(one.label for one in taken)
    assert by_label["rare"] >= 1
    assert abs(by_label["big"] - 100) <= 3
    by_split = Counter(one.split for one in taken if one.label == "big")
    assert abs(by_split["test"] - 10) <= 1
    assert chosen != sample(mine, 110, 1)


@given(st.lists(st.integers(0, BYTES // 4), max_size=200))
def test_shards_are_cut_by_number_and_bytes_and_lose_nobody(sizes: list[int]) -> None:
    pieces = list(cut(list(enumerate(sizes)), lambda thing: thing[1]))
    assert [thing for piece in pieces for thing in piece] == list(enumerate(sizes))
    for piece in pieces[:-1]:
        assert len(piece) >= FEW
        all_but_the_last = sum(size + EACH for _, size in piece[:-1])
        assert len(piece) == FEW or all_but_the_last < BYTES


def test_shards_of_small_files_end_by_number_and_begin_and_end_small() -> None:
    lengths = [len(piece) for piece in cut(range(100_000), lambda _: EACH)]
    first = LEAST // (2 * EACH)
    assert lengths[:4] == [first, 2 * first, 4 * first, SIZE]
    assert max(lengths) == SIZE
    assert lengths[-2] == first
    assert [len(piece) for piece in cut(range(5), lambda _: 1)] == [5]
    large = [len(piece) for piece in cut(range(1_000), lambda _: 50_000)]
    assert large[:3] == [FEW, FEW, FEW]
    assert max(large) == BYTES // (50_000 + EACH) + 1


def test_a_small_sample_of_many_small_labels_has_some_of_every_split() -> None:
    mine = [
        Candidate(f"{label}-{n}", f"label {label}", split)
        for label in range(60)
        for n, split in enumerate(["train"] * 4 + ["test" if label % 2 else "validation"])
    ]
    for size in (90, 120, 180, 240):
        chosen = sample(mine, size, 0)
        by_split = Counter(one.split for one in mine if one.id in chosen)
        assert by_split["train"] == pytest.approx(0.8 * size, abs=0.15 * size)
        assert by_split["validation"] > 0 < by_split["test"]
        assert sample(mine, 60, 0) <= chosen
    front = sample(mine, 60, 0)
    assert {one.label for one in mine if one.id in front} == {one.label for one in mine}
    assert {one.split for one in mine if one.id in front} == {"train"}
