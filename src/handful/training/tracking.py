"""What a tracker is told of a run: the lines of metrics.jsonl, by the leader, as they come.

A tracker never stops a training: what it raises is told once, and then it is left alone. (One that
is not installed is a fault of the settings, and is found before the first step.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful.errors import StoreError, UserError
from handful.experiment.context import Experiment
from handful.layout import model_folder
from handful.progress import Progress
from handful.settings import Settings, list_counted_model_settings
from handful.training.trackers import TRACKERS, Subject, Tracker, leaves_files

LIBRARIES = ("handful", "torch", "transformers", "accelerate", "datasets")


class Tracking:
    """Follows the history of one run."""

    def __init__(
        self,
        kind: str,
        name: str,
        progress: Progress,
        folder: Path,
        keep: Callable[[Path], object] | None = None,
    ) -> None:
        """`kind`: TRACKER. `keep` is given the `folder` if the tracker wrote something there."""
        self._kind, self._name, self._progress = kind, name, progress
        self._tracker: Tracker | None = None
        self._folder, self._keep = folder, keep
        self._told = 0

    def begin(self, subject: Subject) -> None:
        """Open the tracker. `UserError` if it is not installed."""
        subject.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._tracker = TRACKERS[self._kind](subject)
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - a library of others; training goes without it
            self._give_up(error)

    def follow(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Tell the lines that are new. After a resume all are: the tracker begins anew."""
        new, self._told = history[self._told :], len(history)
        if self._tracker is None:
            return
        try:
            for line in new:
                self._tracker.log(int(line["step"]), figures(line))
        except Exception as error:  # noqa: BLE001 - see `begin`
            self._give_up(error)

    def end(self) -> None:
        """Close the tracker, and keep what it wrote on this machine."""
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            return
        try:
            tracker.close()
            if self._keep and any(self._folder.rglob("*")):
                self._keep(self._folder)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - see `begin`
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        what = " ".join(str(error).split())[:200]
        self._progress.warn(
            f"{self._name}: {self._kind} is told nothing more ({type(error).__name__}: {what}); "
            "training goes on, and metrics.jsonl has it all"
        )


def tracking(
    experiment: Experiment, model: str, seed: int, environment: Mapping[str, Any], *, leads: bool
) -> Tracking:
    """The tracking of a run, begun; of anyone but the leader, and without TRACKER, it is silent."""
    settings, store, mine = experiment.settings, experiment.store, experiment.layout
    section, folder = settings.tracking, experiment.scratch / "tracking"
    name = f"{settings.experiment.NAME} {model_folder(model)} seed {seed}"
    if section.TRACKER == "none" or not leads:
        return Tracking(section.TRACKER, name, experiment.progress, folder)
    online = section.MODE == "online"
    keep = partial(store.send_tree, prefix=mine.tracking(model, seed))
    left = keep if leaves_files(section.TRACKER, online=online) else None
    found = Tracking(section.TRACKER, name, experiment.progress, folder, left)
    prepared = json.loads(store.read(mine.prepared_record))
    config = _build_tracking_config(settings, prepared, model, seed, environment)
    told = json.dumps(config, sort_keys=True, default=str).encode()
    found.begin(
        Subject(
            project=section.PROJECT or settings.experiment.NAME,
            name=name,
            id=hashlib.sha256(told).hexdigest()[:16],
            config=config,
            folder=folder,
            online=online,
        )
    )
    return found


def figures(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one line of the history, by the name that a tracker shows."""
    found = {"epoch": float(line["epoch"])}
    validation = line.get("validation")
    if isinstance(validation, Mapping):
        numbers = {f"validation/{name}": value for name, value in validation.items()}
    else:
        numbers = {f"train/{k}": v for k, v in line.items() if k not in {"step", "epoch"}}
    return found | {k: float(v) for k, v in numbers.items() if isinstance(v, int | float)}


def _build_tracking_config(
    settings: Settings,
    prepared: Mapping[str, Any],
    model: str,
    seed: int,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Settings without secrets, hashes and versions. `prepared`: prepared.json."""
    return {
        "experiment": settings.experiment.NAME,
        "dataset": Path(settings.prepare.ENCODED_DATA_DIR).name,
        "model": model_folder(model),
        "seed": seed,
        "ledger_hash": prepared["made_from"].get("the ledger", ""),
        "splits_hash": prepared["splits_hash"],
        "data_hash": prepared["data_hash"].get(model_folder(model), ""),
        "settings": dict(list_counted_model_settings(settings, model)),
        "environment": dict(environment),
        "versions": {name: version(name) for name in LIBRARIES},
    }
