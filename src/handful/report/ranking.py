"""The part "Ranking and verdict": what comparison.json says, for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from handful.errors import Absent
from handful.experiment import Experiment
from handful.report.drawings import intervals_chart
from handful.report.render import shortened

WHOLE = (
    *("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "roc_auc"),
    *("average_precision", "log_loss", "ece", "ece_calibrated"),
)
"""The metrics that the table of intervals shows, beside the experiment's own."""


def ranking(experiment: Experiment) -> dict[str, Any] | None:
    """What the template needs; None if nothing was compared."""
    try:
        found = json.loads(experiment.store.read(experiment.layout.comparison))
    except Absent:
        return None
    metric = found["metric"]
    names = [metric, *(name for name in WHOLE if name != metric)]
    return {
        "sentences": [(text, "NOT beat" in text) for text in found["sentences"]],
        "remarks": found["remarks"],
        "alarmed": found["looks"]["after_verdict"] > 0,
        "metric": metric,
        "artifacts": f"{found['artifacts']:,}",
        "rows": [_row(row, metric) for row in found["ranking"]],
        "baseline": found["best_baseline"],
        "chart": _chart(found, metric),
        "pairs": [_pair(one, metric, found["alpha"]) for one in found["pairs"]],
        "names": names,
        "intervals": [
            (row["model"], [_interval(row, name) for name in names]) for row in found["ranking"]
        ],
        "resamples": f"{found['resamples']:,}",
        "winner": found["winner"],
    }


def chosen_model(experiment: Experiment) -> str | None:
    """The winner's folder; None if nothing was compared."""
    found = ranking(experiment)
    return str(found["winner"]) if found else None


def _chart(found: Mapping[str, Any], metric: str) -> Markup:
    """Every contestant's figure on test with its interval; red is who does not beat the best."""
    rows = []
    for row in found["ranking"]:
        one = row["metrics"].get(metric) or row["metrics"]["accuracy"]
        beside = row["baseline"] and row["model"] != found["best_baseline"]
        if one["value"] is None or beside:
            continue
        css = "lost" if row["beats_baseline"] is False else "c7" if row["baseline"] else "c0"
        name = shortened(row["model"], 30)
        rows.append((name, css, one["value"], one["low"], one["high"]))
    bars = [row for row in rows if row[0] == shortened(found["best_baseline"] or "", 30)]
    told = metric if metric in found["ranking"][0]["metrics"] else "accuracy"
    bar = bars[0][2] if bars else None
    return intervals_chart(rows, bar, f"{told} on test with 95 % intervals")


def _row(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    spread = row["spread"].get(metric) or row["spread"]["accuracy"]
    seconds, rate, parameters = (
        row[name] for name in ("training_seconds", "documents_per_second", "parameters")
    )
    return {
        "rank": row["rank"],
        "model": row["model"],
        "baseline": row["baseline"],
        "winner": row["winner"],
        "beaten": row["beats_baseline"] is False,
        "beats": {None: "", True: "yes", False: "no"}[row["beats_baseline"]],
        "validation": _figure(row["validation"]["mean"]),
        "test": _interval(row, metric),
        "seeds": len(row["seeds"]),
        "spread": _spread(spread),
        "rate": "" if rate is None else f"{rate:,.0f}",
        "parameters": "" if parameters is None else f"{parameters:,}",
        "seconds": "" if seconds is None else f"{seconds:,.1f}",
    }


def _pair(one: Mapping[str, Any], metric: str, alpha: float) -> dict[str, Any]:
    difference = one["differences"].get(metric)
    told = "" if difference is None else _signed(difference)
    return {
        "first": one["first"],
        "second": one["second"],
        "only_first": f"{one['only_first']:,}",
        "only_second": f"{one['only_second']:,}",
        "p": _p(one["p"]),
        "p_holm": _p(one["p_holm"]),
        "real": one["p_holm"] < alpha,
        "difference": told,
        "words": one["words"],
        "better": one["better"] or _without_one_better(one, metric, alpha),
    }


def _without_one_better(one: Mapping[str, Any], metric: str, alpha: float) -> str:
    if one["better_by_metric"] is None:
        return "no real difference"
    if one["p_holm"] < alpha:
        return "each in its own way"
    return f"{one['better_by_metric']}, by {metric} only"


def _interval(row: Mapping[str, Any], name: str) -> str:
    found = row["metrics"].get(name)
    if found is None:
        return _figure(row["own_metrics"].get(name))
    if found["value"] is None:
        return ""
    if found["low"] is None:
        return _figure(found["value"])
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _spread(found: Mapping[str, Any]) -> str:
    """Mean ± sd, least to greatest; nothing for a single seed."""
    if found["sd"] is None:
        return ""
    return f"{found['mean']:.3f} ± {found['sd']:.3f} ({found['min']:.3f}–{found['max']:.3f})"


def _signed(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"
