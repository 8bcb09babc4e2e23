"""Checkpoints in the experiment's store: whole or absent, and checked before they are used.

One folder each, `step-00000123/`: `model.safetensors`, `tensors.pt` (optimizer, random state;
plain tensors only, loaded with `weights_only`), `run.json` (the position and the history) and,
written last, `checkpoint.json` with the hash of each of them. The last two and the best one are
kept. A checkpoint whose hashes do not agree is passed over, with a warning, for the one before.

Their names end in whoever writes them (`owner`: a holder of the lock, or a job elsewhere), so that
two trainings never write to the same files: `checkpoints/step-00000123-<owner>/`. A training that
goes on with what another has left renames it to its own, and `owner.json` says so: the other one,
should it only have slept, stops at its next checkpoint. Those of earlier builds name nobody, and
are taken in the same way; such a build does not see these, and trains anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_model, save_model

from handful.errors import Absent, Damaged, Locked
from handful.files import checksums
from handful.progress import Progress
from handful.records.moments import current_moment
from handful.storage.base import Store
from handful.training.loop.state import RunState

OWNER = "owner.json"
MARKER, WEIGHTS, TENSORS, RUN = "checkpoint.json", "model.safetensors", "tensors.pt", "run.json"
FORMAT = 2
"""2: the random state of every process."""
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One that was found good."""

    folder: Path
    """Local; to be read only."""
    state: RunState
    environment: Mapping[str, Any]
    """What else the bits depend on: threads, precision, device, number of processes."""
    made_from: Mapping[str, str] = field(default_factory=dict)
    """The fingerprint of its run."""
    label2id: Mapping[str, int] = field(default_factory=dict)
    beginning: Mapping[str, Any] = field(default_factory=dict)
    """As `head_start.Beginning` has it; empty in those of earlier builds."""
    places: tuple[tuple[str, int], ...] = ()
    """Where in the store it lies, and of which step; the best one before it, too."""

    @property
    def batch_size(self) -> int:
        """Of the steps before it."""
        return self.state.batch_size or int(self.made_from.get("[train] BATCH_SIZE", 0))

    @property
    def weights(self) -> Path:
        """A safetensors file."""
        return self.folder / WEIGHTS

    def load_weights(self, model: torch.nn.Module) -> None:
        load_model(model, str(self.weights), strict=True)

    def tensors(self) -> dict[str, Any]:
        """The optimizer's and generators' state, on the CPU."""
        loaded: dict[str, Any] = torch.load(
            self.folder / TENSORS, map_location="cpu", weights_only=True
        )
        return loaded


class Checkpoints:
    """The checkpoints of one run (one model, one seed)."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        scratch: Path,
        run: Mapping[str, str],
        progress: Progress,
        owner: str = "",
    ) -> None:
        """`run` is the fingerprint of what the run is made from; it is kept in each marker.

        `owner` ends the names of folders that no other training writes to; without one they name
        nobody.
        """
        self._store, self._prefix, self._scratch = store, prefix, scratch
        self._run, self._progress, self._owner = dict(run), progress, owner
        self._suffix = f"-{owner}" if owner else ""

    def begin(self, found: Checkpoint | None) -> None:
        """Make what `found` needs this training's own, and forget what else others have left.

        From now on whoever has left it writes no more: see `check_owner`.
        """
        if not self._owner:
            return
        told = {"owner": self._owner, "since": current_moment()}
        self._store.write(f"{self._prefix}/{OWNER}", json.dumps(told).encode())
        for place, step in found.places if found else ():
            if place != self._key(step):
                self._remove(self._key(step))
                self._store.move_tree(place, self._key(step), last=MARKER)
        for folder, step in self._folders():
            if folder != self._key(step):
                self._remove(folder)
        for name in self._others():
            self._store.delete_tree(f"{self._prefix}/{name}")

    def check_owner(self) -> None:
        """`Locked` if another training has taken these checkpoints over.

        A lock is not enough: a job on managed machines goes on without its driver's. Where nobody
        is named, a driver has forgotten them that follows the job (`--redo train`).
        """
        if not self._owner:
            return
        key = f"{self._prefix}/{OWNER}"
        try:
            owner = str(json.loads(self._store.read(key))["owner"])
        except (Absent, ValueError, KeyError, TypeError):
            return
        if owner != self._owner:
            raise Locked(
                f"another training has taken over ({owner})",
                where=f"{self._store.url}/{key}",
                remedy="run the same command again, when the other one is through",
            )

    def save(
        self,
        model: torch.nn.Module,
        tensors: Mapping[str, Any],
        state: RunState,
        environment: Mapping[str, Any],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write one for `state.step`, then remove those that are not needed any more.

        `about`: what else a person may want to know of it: the label map, the settings.
        """
        self.check_owner()
        folder = self._scratch / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # save_model knows weights that are shared between layers; each is written once.
        save_model(model, str(folder / WEIGHTS))
        torch.save(dict(tensors), folder / TENSORS)
        (folder / RUN).write_text(json.dumps(state.to_json()))
        marker = {
            "format": FORMAT,
            "step": state.step,
            "made_from": self._run,
            "environment": dict(environment),
            **(about or {}),
            "files": {name: file_hash(folder / name) for name in (WEIGHTS, TENSORS, RUN)},
        }
        (folder / MARKER).write_bytes(checksums.seal(json.dumps(marker, indent=2).encode()))
        self._store.send_tree(folder, self._key(state.step), last=MARKER)
        shutil.rmtree(folder)
        self._prune(state)

    def last_good(self) -> Checkpoint | None:
        """The newest that is whole, and whose best one is whole; None if there is none.

        `made_from` of it may differ from this run's: see `made_from`.
        """
        folders = self._folders()
        for folder, step in folders:
            found = self._open_checkpoint(folder, step)
            if found is None:
                continue
            best = found.state.best_step
            never = not best and found.state.best_value is None
            if best == step or never:
                return found
            for place, number in folders:
                if number == best and self._open_checkpoint(place, number) is not None:
                    return replace(found, places=(*found.places, (place, number)))
        return None

    def at(self, step: int) -> Checkpoint:
        """The one of that step; `Absent` if it is not there or not whole."""
        opened = (self._open_checkpoint(folder, n) for folder, n in self._folders() if n == step)
        found = next(filter(None, opened), None)
        if found is None:
            raise Absent(
                f"the best checkpoint, of step {step}, is not whole",
                where=f"{self._store.url}/{self._key(step)}",
                remedy="run again: training goes on from the last checkpoint that is",
            )
        return found

    def made_from(self) -> Mapping[str, str] | None:
        """What the newest readable checkpoint was made from; None if there is none."""
        for folder, step in self._folders():
            marker = self._marker(folder, step)
            if marker is not None:
                return {str(name): str(value) for name, value in marker["made_from"].items()}
        return None

    def remove_all(self) -> None:
        """Remove this training's own, and the folder with them if no other's are there."""
        for folder, step in self._folders():
            if folder == self._key(step):
                self._remove(folder)
        for name in self._names() - self._others():  # of which no marker is left
            self._store.delete_tree(f"{self._prefix}/{name}")
        if self._owner:
            self._store.delete([f"{self._prefix}/{OWNER}"])

    def forget(self) -> None:
        """Remove all that stands there, whosever it is."""
        for folder, _ in self._folders():
            self._remove(folder)
        self._store.delete_tree(self._prefix)

    def _key(self, step: int) -> str:
        return f"{self._prefix}/step-{step:08d}{self._suffix}"

    def _folders(self) -> list[tuple[str, int]]:
        """Folder and step wherever there is a marker; the newest step first, of one this
        training's own."""
        found = []
        for rows in self._store.list(f"{self._prefix}/step-"):
            for key in _list_checkpoint_keys(rows):
                folder, _, name = key.rpartition("/")
                number = folder.rpartition("/step-")[2].partition("-")[0]
                if name == MARKER and number.isdecimal():
                    found.append((folder, int(number)))
        return sorted(found, key=lambda one: (-one[1], one[0] != self._key(one[1]), one[0]))

    def _names(self) -> set[str]:
        """The folders of checkpoints, whole or not."""
        keys = (
            key
            for rows in self._store.list(f"{self._prefix}/")
            for key in _list_checkpoint_keys(rows)
        )
        return {key.removeprefix(f"{self._prefix}/").partition("/")[0] for key in keys} - {OWNER}

    def _others(self) -> set[str]:
        """Those that are not this training's own."""
        return {
            name
            for name in self._names()
            if name.removeprefix("step-").partition("-")[2] != self._owner
        }

    def _marker(self, folder: str, step: int) -> dict[str, Any] | None:
        key = f"{folder}/{MARKER}"
        try:
            marker = json.loads(self._store.read(key))
            complete = marker["format"] == FORMAT and marker["step"] == step
            if complete and isinstance(marker["files"], dict) and marker["made_from"] is not None:
                return dict(marker)
            what = "is of another format"
        except (Absent, Damaged, ValueError, KeyError, TypeError) as error:
            what = f"cannot be read: {error}"
        self._progress.warn(f"the checkpoint of step {step} is passed over: its marker {what}")
        return None

    def _open_checkpoint(self, place: str, step: int) -> Checkpoint | None:
        marker = self._marker(place, step)
        if marker is None:
            return None
        try:
            folder = self._store.fetch_tree(place, self._scratch / "fetched")
            for name, expected in marker["files"].items():
                if not (folder / name).is_file() or file_hash(folder / name) != expected:
                    raise ValueError(f"{name} is not as it was written")
            state = RunState(**json.loads((folder / RUN).read_text()))
        except (Absent, OSError, ValueError, TypeError) as error:
            self._progress.warn(f"the checkpoint of step {step} is passed over: {error}")
            return None
        environment, labels = marker["environment"], marker.get("label2id", {})
        places, began = ((place, step),), marker.get("beginning", {})
        return Checkpoint(folder, state, environment, marker["made_from"], labels, began, places)

    def _prune(self, state: RunState) -> None:
        mine = [(folder, step) for folder, step in self._folders() if folder == self._key(step)]
        needed = {*(step for _, step in mine[:KEPT]), state.best_step}
        for folder, step in mine:
            if step not in needed:
                self._remove(folder)

    def _remove(self, folder: str) -> None:
        # The marker first: what is half removed must not look whole.
        self._store.delete([f"{folder}/{MARKER}"])
        self._store.delete_tree(folder)


def _list_checkpoint_keys(rows: pa.RecordBatch) -> list[str]:
    return [str(key) for key in rows.column("key").to_pylist()]


def file_hash(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
