"""A comparison across experiments, on the screen: it is written nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handful.errors import UserError

if TYPE_CHECKING:
    from handful.experiment.context import Experiment

COLUMNS = ("experiment / model", "seed", "tested", "metric", "value", "95 % interval", "accuracy")


def show_across(experiments: Sequence[Experiment], redo: bool, as_json: bool) -> None:
    """Print the table, the verdict and the remarks; with `as_json` one JSON event.

    `UserError` if it is asked to be done again, since nothing of it is kept.
    """
    from handful.cli.console import tell_result
    from handful.pipeline.compare_experiments import compare_across

    if redo:
        raise UserError(
            "--redo is for one experiment",
            where="compare",
            remedy="a comparison across experiments is always done anew: leave --redo out",
        )
    found = compare_across(experiments)
    if as_json:
        print(json.dumps({"event": "comparison", **found}), flush=True)
        return
    progress = experiments[0].progress
    rows = [_format_comparison_row(row, found["metric"]) for row in found["ranking"]]
    progress.table(f"On {found['artifacts']:,} artifacts in common", COLUMNS, rows)
    for sentence in (*found["sentences"], *found["remarks"]):
        progress.note(sentence)
    tell_result(progress, "\n".join(found["sentences"]), again=True)


def _format_comparison_row(row: Mapping[str, Any], metric: str) -> tuple[str, ...]:
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
