"""The report's part about tuning: what was tried, how it went, and what training took from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from handful.errors import Absent
from handful.layout import TUNING, Layout
from handful.report.tables import Table, num, table
from handful.report.tuning_drawings import axis, bars, history, parallel
from handful.report.words import truncate_report_text
from handful.storage.base import Store

_COLOURS = {"complete": "c0", "pruned": "c7"}


def tuning_part(store: Store, mine: Layout, models: Sequence[str]) -> list[dict[str, Any]]:
    """What the template shows of each model's search."""
    found = []
    for model in models:
        try:
            data = store.read(f"{mine.tuning(model)}/{TUNING}")
        except Absent:
            continue
        found.append(shown(json.loads(data)))
    return found


def shown(search: Mapping[str, Any]) -> dict[str, Any]:
    """One search, `search` being what tuning.json holds, in drawings, words and a table."""
    trials = search["trials"]
    states = [trial["state"] for trial in trials]
    best = next(trial for trial in trials if trial["number"] == search["best"])
    return {
        "model": search["model"],
        "metric": search["metric"],
        "words": _describe_tuning_search(search, states, best),
        "history": _history(search),
        "parallel": _parallel(search),
        "importance": search["importance"],
        "importance_table": _importance_table(search["importance"]),
        "importance_bars": bars(search["importance"], "How much each key mattered"),
        "trial_table": _trial_table(search),
        "errors": [(trial["number"], trial["error"]) for trial in trials if trial["error"]],
    }


def _importance_table(shares: Mapping[str, float]) -> Table:
    rows = [(key, f"{share:.3f}") for key, share in shares.items()]
    return table("Importance, as shares of 1", ["key", num("share")], rows, css="")


def _trial_table(search: Mapping[str, Any]) -> Table:
    keys = list(search["ranges"])
    ranges = "; ".join(f"{key} = {text}" for key, text in search["ranges"].items())
    heads = [num("trial"), *map(num, keys), num(search["metric"]), num("validation loss")]
    rows = [
        (
            f"{one['number']}{' (best)' if one['number'] == search['best'] else ''}",
            *(truncate_report_text(one["values"][key]) for key in keys),
            _format_trial_value(one["value"]),
            _format_trial_value(one.get("loss")),
            one["state"],
            str(one["epochs"]),
            f"{one['seconds']:.1f}",
        )
        for one in search["trials"]
    ]
    return table(
        f"Ranges: {ranges}",
        [*heads, "end", num("validations"), num("seconds")],
        rows,
        label=f"Trials of {search['model']}",
    )


def _format_trial_value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _describe_tuning_search(
    search: Mapping[str, Any], states: Sequence[str], best: Mapping[str, Any]
) -> str:
    values = ", ".join(f"{key} = {text}" for key, text in best["values"].items())
    ends = {"pruned": "given up early", "failed": "failed"}
    counts = [f"{states.count(s)} {word}" for s, word in ends.items() if s in states]
    others = f" ({', '.join(counts)})" if counts else ""
    return (
        f"{len(states):,} trials{others}, each with seed {search['seed']} and judged on validation "
        f"alone. Trial {best['number']} was the best, with {search['metric']} {best['value']:.4f}. "
        f"In place of the settings' own values, training used {values}. The value of a best trial "
        "is a little too good, since it was chosen by it; the held-out split is what counts."
    )


def _history(search: Mapping[str, Any]) -> Markup:
    points: list[tuple[float, float, str]] = []
    line: list[tuple[float, float]] = []
    better = max if search["goal"] == "max" else min
    for trial in search["trials"]:
        if trial["value"] is None:
            continue
        number, value = float(trial["number"]), float(trial["value"])
        points.append((number, value, _COLOURS.get(trial["state"], "c7")))
        if trial["state"] == "complete":
            line.append((number, better(line[-1][1], value) if line else value))
    return history(points, line, search["metric"])


def _has_places(values: Mapping[str, str], ranges: Mapping[str, str]) -> bool:
    """The settings as they stand may have values that no range could: words, or 0 by magnitude."""
    for key, text in ranges.items():
        kind = text.partition(" ")[0]
        if kind == "choice":
            continue
        try:
            number = float(values[key])
        except ValueError:
            return False
        if kind == "log" and number <= 0:
            return False
    return True


def _parallel(search: Mapping[str, Any]) -> Markup:
    valued = [
        trial
        for trial in search["trials"]
        if trial["value"] is not None and _has_places(trial["values"], search["ranges"])
    ]
    if not valued:
        return Markup("")
    axes = [
        axis(key, [trial["values"][key] for trial in valued], text.partition(" ")[0])
        for key, text in search["ranges"].items()
    ]
    axes.append(axis(search["metric"], [str(trial["value"]) for trial in valued], "float"))
    return parallel(axes, [trial["number"] for trial in valued], search["best"])
