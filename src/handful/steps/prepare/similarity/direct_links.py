"""Who is near whom without a third between them: asked where a chain of likeness joins splits.

Those that have their split already may be many, so they are only tied together, in chains among
themselves. A newcomer's links are all told, but for several into one such chain: they say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from handful.steps.prepare.similarity.near_duplicates import (
    THRESHOLD,
    UNLIKELY,
    Shingled,
    Signatures,
    jaccard,
    ties,
)
from handful.steps.prepare.similarity.short_texts import ShortTexts
from handful.steps.prepare.splitting.union_find import Components


def direct_links(
    shingled: Shingled, signed: Signatures, short: ShortTexts, settled: int
) -> Iterator[tuple[int, int]]:
    """Pairs of near-duplicates; the first `settled` documents have their split."""
    end = shingled.starts[settled], short.starts[settled]
    components = Components(settled)
    yield from ties(
        Shingled(shingled.hashes[: end[0]], shingled.starts[: settled + 1]),
        signed[:settled],
        ShortTexts(short.words[: end[1]], short.starts[: settled + 1]),
        components,
    )
    for newcomer in range(settled, len(shingled)):
        yield from _links_of(newcomer, shingled, signed, settled, components)
    for one, other in short.pairs():
        yield from product(_some(short.copies(one), settled), _some(short.copies(other), settled))


def _links_of(
    newcomer: int, shingled: Shingled, signed: Signatures, settled: int, components: Components
) -> Iterator[tuple[int, int]]:
    if not len(shingled[newcomer]):
        return
    shares = (signed[:newcomer] == signed[newcomer]).mean(axis=1)
    reached: set[int] = set()
    for other in np.flatnonzero(shares >= UNLIKELY).tolist():
        chain = components.find(other) if other < settled else None
        if chain in reached or jaccard(shingled[newcomer], shingled[other]) < THRESHOLD:
            continue
        if chain is not None:
            reached.add(chain)
        yield other, newcomer


def _some(copies: list[int], settled: int) -> list[int]:
    """The newcomers of those that have the same text, and one that has its split."""
    placed = [one for one in copies if one < settled]
    return placed[:1] + copies[len(placed) :]
