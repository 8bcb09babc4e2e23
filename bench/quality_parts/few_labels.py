"""So many documents a label: the same ones for whoever is measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from train_parts.encoded import Text

from quality_parts import datasets


def few(name: str, count: int, seed: int) -> dict[str, list[Text]]:
    """`count` documents of each label (as many as there are) to train on, as many again from
    validation, and the whole test split. Of another seed they are others."""
    parts: Mapping[str, list[Text]] = datasets.splits(name)
    drawn = {split: _drawn(parts[split], count, seed) for split in ("train", "validation")}
    return {**drawn, "test": parts["test"]}


def _drawn(texts: list[Text], count: int, seed: int) -> list[Text]:
    labelled = datasets.by_label(texts).values()
    ordered = (sorted(t, key=lambda text: datasets.chance(text, seed + 100)) for t in labelled)
    found = itertools.chain.from_iterable(few[:count] for few in ordered)
    return sorted(found, key=lambda text: datasets.chance(text, seed + 200))
