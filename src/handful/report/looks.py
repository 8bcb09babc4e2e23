"""Every look at the test split, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.experiment import Experiment
from handful.looks import looks_so_far


@dataclass(frozen=True)
class Look:
    """One line of looks.jsonl."""

    when: str
    models: str
    settings: str
    """The beginning of their hash: the same for looks with the same settings, data and weights."""
    remark: str
    bad: bool


def look_rows(experiment: Experiment) -> list[Look]:
    """The looks, the first one first."""
    return [_look(one) for one in looks_so_far(experiment)]


def _look(one: Mapping[str, Any]) -> Look:
    late = bool(one.get("after_verdict"))
    cut_off = "finished" in one and one["finished"] is None
    remarks = ["after a verdict about other models"] * late + ["was cut off"] * cut_off
    models = ", ".join(f"{run['model']} seed {run['seed']}" for run in one.get("runs", ()))
    when, settings = str(one.get("when", "")), str(one.get("settings_hash", ""))
    return Look(when, models, settings[:12], "; ".join(remarks), late)
