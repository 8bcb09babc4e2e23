"""What a tracker is told of a run: the lines of metrics.jsonl, by the leader, as they come.

A tracker never stops a training: what it raises is told once, and then it is left alone. (One that
is not installed is a fault of the settings, and is found before the first step.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful.errors import StoreError, UserError
from handful.experiment.context import Experiment
from handful.layout import model_folder
from handful.settings import list_counted_model_settings
from handful.training.trackers import TRACKERS, Subject, Tracker, leaves_files

LIBRARIES = ("handful", "torch", "transformers", "accelerate", "datasets")


class Tracking:
    """Follows the history of one run."""

    def __init__(self, experiment: Experiment, name: str, place: str = "") -> None:
        """`place`: the folder of the store for what the tracker writes here; empty: nowhere."""
        self._experiment, self._name, self._place = experiment, name, place
        self._tracker: Tracker | None = None
        self._folder = experiment.scratch / "tracking"
        self._told = 0

    def begin(self, subject: Subject) -> None:
        """Open the tracker. `UserError` if it is not installed."""
        subject.folder.mkdir(parents=True, exist_ok=True)
        kind = self._experiment.settings.tracking.TRACKER
        try:
            self._tracker = TRACKERS[kind](subject)
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
            if self._place and any(self._folder.rglob("*")):
                self._experiment.store.send_tree(self._folder, self._place)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - see `begin`
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        kind = self._experiment.settings.tracking.TRACKER
        what = " ".join(str(error).split())[:200]
        self._experiment.progress.warn(
            f"{self._name}: {kind} is told nothing more ({type(error).__name__}: {what}); "
            "training goes on, and metrics.jsonl has it all"
        )


def tracking(
    experiment: Experiment, model: str, seed: int, environment: Mapping[str, Any], *, leads: bool
) -> Tracking:
    """The tracking of a run, begun; of anyone but the leader, and without TRACKER, it is silent."""
    section = experiment.settings.tracking
    name = f"{experiment.settings.experiment.NAME} {model_folder(model)} seed {seed}"
    if section.TRACKER == "none" or not leads:
        return Tracking(experiment, name)
    online = section.MODE == "online"
    place = experiment.layout.tracking(model, seed)
    found = Tracking(
        experiment, name, place if leaves_files(section.TRACKER, online=online) else ""
    )
    config = _build_tracking_config(experiment, model, seed, environment)
    told = json.dumps(config, sort_keys=True, default=str).encode()
    found.begin(
        Subject(
            project=section.PROJECT or experiment.settings.experiment.NAME,
            name=name,
            id=hashlib.sha256(told).hexdigest()[:16],
            config=config,
            folder=experiment.scratch / "tracking",
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
    experiment: Experiment, model: str, seed: int, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings without secrets, hashes and versions."""
    record = json.loads(experiment.store.read(experiment.layout.prepared_record))
    return {
        "experiment": experiment.settings.experiment.NAME,
        "dataset": Path(experiment.layout.prepared).name,
        "model": model_folder(model),
        "seed": seed,
        "ledger_hash": record["made_from"].get("the ledger", ""),
        "splits_hash": record["splits_hash"],
        "data_hash": record["data_hash"].get(model_folder(model), ""),
        "settings": dict(list_counted_model_settings(experiment.settings, model)),
        "environment": dict(environment),
        "versions": {name: version(name) for name in LIBRARIES},
    }
