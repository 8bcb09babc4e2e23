"""From what was gathered to the page: words, drawings and the template."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from handful.report.calibration import calibration_part, with_interval
from handful.report.documents import Document
from handful.report.drawings import draw_stacked_bar, line_chart
from handful.report.gather import FateRow, LabelScore, Result
from handful.report.tables import Cell, Heads, Row, Table, num, prose, table
from handful.report.words import example, moment, probe_name, truncate_report_text

SHADES = 5
MOST_LABELS = 60
"""A matrix of more would be neither read nor small."""
SAME = 1e-9
FIRST = (
    *("accuracy", "balanced_accuracy", "macro_f1", "macro_precision", "macro_recall"),
    *("weighted_f1", "weighted_precision", "weighted_recall", "mcc"),
    *("roc_auc", "average_precision", "log_loss", "log_loss_calibrated"),
    *("brier", "brier_calibrated", "ece", "ece_calibrated"),
)
"""The order of the metrics; the user's own come after them."""


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page."""

    name: str
    value: str
    note: str
    good: bool = False
    bad: bool = False


def page(context: Mapping[str, Any]) -> bytes:
    """The whole page. A document's text is escaped; only our own style and script may run."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("handful.report"),
        autoescape=jinja2.select_autoescape(["html.j2"], default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = truncate_report_text
    environment.filters["moment"] = moment
    # Files of this package, no one's text.
    style = Markup(environment.from_string(_template("report.css")).render())  # nosec B704
    script = Markup(_template("report.js"))  # nosec B704
    return (
        environment.get_template("report.html.j2")
        .render(
            **context,
            style=style,
            script=script,
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
        )
        .encode()
    )


def fate_bar(fates: Sequence[FateRow]) -> Markup:
    parts = [(row.fate, row.count, f"c{index % 8}") for index, row in enumerate(fates)]
    told = ", ".join(f"{row.fate} {row.count:,}" for row in fates)
    return draw_stacked_bar(parts, f"Ledger rows by fate: {told}")


def result_part(
    result: Result, metric: str, index: int, alone: bool, documents: Mapping[str, Document]
) -> dict[str, Any]:
    """What the template needs for one model with one seed.

    `documents`: of the artifacts that are examples of an error, by id.
    """
    title = "The model" if alone else format_result_name(result)
    validation = [(epoch, values["loss"]) for epoch, values in result.curve]
    loss_chart = line_chart(
        [("training", "c0", result.loss), ("validation", "c2", validation)],
        "epoch",
        f"Training and validation loss of {result.model} by epoch",
    )
    values = [(epoch, found[metric]) for epoch, found in result.curve]
    return {
        "anchor": f"result-{index}",
        "title": title,
        "found": result,
        "metric": metric,
        "duration": duration(result.seconds),
        "loss_chart": loss_chart,
        "metric_chart": line_chart(
            [(metric, "c0", values)], "epoch", f"{metric} on validation by epoch"
        ),
        "curve": _curve_table(result, metric),
        "metrics": _metric_table(result),
        "scores": _score_table(result, title),
        "matrix": _matrix_rows(result),
        "matrix_labels": [result.labels[n] for n in _in_matrix(result)],
        "matrix_left_out": len(_with_answers(result)) - len(_in_matrix(result)),
        "absent": _absent(result),
        "confused": _confusion_table(result, f"result-{index}", documents),
        "mistakes": [(one, documents.get(one.artifact_id)) for one in result.mistakes],
        "calibration": calibration_part(result.measured),
    }


def format_result_name(result: Result, form: str = "{}, seed {}") -> str:
    """What a person calls it; `form` of what has seeds: its model and its seed."""
    if result.probe_of:
        return probe_name(result.probe_of)
    return form.format(result.model, result.seed)


def majority(result: Result, majority_label: str) -> dict[str, float]:
    """Accuracy and macro-F1 of always answering the most frequent label of train."""
    support = {score.label: score.support for score in result.scores}
    total, right = sum(support.values()), support.get(majority_label, 0)
    tested = [label for label, count in support.items() if count]
    f1 = 2 * right / (total + right) if right else 0.0
    return {"accuracy": right / total, "macro_f1": f1 / max(len(tested), 1)}


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _curve_table(result: Result, metric: str) -> Table:
    rows = [
        (
            f"{epoch:g}",
            *("" if math.isnan(one) else f"{one:.4f}" for one in (found["loss"], found[metric])),
        )
        for epoch, found in result.curve
    ]
    heads: Heads = [num("epoch"), num("validation loss"), num(metric)]
    return table("Validation after each epoch", heads, rows, css="")


def _metric_table(result: Result) -> Table:
    """Whole metrics only: those of single labels have a table of their own."""
    names = [name for name in result.metrics if not _is_per_label(name, result.labels)]
    intervals = result.measured.get("intervals", {})

    def told(name: str) -> str:
        value = result.metrics[name]
        found = intervals.get(name)
        # A metric of the user's that bears one of our names has a value of its own, no interval.
        if found is None or abs(found["value"] - value) > SAME:
            return f"{value:.4f}"
        return with_interval(found)

    validation = {name: f"{value:.4f}" for name, value in result.validation.items()}
    rows = [
        (name, told(name), validation.get(name, ""))
        for name in sorted(names, key=_metric_render_order)
    ]
    about = "On the held-out split, with 95 % intervals, and on validation at the best epoch"
    return table(about, ["metric", num("test"), num("validation")], rows)


def _score_table(result: Result, title: str) -> Table:
    names = ("artifacts", "precision", "recall", "F1", "ROC-AUC", "average precision")
    there = {result.labels[number] for number in _with_answers(result)}
    return table(
        "On the held-out split, with 95 % intervals",
        ["label", *map(num, names)],
        [(s.label, f"{s.support:,}", *_score_cells(s)) for s in result.scores if s.label in there],
        label=f"Figures by label of {title}",
    )


def _score_cells(score: LabelScore) -> list[Cell]:
    meter = Markup(
        '{}<svg role="presentation" viewBox="0 0 100 4" preserveAspectRatio="none">'
        '<rect class="track" width="100" height="4"/>'
        '<rect class="fill" width="{}" height="4"/></svg>'
    )
    precision, recall, f1, *others = score.told
    bar = meter.format(f1, f"{score.f1 * 100:.1f}")
    return [Cell(precision), Cell(recall), Cell(bar, "meter"), *map(Cell, others)]


def _confusion_table(
    result: Result, anchor: str, documents: Mapping[str, Document]
) -> Table | None:
    rows = []
    for number, kind in enumerate(result.confused):
        shown = Markup("").join(
            example(one.artifact_id, f"{one.confidence:.0%} sure", documents.get(one.artifact_id))
            for one in kind.examples
        )
        told = (kind.label, kind.prediction, f"{kind.count:,}", f"{kind.share * 100:.1f} %", shown)
        rows.append(Row(tuple(map(Cell, told)), f"{anchor}-kind-{number}"))
    heads: Heads = [
        "true label",
        "predicted",
        num("artifacts"),
        num("of the label"),
        prose("examples"),
    ]
    about = "The most frequent kinds of error, with the surest examples of each"
    return table(about, heads, rows) if rows else None


def _metric_render_order(name: str) -> tuple[int, str]:
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def _is_per_label(name: str, labels: Iterable[str]) -> bool:
    return any(name.endswith(f".{label}") for label in labels)


def _with_answers(result: Result) -> list[int]:
    """The labels that an artifact bears or an answer gives; the others' rows would be empty."""
    return [
        n
        for n, row in enumerate(result.matrix)
        if any(row) or any(other[n] for other in result.matrix)
    ]


def _absent(result: Result) -> str:
    """Of the labels that stand in no table, why."""
    count = len(result.labels) - len(_with_answers(result))
    if not count:
        return ""
    who, it = ("One label stands", "it") if count == 1 else (f"{count:,} labels stand", "them")
    return f"{who} in no row: no held-out artifact bears {it}, and no answer gives {it}."


def _in_matrix(result: Result) -> list[int]:
    """The labels that the matrix shows, by id: of too many those with the most mistakes."""
    there = _with_answers(result)
    if len(there) <= MOST_LABELS:
        return there
    missed = {n: sum(result.matrix[n]) - result.matrix[n][n] for n in there}
    return sorted(sorted(there, key=lambda n: (-missed[n], n))[:MOST_LABELS])


def _matrix_rows(result: Result) -> list[dict[str, Any]]:
    rows = []
    kinds = {(kind.label, kind.prediction): n for n, kind in enumerate(result.confused)}
    shown = _in_matrix(result)
    for true in shown:
        counts = result.matrix[true]
        total = sum(counts) or 1
        cells = [
            {
                "count": counts[predicted],
                "right": true == predicted,
                "kind": kinds.get((result.labels[true], result.labels[predicted])),
                # Shades by the share of the row; anything above zero is seen.
                "heat": max(1, round(counts[predicted] / total * SHADES))
                if counts[predicted]
                else 0,
            }
            for predicted in shown
        ]
        errors = sum(counts) - counts[true]
        rows.append(
            {"label": result.labels[true], "cells": cells, "size": sum(counts), "errors": errors}
        )
    return rows


def _template(name: str) -> str:
    return files("handful.report").joinpath("templates", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
