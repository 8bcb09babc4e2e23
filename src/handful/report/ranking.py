"""The part "Ranking and verdict": what comparison.json says, for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from handful.report.drawings import intervals_chart
from handful.report.tables import Cell, Table, num, prose, table
from handful.report.words import probe_name, truncate_report_text

WHOLE = (
    *("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "roc_auc"),
    *("average_precision", "log_loss", "brier", "ece", "ece_calibrated"),
)
"""The metrics that the table of intervals shows, beside the experiment's own."""


def ranking(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the template needs, from comparison.json; None if nothing was compared."""
    if not found:
        return None
    metric, names = found["metric"], _names(found)
    rows = found["ranking"]
    pairs = [_pair(one, metric, found["alpha"], names) for one in found["pairs"]]
    return {
        "sentences": [(text, "NOT beat" in text) for text in found["sentences"]],
        "remarks": found["remarks"],
        "alarmed": found["looks"]["after_verdict"] > 0,
        "metric": metric,
        "ranked": _ranking_table([_ranking_row(row, metric) for row in rows], found),
        "costs": _costs([_ranking_row(row, metric) for row in rows]),
        "baseline": names.get(found["best_baseline"]),
        "chart": _chart(found, metric),
        "gain_chart": _gain_chart(found, metric),
        "pairs": pairs,
        "pair_table": _pair_table(pairs, metric),
        "intervals": _interval_table(found, metric),
    }


def _ranking_table(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> Table:
    names = _names(found)
    loses_to = {
        True: names.get(found.get("best_simple_baseline")),
        False: names.get(found["best_baseline"]),
    }

    def beats(row: Mapping[str, Any]) -> str:
        lost = f"no: does not beat {loses_to[row['is_probe']]}"
        return {None: "", True: "yes", False: lost}[row["beats"]]

    return table(
        f"Ranked by {found['metric']} on validation; the test column is of the first seed, on "
        f"{found['artifacts']:,} artifacts that all were tested on, with 95 % bootstrap intervals",
        [
            *(num("rank"), "model", num("validation"), num("test")),
            num("test over seeds: mean ± sd (range)"),
            *(num("test, less its probe’s"), prose("beats baseline")),
        ],
        [
            (
                f"{row['rank']}",
                Cell(_ranking_name_markup(row), _bad(row)),
                *(row[name] for name in ("validation", "test", "spread", "gain")),
                Cell(beats(row), _bad(row)),
            )
            for row in rows
        ],
        header=1,
        label="The ranking",
    )


def _names(found: Mapping[str, Any]) -> dict[str | None, str]:
    """Each contestant as a person calls it."""
    return {row["model"]: _ranking_name(row) for row in found["ranking"]}


def _ranking_name(row: Mapping[str, Any], most: int = 0) -> str:
    if row.get("probe_of"):
        return probe_name(row["probe_of"], most)
    return truncate_report_text(row["model"], most) if most else str(row["model"])


def _bad(row: Mapping[str, Any]) -> str:
    return "wrong" if row["beats"] is False else ""


def _ranking_name_markup(row: Mapping[str, Any]) -> Markup:
    chosen = Markup(" <strong>(chosen)</strong>") if row["winner"] else ""
    simple = Markup(' <span class="quiet">(baseline)</span>') if row["baseline"] else ""
    return Markup("{}{}{}").format(row["model"], chosen, simple)


def _costs(rows: Sequence[Mapping[str, Any]]) -> Table:
    names = ("seeds", "documents/s", "parameters", "training seconds")
    cells = [(r["model"], f"{r['seeds']}", r["rate"], r["parameters"], r["seconds"]) for r in rows]
    about = "What they cost: speed at the test, size, and training with all seeds"
    return table(about, ["model", *map(num, names)], cells)


def _pair_table(pairs: Sequence[Mapping[str, Any]], metric: str) -> Table:
    bold = Markup("<strong>{}</strong>")
    return table(
        "McNemar's test on the first seed, exact where they seldom disagree; the corrected p "
        "(Holm) decides: below 0.05 the difference is real",
        [
            *("pair", num("only 1st right"), num("only 2nd right"), num("p")),
            *(num("p corrected"), num(f"{metric}, 1st less 2nd"), prose("better")),
        ],
        [
            (
                f"{pair['first']} and {pair['second']}",
                *(pair[name] for name in ("only_first", "only_second", "p")),
                bold.format(pair["p_holm"]) if pair["real"] else pair["p_holm"],
                pair["difference"],
                pair["better"],
            )
            for pair in pairs
        ],
        label="Every pair",
    )


def _interval_table(found: Mapping[str, Any], metric: str) -> Table:
    names = [metric, *(name for name in WHOLE if name != metric)]
    return table(
        f"First seed, on test; 95 % intervals of {found['resamples']:,} bootstrap draws of the "
        "artifacts",
        ["model", *map(num, names)],
        [
            (_ranking_name(row), *(_interval(row, name) for name in names))
            for row in found["ranking"]
        ],
        label="Metrics with intervals",
        css="",
    )


def _chart(found: Mapping[str, Any], metric: str) -> Markup:
    """Every contestant's figure on test with its interval; red is who does not beat the best."""
    rows, bar = [], None
    told = metric if all(metric in row["metrics"] for row in found["ranking"]) else "accuracy"
    for row in found["ranking"]:
        one = row["metrics"][told]
        beside = row["baseline"] and row["model"] != found["best_baseline"]
        beside = beside and not row.get("probe_of")
        if one["value"] is None or beside:
            continue
        css = "c7" if row["baseline"] else "lost" if row["beats_baseline"] is False else "c0"
        name = _ranking_name(row, 30)
        value = one["value"]
        ends = (value, value) if one["low"] is None else (one["low"], one["high"])
        rows.append((name, css, value, *ends))
        bar = value if row["model"] == found["best_baseline"] else bar
    return intervals_chart(rows, bar, f"{told} on test with 95 % intervals")


def _gain_chart(found: Mapping[str, Any], metric: str) -> Markup:
    """What fine-tuning adds to every model over its probe; empty where there are no probes."""
    rows = []
    for row in found["ranking"]:
        one = (row.get("over_probe") or {}).get("metric")
        if one and one["value"] is not None:
            css = {True: "c0", False: "lost", None: "c7"}[row["over_probe"]["better"]]
            rows.append((_ranking_name(row, 30), css, one["value"], one["low"], one["high"]))
    about = f"{metric} on test that fine-tuning adds over the probe, with 95 % intervals"
    return intervals_chart(rows, 0.0, about)


def _ranking_row(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    spread = row["spread"].get(metric) or row["spread"]["accuracy"]
    seconds, rate, parameters = (
        row[name] for name in ("training_seconds", "documents_per_second", "parameters")
    )
    return {
        "rank": row["rank"],
        "model": _ranking_name(row),
        "baseline": row["baseline"],
        "is_probe": bool(row.get("probe_of")),
        "winner": row["winner"],
        "beats": row["beats_baseline"],
        "validation": _figure(row["validation"]["mean"]),
        "test": _interval(row, metric),
        "seeds": len(row["seeds"]),
        "spread": _format_seed_spread(spread),
        "gain": _gain(row),
        "rate": "" if rate is None else f"{rate:,.0f}",
        "parameters": "" if parameters is None else f"{parameters:,}",
        "seconds": "" if seconds is None else f"{seconds:,.1f}",
    }


def _gain(row: Mapping[str, Any]) -> str:
    found = (row.get("over_probe") or {}).get("metric")
    return _format_signed_interval(found) if found and found["value"] is not None else ""


def _pair(
    one: Mapping[str, Any], metric: str, alpha: float, names: Mapping[str | None, str]
) -> dict[str, Any]:
    difference = one["differences"].get(metric)
    told = "" if difference is None else _format_signed_interval(difference)
    return {
        "first": names[one["first"]],
        "second": names[one["second"]],
        "only_first": f"{one['only_first']:,}",
        "only_second": f"{one['only_second']:,}",
        "p": _p(one["p"]),
        "p_holm": _p(one["p_holm"]),
        "real": one["p_holm"] < alpha,
        "difference": told,
        "words": one["words"],
        "better": names.get(one["better"]) or _without_one_better(one, metric, alpha, names),
    }


def _without_one_better(
    one: Mapping[str, Any], metric: str, alpha: float, names: Mapping[str | None, str]
) -> str:
    if one["better_by_metric"] is None:
        return "no real difference"
    if one["p_holm"] < alpha:
        return "each in its own way"
    return f"{names[one['better_by_metric']]}, by {metric} only"


def _interval(row: Mapping[str, Any], name: str) -> str:
    found = row["metrics"].get(name)
    if found is None:
        return _figure(row["own_metrics"].get(name))
    if found["value"] is None:
        return ""
    if found["low"] is None:
        return _figure(found["value"])
    return f"{found['value']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _format_seed_spread(found: Mapping[str, Any]) -> str:
    """Mean ± sd, least to greatest; nothing for a single seed."""
    if found["sd"] is None:
        return ""
    return f"{found['mean']:.3f} ± {found['sd']:.3f} ({found['min']:.3f}–{found['max']:.3f})"


def _format_signed_interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"
