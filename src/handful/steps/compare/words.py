"""The ranking's rows as a small table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handful.progress import Scalar

COLUMNS = (
    *("model", "metric", "validation", "test", "95 % interval", "accuracy"),
    *("beats baseline", "documents/s", "parameters", "trained for"),
)


def cells(row: Mapping[str, Any], metric: str) -> tuple[Scalar, ...]:
    """One row of comparison.json's ranking, for `COLUMNS`."""
    found = row["metrics"].get(metric) or {"value": row["own_metrics"].get(metric)}
    rate, seconds = row["documents_per_second"], row["training_seconds"]
    return (
        f"{row['model']}{' (chosen)' if row['winner'] else ''}",
        metric,
        figure(row["validation"]["mean"]),
        figure(found["value"]),
        "" if found.get("low") is None else f"{found['low']:.3f} to {found['high']:.3f}",
        figure(row["metrics"]["accuracy"]["value"]),
        {None: "", True: "yes", False: "NO"}[row["beats_baseline"]],
        "" if rate is None else f"{rate:,.0f}",
        "" if row["parameters"] is None else f"{row['parameters']:,}",
        "" if seconds is None else f"{seconds:,.1f} s",
    )


def figure(value: float | None) -> str:
    """Three digits; nothing where there is no value."""
    return "" if value is None else f"{value:.3f}"
