"""The encoded splits, opened memory-mapped: a batch is read when it is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from handful.errors import DataError
from handful.jobs.prefetched_splits import find_prefetched_split
from handful.layout import Layout
from handful.storage.base import Store
from handful.storage.checked import check_local
from handful.training.data.batches import Indices

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from handful.training.cpu.activations import Activations

    Tensors = dict[str, torch.Tensor]
    Collate = Callable[[pa.Table], Tensors]

STATES = "the frozen layers' states"
"""In a batch: what its rows need not be computed from the start for."""
ID, LENGTH, LABELS = "artifact_id", "length", "labels"


@dataclass(frozen=True)
class SplitData:
    """One split of one model's encoded data."""

    rows: Dataset
    """In Arrow's format."""
    lengths: Indices
    """[N] positions of each row before padding, as `encode_data` left them."""
    references: Indices
    """[N] label ids."""
    features: tuple[str, ...]
    """The columns that go to the model."""
    activations: Activations | None = None
    """What the model's frozen layers give for its rows, if that is kept."""

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Indices) -> pa.Table:
        """The model's columns of some rows. `indices`: [n] row numbers."""
        return self.rows[indices.tolist()].select(list(self.features))

    def tensors(self, indices: Indices, collate: Collate) -> Tensors:
        """Some rows as a batch; with `STATES`, if activations are kept, for `call_with_states`.

        `indices`: [n] row numbers; a tensor each of the model's features, [n, …].
        """
        batch = collate(self.batch(indices))
        return batch | ({STATES: self.activations.of(indices, batch)} if self.activations else {})

    def ids(self, indices: Indices | None = None) -> list[str]:
        """Artifact ids of some rows, or of all. `indices`: [n] row numbers."""
        table = self.rows[:] if indices is None else self.rows[indices.tolist()]
        found: list[str] = table.column(ID).to_pylist()
        return found


def as_split(dataset: Dataset) -> SplitData:
    """A dataset with `artifact_id` and `labels`, and perhaps `length`, as a `SplitData`."""
    dataset = dataset.with_format("arrow")
    table = dataset[:]  # memory-mapped: nothing is read yet
    references = _read_split_column(table, LABELS)
    lengths = (
        _read_split_column(table, LENGTH)
        if LENGTH in table.column_names
        else np.ones_like(references)
    )
    features = tuple(name for name in dataset.column_names if name not in (ID, LENGTH))
    return SplitData(dataset, lengths, references, features)


def _read_split_column(table: pa.Table, name: str) -> Indices:
    return np.asarray(table.column(name).to_numpy(), dtype=np.int64)


def open_splits(
    store: Store, mine: Layout, scratch: Path, model: str, rows: Mapping[str, int]
) -> dict[str, SplitData]:
    """The splits as they stand in the store. `rows`: split → how many rows prepare wrote.

    `DataError` if one is empty or has another number of them.
    """
    from datasets import load_from_disk

    found = {}
    for split, count in rows.items():
        key = mine.encoded_split(model, split)
        what, where = f"the {split} split of {model} has", f"{store.url}/{key}"
        if count == 0:  # datasets cannot open a Dataset that was saved empty
            remedy = "give it a share in [prepare] SPLIT, or label more artifacts"
            raise DataError(f"{what} no rows", where=where, remedy=remedy)
        if folder := find_prefetched_split(split):
            check_local(store, key, folder)
        else:
            folder = store.fetch_tree(key, scratch / "encoded")
        data = as_split(load_from_disk(str(folder)))
        if len(data) != count:
            what = f"{what} {len(data)} rows, but prepare wrote {count}"
            raise DataError(what, where=where, remedy="run `handful run --redo prepare`")
        check_ids(data, where)
        found[str(split)] = data
    return found


def check_ids(data: SplitData, where: str) -> None:
    """`DataError` if an artifact stands in the split more than once."""
    ids = data.rows[:].column(ID)
    if len(ids.unique()) == len(ids):
        return
    counts = ids.value_counts()
    twice = [row["values"] for row in counts.to_pylist() if row["counts"] > 1]
    raise DataError(
        f"{len(twice)} artifacts stand in it more than once: {', '.join(twice[:10])}",
        where=where,
        remedy="run `handful run --redo prepare`",
    )


def check_label_map(store: Store, key: str, label2id: Mapping[str, int]) -> None:
    """`DataError` if label2id.json at `key` is not the one that prepare recorded."""
    try:
        stored: Any = json.loads(store.read(key))
    except ValueError as error:
        stored = error
    if stored != dict(label2id):
        raise DataError(
            "the label map in the store is not the one that the data was encoded with",
            where=f"{store.url}/{key}",
            remedy="run `handful run --redo prepare`",
        )
