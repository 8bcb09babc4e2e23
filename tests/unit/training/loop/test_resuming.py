"""Going on with batches of another size: every example once an epoch, and the same end."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handful.training.data.batches import Plan, epoch_batches
from handful.training.loop.resuming import adapt_state_to_batch_size
from handful.training.loop.state import RunState

SEED = 3


def walk(
    lengths: np.ndarray, sizes: list[int], stops: list[int], epochs: int
) -> tuple[list[list[int]], RunState, Plan]:
    """Train by numbers: with `sizes` one after the other, each but the last for so many steps.

    Returns the examples of each epoch, the state, and the plan at the end. Each interruption goes
    by way of JSON, as a checkpoint does.
    """
    seen: list[list[int]] = [[] for _ in range(epochs)]
    state = RunState()
    plan = Plan(len(lengths), sizes[0], epochs)
    for number, size in enumerate(sizes):
        before = plan.batch_size
        plan = Plan(len(lengths), size, epochs)
        state = RunState(**json.loads(json.dumps(state.to_json())))
        adapt_state_to_batch_size(state, plan, before, lengths, SEED)
        plan = replace(plan, shift=state.shift)
        end = plan.total_steps
        if number < len(stops):
            end = min(end, state.step + stops[number])
        while state.step < end:
            epoch, _ = plan.place(state.step)
            batches = epoch_batches(lengths, size, SEED, epoch, 1, state.cuts_of(epoch))
            left = batches[len(batches) - (plan.end_of(epoch) - state.step) :]
            seen[epoch] += left[0].tolist()
            state.step += 1
    return seen, state, plan


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30)), min_size=1, max_size=3),
    st.integers(1, 20),
)
def test_every_example_is_seen_once_an_epoch_whatever_the_sizes(
    count: int, parts: list[tuple[int, int]], last: int
) -> None:
    lengths = np.arange(1, count + 1, dtype=np.int64)
    sizes, stops = [*(size for size, _ in parts), last], [steps for _, steps in parts]
    seen, state, plan = walk(lengths, sizes, stops, 3)
    assert [sorted(epoch) for epoch in seen] == [list(range(count))] * 3
    assert plan.epoch_at(state.step) == 3


def test_without_a_change_nothing_is_noted() -> None:
    lengths = np.arange(1, 41, dtype=np.int64)
    state = RunState(step=7)
    assert adapt_state_to_batch_size(state, Plan(40, 8, 3), 8, lengths, SEED) == ""
    assert (state.shift, state.cuts, state.batch_size, state.examples) == (0, [], 8, 40)


def test_a_change_is_told_with_epoch_and_sizes() -> None:
    lengths = np.arange(1, 41, dtype=np.int64)
    state = RunState(step=7, per_device=8)
    told = adapt_state_to_batch_size(state, Plan(40, 20, 3), 8, lengths, SEED)
    assert "BATCH_SIZE changed from 8 to 20: it goes on at epoch 1.40 of 3" in told
    assert state.per_device == 0, "found out anew"
    assert state.cuts == [{"epoch": 1, "batch_size": 8, "steps": 2, "smallest": 1}]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.data())
def test_each_epoch_is_validated_once_whatever_the_sizes(
    count: int, first: int, second: int, data: st.DataObject
) -> None:
    lengths = np.arange(1, count + 1, dtype=np.int64)
    plan, state, validated = Plan(count, first, 3), RunState(), []
    # Interrupted after a step, before or after the validation that may be due.
    stop = data.draw(st.integers(0, plan.total_steps))
    before = data.draw(st.booleans())
    while state.step < stop:
        state.step = min(stop, plan.next_evaluation(state.step, state.validated))
        if state.step % plan.steps_per_epoch == 0 and not (before and state.step == stop):
            validated.append(plan.epoch_at(state.step))
            state.validated = state.step
    state = RunState(**json.loads(json.dumps(state.to_json())))
    adapt_state_to_batch_size(state, Plan(count, second, 3), first, lengths, SEED)
    plan = Plan(count, second, 3, shift=state.shift)
    while state.validated < plan.total_steps:
        state.step = plan.next_evaluation(state.step, state.validated)
        validated.append(plan.epoch_at(state.step))
        state.validated = state.step
    assert validated == [1, 2, 3]


def test_with_other_rows_it_goes_on_at_the_same_part_of_the_epoch() -> None:
    lengths = np.arange(1, 61, dtype=np.int64)
    state = RunState(step=7, examples=40, batch_size=8)
    adapt_state_to_batch_size(state, Plan(60, 8, 3), 8, lengths, SEED)
    plan = Plan(60, 8, 3, shift=state.shift)
    assert state.cuts == []
    assert abs(plan.epoch_at(7) - 1.4) < 0.1
