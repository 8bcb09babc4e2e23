"""Which features of the encoded data a simple model can use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from handful.evaluation.baseline.arrays import BATCH, unwrap_list_type

IDS, MASK = "input_ids", "attention_mask"
_OURS = frozenset({"artifact_id", "length", "labels"})


@dataclass(frozen=True)
class Tokens:
    """An integer sequence, for TF-IDF."""

    name: str
    mask: str | None
    """Where this one is 0 there is padding."""

    def __str__(self) -> str:
        return f"TF-IDF over {self.name}, logistic regression"


@dataclass(frozen=True)
class Numbers:
    """Arrays, images or single numbers, for a linear model on pooled values."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"logistic regression on the values of {', '.join(self.names)}"


@dataclass(frozen=True)
class Unusable:
    """Why no feature can be used."""

    reason: str


def choose(rows: Any) -> Tokens | Numbers | Unusable:
    """Look at the columns of an encoded train split (a `datasets.Dataset` in Arrow's format).

    `input_ids` if that is an integer sequence, else the longest integer sequence that is no mask
    and no type or position ids, else every feature that is made of numbers.
    """
    schema = rows.features.arrow_schema
    kinds = {f.name: unwrap_list_type(f.type) for f in schema if f.name not in _OURS}
    values = {name: kind for name, kind in kinds.items() if not _beside(name)}
    sequences = [
        name for name, (depth, leaf) in values.items() if depth == 1 and pa.types.is_integer(leaf)
    ]
    if sequences:
        name = IDS if IDS in sequences else _longest(rows, sequences)
        has_mask = kinds.get(MASK, (0, None))[0] == 1
        return Tokens(name, MASK if has_mask else None)
    numbers = tuple(name for name, (_, leaf) in values.items() if _is_number(leaf))
    if numbers:
        return Numbers(numbers)
    told = ", ".join(f"{field.name} ({field.type})" for field in schema if field.name in kinds)
    return Unusable(f"no feature is made of numbers: {told or 'there is none but the label'}")


def _beside(name: str) -> bool:
    """Is it something that only goes with a sequence?"""
    return "mask" in name or name.endswith(("type_ids", "position_ids"))


def _is_number(leaf: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(is_kind(leaf) for is_kind in kinds)


def _longest(rows: Any, names: list[str]) -> str:
    """By the mean of the first rows; of equals the one that was declared first."""
    first = rows.select_columns(names)[:BATCH]
    means = {name: pc.mean(pc.list_value_length(first.column(name))).as_py() for name in names}
    return max(names, key=lambda name: means[name] or 0.0)
