"""A comparison across experiments, on the screen: it is written nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handful.progress import Progress

COLUMNS = ("experiment / model", "seed", "tested", "metric", "value", "95 % interval", "accuracy")


def show(progress: Progress, found: Mapping[str, Any], as_json: bool) -> None:
    """Print the table, the verdict and the remarks; with `as_json` one JSON event."""
    if as_json:
        print(json.dumps({"event": "comparison", **found}, ensure_ascii=False), flush=True)
        return
    rows = [_row(row, found["metric"]) for row in found["ranking"]]
    progress.table(f"On {found['artifacts']:,} artifacts in common", COLUMNS, rows)
    for sentence in (*found["sentences"], *found["remarks"]):
        progress.note(sentence)


def _row(row: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    value = row["metrics"].get(metric, {"value": None})
    low, high = value.get("low"), value.get("high")
    return (
        row["model"],
        str(row["seed"]),
        f"{row['artifacts_tested']:,}",
        metric,
        "" if value["value"] is None else f"{value['value']:.3f}",
        "" if low is None else f"{low:.3f} to {high:.3f}",
        f"{row['metrics']['accuracy']['value']:.3f}",
    )
