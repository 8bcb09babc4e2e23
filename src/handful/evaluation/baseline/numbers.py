"""Arrays, images and numbers as a few values a row: flattened when small, else pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from handful.evaluation.baseline.arrays import BATCH, Floats, Ids, flat
from handful.evaluation.baseline.choosing import Numbers

SMALL = 1_024
"""Values a row that are taken as they are."""
SEGMENTS = 256
"""Of larger arrays of one size, the means of so many equal stretches are taken beside the pools."""


@dataclass(frozen=True)
class Pools:
    """Reads rows as a dense matrix."""

    sizes: tuple[tuple[str, int | None], ...]
    """Feature → its number of values in every row of train; None if rows differ."""

    def read(self, rows: Any) -> Floats:
        """[N, D]; what is not finite counts as 0. `rows` is a Dataset in Arrow's format."""
        chosen = rows.select_columns([name for name, _ in self.sizes])
        parts = [
            np.hstack([_pool_numeric_column(table, name, size) for name, size in self.sizes])
            for table in chosen.iter(batch_size=BATCH)
        ]
        return np.vstack(parts)


def pools(numbers: Numbers, train: Any) -> Pools:
    """The reader for all splits, by the sizes found in train."""
    sizes: dict[str, set[int]] = {name: set() for name in numbers.names}
    for table in train.select_columns(list(numbers.names)).iter(batch_size=BATCH):
        for name in numbers.names:
            _, rows = flat(table.column(name))
            sizes[name] |= set(np.bincount(rows, minlength=table.num_rows).tolist())
    return Pools(tuple((n, min(found) if len(found) == 1 else None) for n, found in sizes.items()))


def _pool_numeric_column(table: Any, name: str, size: int | None) -> Floats:
    values, rows = flat(table.column(name))
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if size is None or size == 0:
        return _four(values, rows, table.num_rows)
    whole = _pad_numeric_rows(values, rows, table.num_rows, size)
    if size <= SMALL:
        return whole
    edges = np.arange(SEGMENTS) * size // SEGMENTS
    widths = np.diff(np.append(edges, size))
    means = np.add.reduceat(whole, edges, axis=1) / widths
    return np.hstack([means, _four(values, rows, table.num_rows)])


def _pad_numeric_rows(values: Floats, rows: Ids, count: int, size: int) -> Floats:
    """[count, size]: a row shorter than those of train ends in zeros, a longer one is cut."""
    lengths = np.bincount(rows, minlength=count)
    places = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    whole = np.zeros((count, size))
    inside = places < size
    whole[rows[inside], places[inside]] = values[inside]
    return whole


def _four(values: Floats, rows: Ids, count: int) -> Floats:
    """[count, 4] mean, standard deviation, least and greatest; zeros for an empty row."""
    lengths = np.bincount(rows, minlength=count)
    some, safe = lengths > 0, np.maximum(lengths, 1)
    mean = np.bincount(rows, values, minlength=count) / safe
    spread = np.sqrt(np.bincount(rows, (values - mean[rows]) ** 2, minlength=count) / safe)
    least, greatest = np.zeros(count), np.zeros(count)
    if some.any():
        starts = (np.cumsum(lengths) - lengths)[some]
        least[some] = np.minimum.reduceat(values, starts)
        greatest[some] = np.maximum.reduceat(values, starts)
    return np.column_stack([mean, spread, least, greatest])
