"""The ranking's rows as a small table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handful.progress import Scalar

COLUMNS = (
    *("model", "metric", "validation", "test", "95 % interval", "accuracy"),
    *("beats baseline", "documents/s", "parameters", "trained for"),
)
OVER_PROBE = "over its probe"


def table_rows(
    ranking: Sequence[Mapping[str, Any]], metric: str
) -> tuple[tuple[str, ...], list[tuple[Scalar, ...]]]:
    """The columns and the rows; what fine-tuning adds is a column where there are probes."""
    if not any(row.get("over_probe") for row in ranking):
        return COLUMNS, [cells(row, metric) for row in ranking]
    rows = [(*cells(row, metric), format_probe_gain(row)) for row in ranking]
    return (*COLUMNS, OVER_PROBE), rows


def format_probe_gain(row: Mapping[str, Any]) -> str:
    """What the model's fine-tuning adds over its probe; nothing where that is not known."""
    found = (row.get("over_probe") or {}).get("metric") or {}
    if found.get("value") is None:
        return ""
    return f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


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
