"""The order of examples: every one once, of like length, the same for the same seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.training.data.batches import (
    A_BATCH,
    Plan,
    epoch_batches,
    length_order,
    padding_share,
    parts,
)


def lengths_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 500, count)


@given(st.integers(1, 700), st.integers(1, 40), st.integers(0, 2**32), st.integers(0, 9))
def test_every_example_once_whatever_the_sizes(count, size, seed, epoch) -> None:
    batches = epoch_batches(lengths_of(count), size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    assert sizes[:-1] == [size] * (len(batches) - 1)
    assert len(batches) == -(-count // size)


def test_an_order_is_the_same_for_a_seed_and_epoch_and_no_other() -> None:
    lengths = lengths_of(200)
    order = [batch.tolist() for batch in epoch_batches(lengths, 8, 3, 5)]
    assert order == [batch.tolist() for batch in epoch_batches(lengths, 8, 3, 5)]
    assert order != [batch.tolist() for batch in epoch_batches(lengths, 8, 3, 6)]
    assert order != [batch.tolist() for batch in epoch_batches(lengths, 8, 4, 5)]


def test_buckets_leave_far_less_padding_than_a_plain_shuffle() -> None:
    lengths = lengths_of(3000)
    shuffled = np.random.default_rng(1).permutation(3000)
    plain = [shuffled[start : start + 16] for start in range(0, 3000, 16)]
    bucketed = epoch_batches(lengths, 16, 0, 1)
    assert padding_share(lengths, bucketed) < 0.05 < 0.4 < padding_share(lengths, plain)


def test_batches_are_shuffled_and_neighbours_change() -> None:
    lengths = lengths_of(3000)
    means = [lengths[batch].mean() for batch in epoch_batches(lengths, 16, 0, 1)]
    steps = np.arange(len(means))
    assert abs(np.corrcoef(steps, means)[0, 1]) < 0.2
    first, second = (epoch_batches(lengths, 16, 0, epoch) for epoch in (1, 2))
    mates = {index: set(batch.tolist()) for batch in first for index in batch.tolist()}
    shared = [
        len(mates[index] & set(batch.tolist())) - 1 for batch in second for index in batch.tolist()
    ]
    assert np.mean(shared) < 3


def test_the_longest_batch_comes_first_in_the_first_epoch() -> None:
    lengths = lengths_of(1000)
    assert lengths.argmax() in epoch_batches(lengths, 8, 0, 0)[0]


def test_length_order_is_longest_first_and_whole() -> None:
    lengths = lengths_of(101)
    batches = length_order(lengths, 10)
    flat = np.concatenate(batches)
    assert sorted(flat.tolist()) == list(range(101))
    assert (np.diff(lengths[flat]) <= 0).all()


def cheapest(lengths: tuple[int, ...], size: int, most: int) -> float:
    """Of all cuts of the sorted lengths: positions with padding, and A_BATCH a batch."""
    if not lengths:
        return 0.0
    return min(
        n * lengths[0] + A_BATCH + cheapest(lengths[n:], size, most)
        for n in range(1, min(size, len(lengths)) + 1)
        if n == 1 or n * lengths[0] <= most
    )


@given(st.lists(st.integers(1, 90), min_size=1, max_size=9), st.integers(1, 6), st.integers(1, 300))
def test_length_order_pads_as_little_as_can_be(sizes: list[int], size: int, most: int) -> None:
    lengths = np.array(sizes)
    batches = length_order(lengths, size, most)
    flat = np.concatenate(batches)
    assert sorted(flat.tolist()) == list(range(len(sizes)))
    assert (np.diff(lengths[flat]) <= 0).all()
    padded = [int(lengths[batch].max()) * len(batch) for batch in batches]
    assert all(len(batch) <= size for batch in batches)
    assert all(len(b) == 1 or p <= most for b, p in zip(batches, padded, strict=True))
    cost = sum(padded) + A_BATCH * len(batches)
    assert cost == cheapest(tuple(sorted(sizes, reverse=True)), size, most)


def test_length_order_of_nothing() -> None:
    assert length_order(np.array([], np.int64), 4, 100) == []


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=60), st.integers(1, 20), st.integers(1, 3000)
)
def test_parts_are_whole_and_no_larger_than_they_may_be(
    sizes: list[int], size: int, most: int
) -> None:
    lengths = np.array(sizes)
    indices = np.random.default_rng(0).permutation(len(sizes))
    found = parts(indices, lengths, size, most)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(sizes)))
    for part in found:
        assert len(part) <= size
        assert len(part) == 1 or len(part) * lengths[part].max() <= most


def test_a_batch_that_may_be_taken_at_once_keeps_its_order() -> None:
    lengths, indices = np.array([3, 9, 5]), np.array([2, 0, 1])
    assert [part.tolist() for part in parts(indices, lengths, 8, 27)] == [[2, 0, 1]]
    assert [part.tolist() for part in parts(indices, lengths, 8, 26)] == [[1, 2], [0]]
    assert [part.tolist() for part in parts(indices, lengths, 2)] == [[2, 0], [1]]


def test_padding_share_counts_positions() -> None:
    lengths = np.array([2, 4, 6])
    assert padding_share(lengths, [np.array([0, 1]), np.array([2])]) == pytest.approx(2 / 14)


@pytest.mark.parametrize(("epochs", "steps"), [(3, 21), (1, 7), (0.5, 4), (0.01, 1), (2.1, 15)])
def test_the_number_of_steps(epochs: float, steps: int) -> None:
    assert Plan(examples=55, batch_size=8, epochs=epochs).total_steps == steps


def test_evaluations_stand_at_the_ends_of_epochs_and_at_the_end() -> None:
    plan = Plan(examples=55, batch_size=8, epochs=2.5)
    assert plan.next_evaluation(0, 0) == 7
    assert plan.next_evaluation(6, 0) == 7
    assert plan.next_evaluation(7, 0) == 7, "the end of an epoch that was not validated yet"
    assert plan.next_evaluation(7, 7) == 14
    assert plan.next_evaluation(15, 14) == plan.total_steps == 18
    assert plan.next_evaluation(18, 14) == 18


@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 9))
def test_no_batch_is_smaller_than_the_smallest(count: int, size: int, smallest: int) -> None:
    smallest = min(smallest, size)
    batches = epoch_batches(lengths_of(count), size, 0, 1, smallest)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    if count >= smallest:
        assert min(len(batch) for batch in batches) >= smallest
    assert Plan(count, size, 1.0, smallest).steps_per_epoch == len(batches)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 6))
def test_parts_of_one_length_hold_one_length(values: list[int], size: int) -> None:
    lengths = np.array(values, dtype=np.int64)
    everything = np.arange(len(lengths), dtype=np.int64)
    for found in (
        parts(everything, lengths, size, equal=True),
        length_order(lengths, size, 7, equal=True),
    ):
        assert sorted(np.concatenate(found).tolist()) == everything.tolist()
        assert all(len(set(lengths[part].tolist())) == 1 and len(part) <= size for part in found)
    assert parts(np.array([], np.int64), lengths, size, equal=True) == []
