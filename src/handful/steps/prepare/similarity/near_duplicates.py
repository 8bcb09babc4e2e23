"""Finds documents that are nearly the same, without comparing all with all.

MinHash signatures (Broder, 1997, "On the resemblance and containment of documents"), cut in bands
(Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3): documents that agree in
a whole band are candidates, and only those whose shingles really have a Jaccard similarity of at
least `THRESHOLD` are tied. With 21 bands of 6 rows a pair at 0.8 is a candidate with probability
0.998, one at 0.5 with 0.28; the exact comparison then refuses it. Texts of few words have a rule of
their own beside that: `handful.steps.prepare.similarity.short_texts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handful.steps.prepare.similarity.shingles import MIX as _MIX
from handful.steps.prepare.similarity.shingles import Hashes, shingles
from handful.steps.prepare.similarity.short_texts import ShortTexts
from handful.steps.prepare.splitting.union_find import Components

THRESHOLD = 0.8
PERMUTATIONS = 128
BANDS, ROWS = 21, 6
UNLIKELY = 0.6
"""A signature that agrees in less than this share: 0.8 is more than five deviations away."""
_REPRESENTATIVES = 32
"""How many unlike documents of one bucket a further one is compared with."""
LARGE_FAMILY = 50
"""Documents of one family among which all pairs are counted."""
_SHINGLES_PER_BATCH = 1 << 16
"""Shingles that are permuted together: 256 KiB stay in the processor's cache."""

Signatures = NDArray[np.uint32]


@dataclass(frozen=True)
class Shingled:
    """Many documents' shingles, one after the other."""

    hashes: Hashes
    """Each document's are sorted, each once."""
    starts: NDArray[np.int64]
    """[n + 1]: document i has `hashes[starts[i]:starts[i + 1]]`."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, document: int) -> Hashes:
        return self.hashes[self.starts[document] : self.starts[document + 1]]

    @classmethod
    def of(cls, documents: Sequence[Hashes]) -> Shingled:
        """From the hashes of the words of each document."""
        return cls(*shingles(documents))


def signatures(shingled: Shingled) -> Signatures:
    """[n, PERMUTATIONS]: of every permutation of the hashes, the smallest in each document.

    Documents without shingles get zeros.
    """
    result = np.zeros((len(shingled), PERMUTATIONS), np.uint32)
    lengths = np.diff(shingled.starts)
    factors, offsets = _permutations()
    for first, last in _iterate_shingle_batches(shingled.starts):
        filled = np.flatnonzero(lengths[first:last]) + first
        if not len(filled):
            continue
        hashes = shingled.hashes[shingled.starts[first] : shingled.starts[last]]
        begins = shingled.starts[filled] - shingled.starts[first]
        permuted, shifted = np.empty_like(hashes), np.empty_like(hashes)
        for number in range(PERMUTATIONS):
            np.multiply(hashes, factors[number], out=permuted)
            permuted += offsets[number]
            np.right_shift(permuted, np.uint32(15), out=shifted)
            permuted ^= shifted
            permuted *= np.uint32(0x2C1B3C6D)
            result[filled, number] = np.minimum.reduceat(permuted, begins)
    return result


def families(
    shingled: Shingled, signed: Signatures, short: ShortTexts | None = None
) -> list[int | None]:
    """For each document the smallest number of those it hangs together with; None if alone."""
    components = Components(len(shingled))
    for _ in ties(shingled, signed, short, components):
        pass
    members = components.members(range(len(shingled)))
    return [
        root if len(members[root]) > 1 else None
        for root in map(components.find, range(len(shingled)))
    ]


def ties(
    shingled: Shingled, signed: Signatures, short: ShortTexts | None, components: Components
) -> Iterator[tuple[int, int]]:
    """Tie all near-duplicates together in `components`; the pairs by which they were tied."""
    for bucket in _buckets(shingled, signed):
        yield from _tie_alike(bucket, shingled, signed, components)
    for one, other in short.pairs() if short else ():
        components.union(one, other)
        yield one, other


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates: `one` and `other` are documents' numbers, `one` the smaller."""

    one: NDArray[np.int32]
    other: NDArray[np.int32]
    likeness: NDArray[np.float32]
    """Jaccard similarity of their shingles; of short texts that differ in a word, of the words."""
    uncounted: int = 0
    """Documents of large families that were compared with nobody here."""

    def __len__(self) -> int:
        return len(self.one)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, float]], uncounted: int = 0) -> Pairs:
        one, other, likeness = zip(*sorted(rows), strict=True) if rows else ((), (), ())
        return cls(
            np.array(one, np.int32),
            np.array(other, np.int32),
            np.array(likeness, np.float32),
            uncounted,
        )


def pairs_within(
    members: Sequence[Sequence[int]],
    shingled: Shingled,
    signed: Signatures,
    short: ShortTexts | None = None,
    contents: Sequence[str | None] | None = None,
) -> Pairs:
    """The pairs of near-duplicates within each family.

    Of a family of more than `LARGE_FAMILY` documents the first so many are compared, as the number
    of pairs grows with its square. `contents`: the same for documents that are the same whatever
    their words are; without it those in a family that have no words are.
    """
    rows: list[tuple[int, int, float]] = []
    compared = _Compared(shingled, signed, short, _number_contents(contents, shingled))
    for family in members:
        rows += compared.pairs(np.array(sorted(family)[:LARGE_FAMILY]))
    return Pairs.of(rows, sum(max(0, len(family) - LARGE_FAMILY) for family in members))


@dataclass(frozen=True)
class _Compared:
    """All that two documents are compared by."""

    shingled: Shingled
    signed: Signatures
    short: ShortTexts | None
    contents: NDArray[np.int64]
    """The same number for documents that are the same."""

    def pairs(self, family: NDArray[np.int64]) -> Iterator[tuple[int, int, float]]:
        for place, one in enumerate(family[:-1].tolist()):
            others = family[place + 1 :]
            is_same = self.contents[others] == self.contents[one]
            is_likely = (self.signed[others] == self.signed[one]).mean(axis=1) >= UNLIKELY
            if self.short and len(self.short[one]):
                is_likely[:] = True
            for other in others[is_same | is_likely].tolist():
                likeness = self._likeness(one, other)
                if likeness >= THRESHOLD:
                    yield one, other, likeness

    def _likeness(self, one: int, other: int) -> float:
        if self.contents[one] == self.contents[other]:
            return 1.0
        found = jaccard(self.shingled[one], self.shingled[other])
        return self.short.likeness(one, other) if self.short and found < THRESHOLD else found


def _number_contents(
    contents: Sequence[str | None] | None, shingled: Shingled
) -> NDArray[np.int64]:
    """The same number for the same content, or for all that have no words if nothing is known."""
    if contents is None:
        numbers = np.arange(len(shingled), dtype=np.int64)
        numbers[np.diff(shingled.starts) == 0] = -1
        return numbers
    first: dict[str, int] = {}
    return np.array(
        [n if one is None else first.setdefault(one, n) for n, one in enumerate(contents)], np.int64
    )


def jaccard(one: Hashes, other: Hashes) -> float:
    """Of all shingles in either, the share that is in both; both sorted, each once."""
    small, large = sorted((one, other), key=len)
    if not len(small):
        return 0.0
    places = np.searchsorted(large, small)
    places[places == len(large)] = 0
    both = int(np.count_nonzero(large[places] == small))
    return both / (len(one) + len(other) - both)


def _permutations() -> tuple[Hashes, Hashes]:
    """The same 128 on every machine: odd factors and offsets, modulo 2^32."""
    draw = np.random.Generator(np.random.PCG64(0x68616E64)).integers
    factors = draw(0, 1 << 32, PERMUTATIONS, np.uint32) | np.uint32(1)
    return factors, draw(0, 1 << 32, PERMUTATIONS, np.uint32)


def _iterate_shingle_batches(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of documents with about `_SHINGLES_PER_BATCH` shingles together."""
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + _SHINGLES_PER_BATCH, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _buckets(shingled: Shingled, signed: Signatures) -> Iterator[list[int]]:
    """Documents that agree in a whole band, a few at a time."""
    with_text = np.flatnonzero(np.diff(shingled.starts))
    for band in range(BANDS):
        # Bands are told by a hash of theirs; who is taken for alike by chance is compared anyway.
        keys = np.zeros(len(with_text), np.uint64)
        for column in range(band * ROWS, (band + 1) * ROWS):
            keys = (keys ^ signed[with_text, column]) * _MIX
            keys ^= keys >> np.uint64(29)
        order = np.argsort(keys, kind="stable")
        same = keys[order]
        edges = np.flatnonzero(np.concatenate(([True], same[1:] != same[:-1], [True])))
        for run in np.flatnonzero(np.diff(edges) > 1):
            yield with_text[order[edges[run] : edges[run + 1]]].tolist()


def _tie_alike(
    bucket: list[int], shingled: Shingled, signed: Signatures, components: Components
) -> Iterator[tuple[int, int]]:
    representatives: list[int] = []
    for document in bucket:
        for other in representatives:
            if components.find(document) == components.find(other):
                break
            if _alike(document, other, shingled, signed):
                components.union(document, other)
                yield document, other
                break
        else:
            if len(representatives) < _REPRESENTATIVES:
                representatives.append(document)


def _alike(one: int, other: int, shingled: Shingled, signed: Signatures) -> bool:
    if np.count_nonzero(signed[one] == signed[other]) < UNLIKELY * PERMUTATIONS:
        return False
    return jaccard(shingled[one], shingled[other]) >= THRESHOLD
