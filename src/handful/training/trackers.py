"""Trackers, each behind the same two words: weights & biases, trackio, tensorboard.

Each is imported when it is asked for, and is an extra of the package. What it writes on this
machine goes below `Subject.folder`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from handful.errors import UserError

INIT_SECONDS = 60


class Tracker(Protocol):
    """Where figures go. Whatever it raises is told once; training goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures by name, after `step` steps of training; see `tracking.figures`."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Subject:
    """The run that is told of."""

    project: str
    name: str
    """As a person finds it: experiment, model and seed."""
    id: str
    """The same for a run that goes on after an interruption."""
    config: Mapping[str, Any]
    """Settings, hashes and versions; no secrets."""
    folder: Path
    """Local, and empty."""
    online: bool


class Wandb:
    def __init__(self, subject: Subject) -> None:
        wandb = _import_tracker("wandb")
        self._run = wandb.init(
            project=subject.project,
            name=subject.name,
            id=subject.id,
            resume="allow" if subject.online else None,
            config=dict(subject.config),
            dir=str(subject.folder),
            mode="online" if subject.online else "offline",
            # It is told figures, nothing about the machine, the code or the user's terminal.
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
                init_timeout=INIT_SECONDS,
            ),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class Trackio:
    def __init__(self, subject: Subject) -> None:
        if not subject.online:
            os.environ["TRACKIO_DIR"] = str(subject.folder)  # it is read at the import
            os.environ.pop("TRACKIO_SPACE_ID", None)
        self._trackio = _import_tracker("trackio")
        self._trackio.init(
            project=subject.project,
            name=subject.name,
            config=dict(subject.config),
            resume="allow",
            embed=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._trackio.log(dict(values), step=step)

    def close(self) -> None:
        self._trackio.finish()


class Tensorboard:
    def __init__(self, subject: Subject) -> None:
        _import_tracker("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(subject.folder))
        text = json.dumps(dict(subject.config), indent=2)
        self._writer.add_text("config", f"```json\n{text}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


TRACKERS: Mapping[str, Callable[[Subject], Tracker]] = {
    "wandb": Wandb,
    "trackio": Trackio,
    "tensorboard": Tensorboard,
}


def leaves_files(tracker: str, *, online: bool) -> bool:
    """Does what it writes belong into the store?"""
    return tracker == "tensorboard" or not online


def _import_tracker(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        extra = "trackio" if name == "trackio" else "trackers"
        raise UserError(
            f"{name} is not installed ({error})",
            where="[tracking] TRACKER",
            remedy=f"pip install 'handful[{extra}]', or write none",
        ) from error
