"""How long the rows of a model are, and which are longer than it has positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.experiment.positions import config_of, positions
from handful.steps.prepare.encoding.schema import ARTIFACT_ID, LENGTH

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_ROWS_LISTED = 5


class Lengths:
    """Of one split: how many rows there are of each length, and which are the longest."""

    def __init__(self) -> None:
        self._rows: Counter[int] = Counter()
        self.longest: list[tuple[str, int]] = []
        """(artifact id, length): a few, the longest first."""

    def add(self, table: pa.Table) -> None:
        lengths = np.asarray(table.column(LENGTH).to_numpy(), dtype=np.int64)
        self._rows.update(
            dict(zip(*map(list, np.unique(lengths, return_counts=True)), strict=True))
        )
        top = np.argsort(-lengths, kind="stable")[:_LONGEST_ROWS_LISTED]
        ids = table.column(ARTIFACT_ID).take(top).to_pylist()
        found = [*self.longest, *zip(ids, lengths[top].tolist(), strict=True)]
        self.longest = sorted(found, key=lambda one: (-one[1], one[0]))[:_LONGEST_ROWS_LISTED]

    def beyond(self, limit: int) -> int:
        """How many rows are longer than `limit`."""
        return sum(count for length, count in self._rows.items() if length > limit)


def longest_rows_by_split(lengths: Mapping[str, Lengths]) -> dict[str, Any]:
    """As truncation.json has it: split → [artifact id, length] of its longest rows."""
    return {split: [list(one) for one in found.longest] for split, found in lengths.items()}


def too_long(model: str, lengths: Mapping[str, Lengths]) -> str:
    """What to warn of: rows that have more positions than the checkpoint `model`; else empty."""
    limit = positions(config_of(model))
    number = sum(found.beyond(limit) for found in lengths.values()) if limit else 0
    if not number:
        return ""
    worst = [
        f"{artifact_id} ({length:,}, {split})"
        for split, found in lengths.items()
        for artifact_id, length in found.longest
        if length > int(limit or 0)
    ]
    more = f" and {number - _LONGEST_ROWS_LISTED:,} more" if number > _LONGEST_ROWS_LISTED else ""
    return (
        f"{number:,} documents are longer than its {limit:,} positions: "
        f"{', '.join(worst[:_LONGEST_ROWS_LISTED])}{more}; "
        "train refuses them: cut them in encode_data "
        f"(max_length={limit}), or take a model for longer texts"
    )
