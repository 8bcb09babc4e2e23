"""What does fine-tuning add over the model's own frozen features? In words and a tile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handful.report.render import Tile

_PROBE_GAIN_VERDICTS = {
    True: "a real gain",
    None: "which may be chance",
    False: "a real loss: the frozen features alone do better",
}


@dataclass(frozen=True)
class Added:
    """What `compare` found of one model and its probe."""

    metric: str
    value: float
    low: float
    high: float
    better: bool | None
    """None: no real difference."""

    @property
    def interval(self) -> str:
        return f"{self.low:+.3f} to {self.high:+.3f}"


def probe_gain(compared: Mapping[str, Any], model: str) -> Added | None:
    """Of the first seed of `model`; None without a comparison, a probe or an interval."""
    rows = compared.get("ranking", ())
    gain = next((one.get("over_probe") for one in rows if one["model"] == model), None)
    if not gain or gain["metric"]["value"] is None:
        return None
    one = gain["metric"]
    return Added(compared["metric"], one["value"], one["low"], one["high"], gain["better"])


def verdict(compared: Mapping[str, Any], model: str) -> list[tuple[str, bool]]:
    """A sentence about the model, to stand behind the verdict, and whether it is bad news.

    `compared`: comparison.json, or empty.
    """
    found = probe_gain(compared, model)
    if found is None:
        return []
    words = (
        f"Over its probe, a linear model on its frozen features, fine-tuning {model} brings "
        f"{found.value:+.3f} {found.metric} on test ({found.interval}): "
        f"{_PROBE_GAIN_VERDICTS[found.better]}."
    )
    return [(words, found.better is False)]


def tiles(compared: Mapping[str, Any], model: str) -> list[Tile]:
    """One tile; neither green nor red where it may be chance."""
    found = probe_gain(compared, model)
    if found is None:
        return []
    note = f"{found.interval} over the probe" + ("; may be chance" * (found.better is None))
    name = f"{found.metric} by fine-tuning"
    return [Tile(name, f"{found.value:+.3f}", note, found.better is True, found.better is False)]
