"""Checkpoints in the experiment's store: whole or absent, and checked before they are used.

One folder each, `step-00000123/`: `model.safetensors`, `tensors.pt` (optimizer, random state;
plain tensors only, loaded with `weights_only`), `run.json` (the position and the history) and,
written last, `checkpoint.json` with the hash of each of them. The last two and the best one are
kept. A checkpoint whose hashes do not agree is passed over, with a warning, for the one before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from handful.errors import Absent
from handful.progress import Progress
from handful.storage.base import Store
from handful.training.state import RunState

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
        self, store: Store, prefix: str, scratch: Path, run: Mapping[str, str], progress: Progress
    ) -> None:
        """`run` is the fingerprint of what the run is made from; it is kept in each marker."""
        self._store, self._prefix, self._scratch = store, prefix, scratch
        self._run, self._progress = dict(run), progress

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
        (folder / MARKER).write_text(json.dumps(marker, indent=2))
        self._store.send_tree(folder, self._key(state.step), last=MARKER)
        shutil.rmtree(folder)
        self._prune(state)

    def last_good(self) -> Checkpoint | None:
        """The newest that is whole, and whose best one is whole; None if there is none.

        `made_from` of it may differ from this run's: see `made_from`.
        """
        for step in sorted(self._steps(), reverse=True):
            found = self._opened(step)
            if found is None:
                continue
            best = found.state.best_step
            if best in (0, step) or self._opened(best) is not None:
                return found
        return None

    def at(self, step: int) -> Checkpoint:
        """The one of that step; `Absent` if it is not there or not whole."""
        found = self._opened(step)
        if found is None:
            raise Absent(
                f"the best checkpoint, of step {step}, is not whole",
                where=f"{self._store.url}/{self._key(step)}",
                remedy="run again: training goes on from the last checkpoint that is",
            )
        return found

    def made_from(self) -> Mapping[str, str] | None:
        """What the newest readable checkpoint was made from; None if there is none."""
        for step in sorted(self._steps(), reverse=True):
            marker = self._marker(step)
            if marker is not None:
                return {str(name): str(value) for name, value in marker["made_from"].items()}
        return None

    def remove_all(self) -> None:
        for step in self._steps():
            self._remove(step)
        self._store.delete_tree(self._prefix)

    def _key(self, step: int) -> str:
        return f"{self._prefix}/step-{step:08d}"

    def _steps(self) -> set[int]:
        """The steps of which there is a marker."""
        steps = set()
        for rows in self._store.list(f"{self._prefix}/step-"):
            for key in rows.column("key").to_pylist():
                folder, _, name = key.rpartition("/")
                number = folder.rpartition("-")[2]
                if name == MARKER and number.isdecimal():
                    steps.add(int(number))
        return steps

    def _marker(self, step: int) -> dict[str, Any] | None:
        key = f"{self._key(step)}/{MARKER}"
        try:
            marker = json.loads(self._store.read(key))
            complete = marker["format"] == FORMAT and marker["step"] == step
            if complete and isinstance(marker["files"], dict) and marker["made_from"] is not None:
                return dict(marker)
            what = "is of another format"
        except (Absent, ValueError, KeyError, TypeError) as error:
            what = f"cannot be read: {error}"
        self._progress.warn(f"the checkpoint of step {step} is passed over: its marker {what}")
        return None

    def _opened(self, step: int) -> Checkpoint | None:
        marker = self._marker(step)
        if marker is None:
            return None
        try:
            folder = self._store.fetch_tree(self._key(step), self._scratch / "fetched")
            for name, expected in marker["files"].items():
                if not (folder / name).is_file() or file_hash(folder / name) != expected:
                    raise ValueError(f"{name} is not as it was written")
            state = RunState(**json.loads((folder / RUN).read_text()))
        except (Absent, OSError, ValueError, TypeError) as error:
            self._progress.warn(f"the checkpoint of step {step} is passed over: {error}")
            return None
        environment, labels = marker["environment"], marker.get("label2id", {})
        return Checkpoint(folder, state, environment, marker["made_from"], labels)

    def _prune(self, state: RunState) -> None:
        newest = sorted(self._steps(), reverse=True)[:KEPT]
        for step in self._steps() - {*newest, state.best_step}:
            self._remove(step)

    def _remove(self, step: int) -> None:
        # The marker first: what is half removed must not look whole.
        self._store.delete([f"{self._key(step)}/{MARKER}"])
        self._store.delete_tree(self._key(step))


def file_hash(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
