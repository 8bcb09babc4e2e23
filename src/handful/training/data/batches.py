"""Which examples stand in which batch: pure functions of lengths, seed and epoch.

An epoch's order is drawn anew from (seed, epoch) alone, so that a run resumed at any step goes on
with the very batches that the straight run would have seen, and reads nothing of those passed.

Bucketing by length, with its trade: the shuffled examples are cut into stretches of `STRETCH`
batches, each stretch is sorted by length and cut into batches, and all batches are shuffled. An
example still meets other neighbours in every epoch, though of about its own length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

STRETCH = 50
"""Batches that are sorted together: padding falls little beyond it, and the shuffle suffers."""
A_BATCH = 32
"""Positions that a CPU could work on in the time that it takes to begin another batch, about."""


def epoch_batches(
    lengths: Indices,
    batch_size: int,
    seed: int,
    epoch: int,
    smallest: int = 1,
    cuts: Sequence[Cut] = (),
) -> list[Indices]:
    """Every index of `lengths` once, in shuffled batches of about equal length.

    What was taken in `cuts`, with other batch sizes earlier in this epoch, is left out.

    Only the last batch that was cut may hold fewer than `batch_size`; none is dropped. Fewer than
    `smallest` are added to the batch before. In the
    first epoch the batch of the longest example comes first, so that a batch that is too large
    for the memory shows at once.

    `lengths`: [N] positions of each example.
    """
    draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    shuffled = draw.permutation(len(lengths)).astype(np.int64)
    if cuts:
        *before, last = cuts
        earlier = epoch_batches(lengths, last.batch_size, seed, epoch, last.smallest, before)
        left = earlier[last.steps :]
        shuffled = shuffled[np.isin(shuffled, np.concatenate(left))] if left else shuffled[:0]
    sorted_parts = []
    for start in range(0, len(shuffled), STRETCH * batch_size):
        part = shuffled[start : start + STRETCH * batch_size]
        sorted_parts.append(part[np.argsort(-lengths[part], kind="stable")])
    ordered = np.concatenate(sorted_parts) if sorted_parts else shuffled
    batches = _split_into_batches(ordered, batch_size)
    if len(batches) > 1 and len(batches[-1]) < smallest:
        batches[-2:] = [np.concatenate(batches[-2:])]
    batches = [batches[position] for position in draw.permutation(len(batches))]
    if epoch == 0 and batches:
        longest = max(range(len(batches)), key=lambda b: int(lengths[batches[b]].max()))
        batches.insert(0, batches.pop(longest))
    return batches


@dataclass(frozen=True)
class Cut:
    """A part of an epoch that was trained with another batch size."""

    batch_size: int
    steps: int
    """Steps taken with it in this epoch."""
    smallest: int = 1


def length_order(
    lengths: Indices, batch_size: int, most: int = 0, *, equal: bool = False
) -> list[Indices]:
    """Every index once, longest first: for evaluation, where the order is all one.

    `most`, `equal`: as in `parts`; if `most` matters, the batches are those with the least padding.

    `lengths`: [N] positions of each example; `batch_size`: examples.
    """
    ordered = np.argsort(-lengths, kind="stable").astype(np.int64)
    if equal:
        return parts(ordered, lengths, batch_size, most, equal=True)
    if not most:
        return _split_into_batches(ordered, batch_size)
    ends = _least_padding(lengths[ordered], batch_size, most)
    return np.split(ordered, ends[:-1]) if ends else []


def parts(
    indices: Indices, lengths: Indices, size: int, most: int = 0, *, equal: bool = False
) -> list[Indices]:
    """`indices` in parts of at most `size` examples each.

    `most`: positions that a part may have, padding included, if it has more than one example; 0:
    any number. Where that matters the parts are cut from the longest example to the shortest.
    `equal`: a part holds examples of one length only.

    `indices`: [n] rows of `lengths`, [N] positions of each.
    """
    if equal:
        ordered = indices[np.argsort(-lengths[indices], kind="stable")]
        runs = np.split(ordered, np.flatnonzero(np.diff(lengths[ordered])) + 1)
        return [part for run in runs for part in parts(run, lengths, size, most) if len(run)]
    if not most or len(indices) * int(lengths[indices].max(initial=0)) <= most:
        return _split_into_batches(indices, size)
    ordered = indices[np.argsort(-lengths[indices], kind="stable")]
    found = []
    while len(ordered):
        fit = max(1, min(size, most // max(1, int(lengths[ordered[0]]))))
        found.append(ordered[:fit])
        ordered = ordered[fit:]
    return found


def _least_padding(lengths: Indices, size: int, most: int) -> list[int]:
    """Where batches end, so that all of them together have the fewest positions.

    `lengths`: from the longest to the shortest. By the shortest path over all cuts; a batch costs
    as much as `A_BATCH` positions, or there would be one for every length.
    """
    least, begins = np.zeros(len(lengths) + 1), np.zeros(len(lengths) + 1, np.int64)
    for end in range(1, len(lengths) + 1):
        first = max(0, end - size)
        examples = np.arange(end - first, 0, -1)
        padded = examples * lengths[first:end]
        cost = least[first:end] + padded + A_BATCH
        cost[(padded > most) & (examples > 1)] = np.inf
        begins[end] = first + int(np.argmin(cost))
        least[end] = cost[begins[end] - first]
    ends = [len(lengths)]
    while ends[-1]:
        ends.append(int(begins[ends[-1]]))
    return ends[-2::-1]


def share(indices: Indices, rank: int, size: int) -> Indices:
    """The part of a batch that one of `size` processes takes: every `size`-th, so that lengths even
    out.

    `indices`: [n], the whole batch.
    """
    return indices[rank::size]


def _split_into_batches(indices: Indices, size: int) -> list[Indices]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


@dataclass(frozen=True)
class Plan:
    """How many steps there are, and where in them an epoch ends."""

    examples: int
    batch_size: int
    epochs: float
    """May be a fraction: 0.5 trains on half of the batches."""
    smallest: int = 1
    """As `epoch_batches` has it."""
    shift: int = 0
    """Steps taken beyond those that so many epochs have: there were batches of other sizes."""

    @property
    def steps_per_epoch(self) -> int:
        full, rest = divmod(self.examples, self.batch_size)
        return full if full and rest < self.smallest else full + (rest > 0)

    @property
    def total_steps(self) -> int:
        # 3 × 7 steps must not become 22 because of a float just above 21.
        return self.shift + max(1, math.ceil(self.epochs * self.steps_per_epoch - 1e-6))

    def epoch_at(self, step: int) -> float:
        """Epochs done after `step` steps."""
        return (step - self.shift) / self.steps_per_epoch

    def place(self, step: int) -> tuple[int, int]:
        """The epoch, from 0, that goes on after `step` steps, and its steps that are done."""
        return divmod(step - self.shift, self.steps_per_epoch)

    def end_of(self, epoch: int) -> int:
        """The step at which `epoch` is through."""
        return self.shift + (epoch + 1) * self.steps_per_epoch

    def next_evaluation(self, step: int, validated: int) -> int:
        """The step to validate at: an epoch's end, or the end of all.

        It is `step` itself when that is such an end and was not validated yet (`validated` is the
        last step that was).
        """
        epoch, done = self.place(step)
        ends_here = step > 0 and (done == 0 or step >= self.total_steps)
        if ends_here and validated < step:
            return step
        return min(self.total_steps, self.end_of(epoch))


def positions(lengths: Indices) -> tuple[int, int]:
    """How many positions a batch of these lengths has: real ones, and with padding.

    `lengths`: [n].
    """
    return int(lengths.sum()), int(lengths.max(initial=0)) * len(lengths)


def padding_share(lengths: Indices, batches: Sequence[Indices]) -> float:
    """Padding's share of all positions in `batches`.

    `lengths`: [N] positions; `batches`: [n] rows each.
    """
    real, padded = np.array([positions(lengths[batch]) for batch in batches]).sum(axis=0)
    return float(1 - real / padded) if padded else 0.0
