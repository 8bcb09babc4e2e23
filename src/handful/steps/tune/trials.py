"""One trial, and what of it stands in the store: `trial.json`, written last."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from handful.errors import Absent, Damaged
from handful.layout import TRIAL, Layout
from handful.progress import Progress
from handful.storage.base import Store


class State(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    values: Mapping[str, str]
    """Key of `[train]`, or `user.KEY` → text."""
    state: State
    made_from: Mapping[str, str]
    value: float | None = None
    """The best METRIC on validation; None if it failed."""
    best_epoch: float = 0.0
    seconds: float = 0.0
    seen: tuple[float, ...] = ()
    """METRIC after each validation."""
    error: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On validation, at the best epoch."""
    loss: float | None = None
    """On validation, at the best epoch; None in trials of before it was written down."""
    recipe: Mapping[str, str] = field(default_factory=dict)
    """What those of its values that were `auto` stood for."""

    @property
    def tried(self) -> dict[str, str]:
        """Its values, with what `auto` stood for."""
        return {key: self.recipe.get(key, text) for key, text in self.values.items()}

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The trial; ValueError, KeyError or TypeError if `data` is none.

        One whose value is no number has failed: there is nothing to compare it by.
        """
        raw: dict[str, Any] = json.loads(data)
        known = {one.name: raw[one.name] for one in fields(cls) if one.name in raw}
        found = cls(**{**known, "state": State(known["state"]), "seen": tuple(known["seen"])})
        if found.state is not State.FAILED and not _finite(found):
            why = f"METRIC was no number after epoch {len(found.seen)}"
            return cls(found.number, found.values, State.FAILED, found.made_from, error=why)
        return found


def _finite(trial: Trial) -> bool:
    return trial.value is not None and all(map(math.isfinite, (trial.value, *trial.seen)))


def read(store: Store, layout: Layout, model: str, number: int, progress: Progress) -> Trial | None:
    """The trial as it stands; None if it has not ended, or its record is damaged."""
    where = key(layout, model, number)
    try:
        return Trial.from_json(store.read(where))
    except Absent:
        return None
    except (Damaged, ValueError, KeyError, TypeError) as error:
        progress.warn(f"{where} is damaged: {error}")
        return None


def numbers(store: Store, layout: Layout, model: str) -> list[int]:
    """Of the trials that have ended, in order."""
    home = f"{layout.tuning(model)}/"
    keys = (k for rows in store.list(home) for k in rows.column("key").to_pylist())
    named = (re.fullmatch(rf"trial-(\d+)/{re.escape(TRIAL)}", k.removeprefix(home)) for k in keys)
    return sorted(int(match[1]) for match in named if match)


def write(store: Store, layout: Layout, model: str, trial: Trial) -> None:
    store.write(key(layout, model, trial.number), trial.to_json())


def key(layout: Layout, model: str, number: int) -> str:
    return f"{layout.trial(model, number)}/{TRIAL}"
