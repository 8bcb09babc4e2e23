"""The encoded splits, opened memory-mapped: a batch is read when it is needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from handful.errors import DataError
from handful.experiment.context import Experiment
from handful.jobs.prefetched_splits import find_prefetched_split
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
        """The model's columns of some rows."""
        return self.rows[indices.tolist()].select(list(self.features))

    def tensors(self, indices: Indices, collate: Collate) -> Tensors:
        """Some rows as a batch; with `STATES`, if activations are kept, for `call_with_states`."""
        batch = collate(self.batch(indices))
        return batch | ({STATES: self.activations.of(indices, batch)} if self.activations else {})

    def ids(self, indices: Indices | None = None) -> list[str]:
        """Artifact ids of some rows, or of all."""
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


def open_split(experiment: Experiment, model: str, split: str, rows: int) -> SplitData:
    """The split as it stands in the store; `DataError` if it is empty or not of `rows` rows."""
    from datasets import load_from_disk

    key = experiment.layout.encoded_split(model, split)
    where = f"{experiment.store.url}/{key}"
    if rows == 0:  # datasets cannot open a Dataset that was saved empty
        raise DataError(
            f"the {split} split of {model} has no rows",
            where=where,
            remedy="give it a share in [prepare] SPLIT, or label more artifacts",
        )
    if folder := find_prefetched_split(split):
        check_local(experiment.store, key, folder)
    else:
        folder = experiment.store.fetch_tree(key, experiment.scratch / "encoded")
    data = as_split(load_from_disk(str(folder)))
    if len(data) != rows:
        raise DataError(
            f"the {split} split of {model} has {len(data)} rows, but prepare wrote {rows}",
            where=where,
            remedy="run `handful run --redo prepare`",
        )
    check_ids(data, where)
    return data


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


def check_label_map(experiment: Experiment, label2id: Mapping[str, int]) -> None:
    """`DataError` if the label map in the store is not the one that prepare recorded."""
    key = experiment.layout.label2id
    try:
        stored: Any = json.loads(experiment.store.read(key))
    except ValueError as error:
        stored = error
    if stored != dict(label2id):
        raise DataError(
            "the label map in the store is not the one that the data was encoded with",
            where=f"{experiment.store.url}/{key}",
            remedy="run `handful run --redo prepare`",
        )
