"""The vectors that a model's head is given, before anything is trained: computed once, and kept.

They stand in the store beside the model's runs, named by the hash of all that they depend on: every
weight below the head, the encoded data, how batches are made, and the arithmetic. A training, a
trial and the test that would need the same ones take them from there, memory-mapped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from handful.errors import Absent, Damaged, HandfulError, Locked, StepError
from handful.files import checksums
from handful.layout import FEATURES_RECORD, model_folder
from handful.storage.base import Store
from handful.training.cpu.kernels import use_cpu_kernels
from handful.training.evaluation.prediction import answers_of
from handful.training.loop.auto_batch import is_out_of_memory
from handful.training.loop.stopping import Stopped
from handful.training.model.heads import Head, compute_cpu_logits, without_head
from handful.training.model.untrained import BATCH_SIZE, KEPT, Untrained, hash_of

Vectors = npt.NDArray[np.float32]
FORMAT = 2
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Frozen(Untrained):
    """A model before training, and the data that its head is to be fitted on."""

    head: Head


@dataclass(frozen=True)
class Features:
    """What the head is given, [N, H] for each split; on the team's leader."""

    vectors: Mapping[str, Vectors]
    key: str
    """The hash of what they were made from."""
    seconds: float = 0.0
    """For computing them; 0 if they were there."""


def features(frozen: Frozen) -> Features:
    """From the store, or computed and kept there. The team's processes call it together.

    `StepError` on all of them if a vector is no finite number, or the memory does not suffice.
    """
    key = hash_frozen_model(frozen)
    folder = f"{frozen.experiment.layout.features(frozen.name)}/{key}"
    found = _load_stored_features(frozen, folder) if frozen.team.leads else None
    if frozen.team.told(int(found is not None)):
        return Features(found or {}, key)
    started = time.monotonic()
    local = frozen.experiment.scratch / f"features-{key}"
    local.mkdir(parents=True, exist_ok=True)
    made, faults = {}, []
    for split in KEPT:
        try:
            made[str(split)] = _compute_split_features(frozen, str(split), local)
        except Stopped:
            raise
        except StepError as error:  # the leader's, when all have answered
            faults.append(error.fault.what)
        except RuntimeError as error:
            if frozen.team.size > 1 or not is_out_of_memory(error):
                raise
            faults.append("the memory does not suffice")
    fault = frozen.team.collect({"fault": "; ".join(faults)})[0]["fault"]
    if fault:
        raise StepError(f"the vectors that its head is given cannot be had: {fault}")
    seconds = time.monotonic() - started
    if (
        frozen.team.leads and _load_stored_features(frozen, folder) is None
    ):  # a trial beside may have been faster
        _store_features(frozen, local, folder)
    return Features(made, key, seconds)


def hash_frozen_model(frozen: Frozen) -> str:
    """Of all that the vectors depend on; the head itself is left out."""
    more = {"format": FORMAT, "head": frozen.head.name}
    return hash_of(frozen, frozen.head.parameters, more)


def remove_other_features(store: Store, home: str, keys: set[str]) -> None:
    """Those of a model's folder, `home`, that belong to nothing of now.

    `keys`: the hashes of those that stay.
    """
    there = {
        str(key).removeprefix(f"{home}/").partition("/")[0]
        for rows in store.list(f"{home}/")
        for key in rows.column("key").to_pylist()
    }
    for name in there:
        if name.partition("-")[0] not in keys:
            store.delete_tree(f"{home}/{name}")


def _load_stored_features(frozen: Frozen, folder: str) -> dict[str, Vectors] | None:
    """None if they are not there, or not whole: then they are computed."""
    store = frozen.experiment.store
    try:
        store.read(f"{folder}/{FEATURES_RECORD}")  # before a folder without it is fetched
        local = store.fetch_tree(folder, frozen.experiment.scratch / "features")
        marker = checksums.read_marker(local / FEATURES_RECORD, "")
        checksums.check_folder(local, marker, "")
        return {
            str(split): np.load(local / _features_file_name(split), mmap_mode="r") for split in KEPT
        }
    except (Absent, Damaged, OSError, ValueError, KeyError):
        return None


def _compute_split_features(frozen: Frozen, split: str, local: Path) -> Vectors:
    """[N, H], in a file that is mapped into memory; empty on those that do not lead."""
    data, team = frozen.splits[split], frozen.team
    rows = len(data) if team.leads else 0
    shape = (rows, frozen.head.width)
    path = local / _features_file_name(split) if team.leads else None
    into: Any = (
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        if path
        else np.zeros(shape, np.float32)
    )
    name = f"features of {model_folder(frozen.name)}"
    device = next(frozen.model.parameters()).device
    kind = _AUTOCAST.get(frozen.precision)

    def answer(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, float]:
        moved = {feature: tensor.to(device) for feature, tensor in batch.items()}
        with torch.inference_mode(), torch.autocast(device.type, kind, enabled=kind is not None):
            return compute_cpu_logits(frozen.model, moved), 0.0

    def tick(done: int) -> None:
        frozen.heed()
        frozen.experiment.progress.advance(name, done, len(data), "documents")

    with without_head(frozen.model, frozen.head.name):
        size = min(BATCH_SIZE, frozen.batch_size)
        kernels = use_cpu_kernels(frozen.cpu_kernels, frozen.experiment.progress)
        answers_of(
            frozen.model, data, frozen.collate, size, into, answer, tick, team, kernels=kernels
        )
    if team.leads:
        into.flush()
    found: Vectors = into
    return found


def _store_features(frozen: Frozen, local: Path, folder: str) -> None:
    files = checksums.of_folder(local)
    size = sum(one.size for one in files.values())
    marker = {"format": FORMAT, checksums.FILES: checksums.to_json(files)}
    text = json.dumps(marker, indent=2)
    (local / FEATURES_RECORD).write_bytes(checksums.seal(f"{text}\n".encode()))
    try:
        frozen.experiment.store.send_tree(local, folder, last=FEATURES_RECORD)
    except Locked:
        raise
    except HandfulError as error:  # they only save work
        frozen.experiment.progress.warn(f"the vectors of {folder} could not be kept: {error}")
        return
    frozen.experiment.progress.note(
        f"{model_folder(frozen.name)}: the vectors that its head is given are kept "
        f"({size / 1e6:,.1f} MB)"
    )


def _features_file_name(split: str) -> str:
    return f"{split}.npy"
