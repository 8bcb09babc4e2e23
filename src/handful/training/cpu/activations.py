"""What the frozen layers of a model give for every row: computed once, and kept on disk.

They stand in the store beside the model's runs, named by the hash of all that they depend on, until
the step `train` is through: the epochs, seeds and trials that need the same ones take them from
there, memory-mapped. Each process of a team writes the rows that it has computed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from handful.errors import HandfulError, Interrupted, Locked
from handful.files import checksums
from handful.layout import ACTIVATIONS_RECORD, model_folder
from handful.training.data.batches import Indices, length_order
from handful.training.data.splits import SplitData
from handful.training.loop.auto_batch import is_out_of_memory
from handful.training.loop.stopping import Stopped
from handful.training.model.frozen_layers import FrozenLayers, join_row_states, states_of
from handful.training.model.untrained import KEPT, Untrained, hash_of

Array = npt.NDArray[Any]
FORMAT = 1
_ACTIVATION_BATCH = 32
_BITS = {"float32": np.float32, "float16": np.int16, "bfloat16": np.int16, "float64": np.float64}
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Activations:
    """Of one split's rows, memory-mapped."""

    parts: tuple[Array, ...]
    """[positions, H] of so many processes."""
    part: Indices
    """[N] in which of them a row's stand."""
    start: Indices
    """[N] from which position on."""
    count: Indices
    """[N] how many they are."""
    dtype: torch.dtype

    def of(self, indices: Indices, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """[B, L, H] for these rows, placed as the attention mask of `batch` has them."""
        rows = []
        for row in indices.tolist():
            first = int(self.start[row])
            own = self.parts[self.part[row]][first : first + int(self.count[row])]
            rows.append(torch.from_numpy(np.array(own)).view(self.dtype))
        return join_row_states(rows, batch)


@dataclass(frozen=True)
class Wanted:
    """Whose activations are wanted, and how large they may be."""

    untrained: Untrained
    layers: FrozenLayers
    limit: int
    """Bytes."""

    @property
    def size(self) -> int:
        """Bytes that they take."""
        splits = self.untrained.splits.values()
        rows = sum(
            int(s.lengths.sum()) if self.layers.masked else len(s) * self.layers.positions
            for s in splits
        )
        return rows * self.layers.width * int(getattr(torch, self.layers.dtype).itemsize)


def with_activations(wanted: Wanted) -> dict[str, SplitData] | None:
    """The splits with what the frozen layers give for their rows, from the store or computed and
    kept there; None, with the reason told, if they cannot be kept. A team calls it together."""
    untrained, team = wanted.untrained, wanted.untrained.team
    name, progress = model_folder(untrained.name), untrained.experiment.progress
    told = f"{len(wanted.layers.layers)} of its {wanted.layers.of} layers are frozen"
    if fault := _no_room(wanted):
        progress.note(f"{name}: {told}, and computed in every epoch: {fault}")
        return None
    home = untrained.experiment.layout.activations(untrained.name)
    folder = f"{home}/{_hash_activation_inputs(wanted)}"
    local = untrained.experiment.scratch / "activations-made"
    found = _fetch_activations(wanted, folder) if team.leads else {}
    if not team.told(int(found is not None)):
        fault = _compute_activations(wanted, home, folder, local)
        if fault:
            progress.warn(f"{name}: {told}, and computed in every epoch: {fault}")
            return None
        found = None
    found = found or _fetch_activations(wanted, folder)
    if found is None and team.size == 1:  # another process has just written them, too
        found = _of_folder(wanted, local, 1)
    else:
        shutil.rmtree(local, ignore_errors=True)
    if not team.least(int(found is not None)) or found is None:
        progress.warn(f"{name}: {told}, and computed in every epoch: they cannot be read again")
        return None
    size = f"{wanted.size / _MEGABYTE:,.0f} MB"
    progress.note(f"{name}: {told}: what they give is computed once and kept ({size})")
    return {
        split: replace(data, activations=found[split]) for split, data in untrained.splits.items()
    }


def _hash_activation_inputs(wanted: Wanted) -> str:
    learning = {n for n, p in wanted.untrained.model.named_parameters() if p.requires_grad}
    device = next(wanted.untrained.model.parameters()).device.type
    arithmetic = {"device": device, "threads": torch.get_num_threads()}
    frozen = wanted.layers.to_json()
    return hash_of(wanted.untrained, learning, {"frozen": frozen, "format": FORMAT, **arithmetic})


def _no_room(wanted: Wanted) -> str:
    gigabytes = f"they would take {wanted.size / 1e9:,.2f} GB"
    if wanted.size > wanted.limit:
        return f"{gigabytes}, and ACTIVATIONS_KEPT is {wanted.limit / 1e9:,.2f} GB"
    free = shutil.disk_usage(wanted.untrained.experiment.scratch).free
    team, is_remote = wanted.untrained.team, "://" in wanted.untrained.experiment.store.url
    copies = 2 + (team.size if is_remote else 0)  # each process fetches its own
    short = team.any(free < copies * wanted.size)[0]
    return f"{gigabytes}, and there is no room for that" if short else ""


def _compute_activations(wanted: Wanted, home: str, folder: str, folder_here: Path) -> str:
    """Compute and keep them; why that cannot be, the same on all of a team."""
    team = wanted.untrained.team
    local = folder_here / str(team.rank)
    local.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"fault": "", "files": {}}
    try:
        for split in KEPT:
            _compute(wanted, str(split), local)
        mine = checksums.of_folder(local)
        told["files"] = {f"{team.rank}/{n}": [c.size, c.sha256] for n, c in mine.items()}
        if team.leads:
            _make_room(wanted, home)
    except (OSError, RuntimeError, ValueError, HandfulError) as error:
        if isinstance(error, Locked | Stopped | Interrupted) or (
            isinstance(error, RuntimeError) and team.size > 1 and not is_out_of_memory(error)
        ):
            raise
        told["fault"] = " ".join(str(error).split())[:300]
    answers = team.collect(told)
    fault = next((one["fault"] for one in answers if one["fault"]), "")
    if fault or (
        team.size == 1 and _fetch_activations(wanted, folder)
    ):  # a trial beside may have been faster
        return fault
    fault = _store_activations(wanted, local, folder, answers)
    return "" if team.size == 1 else fault  # they are here


def _store_activations(
    wanted: Wanted, local: Path, folder: str, answers: Sequence[Mapping[str, Any]]
) -> str:
    untrained, team = wanted.untrained, wanted.untrained.team
    store, fault = untrained.experiment.store, ""
    try:
        store.send_tree(local, f"{folder}/{team.rank}")
    except Locked:
        raise
    except HandfulError as error:
        fault = str(error)
    faults = [one["fault"] for one in team.collect({"fault": fault}) if one["fault"]]
    if not faults and team.leads:
        files = {name: told for one in answers for name, told in one["files"].items()}
        marker = {"format": FORMAT, "size": wanted.size, checksums.FILES: files}
        text = f"{json.dumps(marker, indent=2)}\n"
        try:
            store.write(f"{folder}/{ACTIVATIONS_RECORD}", checksums.seal(text.encode()))
        except Locked:
            raise
        except HandfulError as error:
            faults = [str(error)]
    return str(team.collect({"fault": faults[0] if faults else ""})[0]["fault"])


def _make_room(wanted: Wanted, home: str) -> None:
    """Others that stand there (of other data, or trials with other frozen weights) go, if all
    together would take more than the limit."""
    store = wanted.untrained.experiment.store
    total = wanted.size
    for rows in store.list(f"{home}/"):
        total += int(np.sum(rows.column("size").to_numpy()))
    if total > wanted.limit:
        store.delete_tree(home)


def _fetch_activations(wanted: Wanted, folder: str) -> dict[str, Activations] | None:
    """None if they are not there, or not whole: then they are computed."""
    untrained = wanted.untrained
    store = untrained.experiment.store
    try:
        store.read(f"{folder}/{ACTIVATIONS_RECORD}")  # before a folder without it is fetched
        local = store.fetch_tree(folder, untrained.experiment.scratch / "activations")
        marker = checksums.read_marker(local / ACTIVATIONS_RECORD, "")
        files = checksums.check_folder(local, marker, "")
        return _of_folder(wanted, local, 1 + max(int(name.partition("/")[0]) for name in files))
    except Locked:
        raise
    except (HandfulError, OSError, ValueError, KeyError, IndexError):
        return None


def _of_folder(wanted: Wanted, local: Path, size: int) -> dict[str, Activations]:
    splits = wanted.untrained.splits.items()
    return {
        split: _map_split_activations(local, size, split, data, wanted.layers)
        for split, data in splits
    }


def _map_split_activations(
    local: Path, size: int, split: str, data: SplitData, layers: FrozenLayers
) -> Activations:
    part, start, count = (np.full(len(data), -1, np.int64) for _ in range(3))
    parts = []
    for rank in range(size):
        rows, counts = np.load(local / str(rank) / f"{split}-rows.npy").T
        shape, path = (int(counts.sum()), layers.width), local / str(rank) / f"{split}.states"
        kind = _BITS[layers.dtype]  # an empty file, of a process without rows, cannot be mapped
        parts.append(np.memmap(path, kind, "r", shape=shape) if shape[0] else np.zeros(shape, kind))
        part[rows], count[rows] = rank, counts
        start[rows] = np.cumsum(counts) - counts
    if (part < 0).any():
        raise ValueError("some rows have none")
    return Activations(tuple(parts), part, start, count, getattr(torch, layers.dtype))


def _compute(wanted: Wanted, split: str, local: Path) -> None:
    """The rows of this process: `<split>.states`, [positions, H] as they lie in memory, and
    `<split>-rows.npy` [rows, 2] of their numbers and counts."""
    untrained, layers = wanted.untrained, wanted.layers
    data, team, model = untrained.splits[split], untrained.team, untrained.model
    device = next(model.parameters()).device
    size, training = min(_ACTIVATION_BATCH, untrained.batch_size), model.training
    batches = length_order(data.lengths, size, equal=untrained.collate.equal_lengths)
    rows, counts, done = [], [], 0
    name = f"frozen layers of {model_folder(untrained.name)}, {split}"
    model.eval()
    try:
        with (local / f"{split}.states").open("wb") as file:
            for indices in batches[team.rank :: team.size]:
                if team.size == 1:  # of a team one may have failed, and would answer no more
                    untrained.heed()
                batch = untrained.collate(data.batch(indices))
                moved = {key: tensor.to(device) for key, tensor in batch.items()}
                for row, states in zip(
                    indices.tolist(),
                    states_of(model, layers, moved, untrained.precision),
                    strict=True,
                ):
                    file.write(_activation_bits(states, layers.dtype).tobytes())
                    rows.append(row)
                    counts.append(len(states))
                done += len(indices)
                untrained.experiment.progress.advance(
                    name, done, len(data) // team.size, "documents"
                )
    finally:
        model.train(training)
    if not layers.masked and len(set(counts)) > 1:
        raise ValueError("rows have different lengths, and no attention mask tells which")
    np.save(local / f"{split}-rows.npy", np.array([rows, counts], np.int64).T)


def _activation_bits(states: torch.Tensor, dtype: str) -> Array:
    # Half precision of autocast is kept in what the model's own arithmetic gives: nothing is lost.
    kept = states.to(getattr(torch, dtype)).contiguous()
    found: Array = (kept.view(torch.int16) if kept.element_size() == 2 else kept).numpy()
    return found.astype(_BITS[dtype], copy=False)
