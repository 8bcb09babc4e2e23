"""From what was gathered to the page: words, drawings and the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from handful.report.drawings import line_chart, stacked_bar
from handful.report.gather import FateRow, Result

SHADES = 5


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
    environment.filters["short"] = shortened
    style = Markup(environment.from_string(_template("report.css")).render())
    script = Markup(_template("report.js"))
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


def shortened(text: str, most: int = 44) -> str:
    """At most `most` characters, and nothing that moves a cursor."""
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def fate_bar(fates: Sequence[FateRow]) -> Markup:
    parts = [(row.fate, row.count, f"c{index % 8}") for index, row in enumerate(fates)]
    told = ", ".join(f"{row.fate} {row.count:,}" for row in fates)
    return stacked_bar(parts, f"Ledger rows by fate: {told}")


def result_part(result: Result, metric: str, index: int, alone: bool) -> dict[str, Any]:
    """What the template needs for one model with one seed."""
    title = "The model" if alone else f"{result.model}, seed {result.seed}"
    validation = [(epoch, loss) for epoch, loss, _ in result.curve]
    loss_chart = line_chart(
        [("training", "c0", result.loss), ("validation", "c2", validation)],
        "epoch",
        f"Training and validation loss of {result.model} by epoch",
    )
    values = [(epoch, value) for epoch, _, value in result.curve]
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
        "metrics": _metric_rows(result),
        "matrix": _matrix_rows(result),
    }


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


def _metric_rows(result: Result) -> list[tuple[str, str, str]]:
    """Whole metrics only: those of single labels have a table of their own."""
    names = [name for name in result.metrics if not _is_per_label(name, result.labels)]

    def told(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return [(n, told(result.metrics[n]), told(result.validation.get(n))) for n in names]


def _is_per_label(name: str, labels: Iterable[str]) -> bool:
    return any(name.endswith(f".{label}") for label in labels)


def _matrix_rows(result: Result) -> list[dict[str, Any]]:
    rows = []
    kinds = {(kind.label, kind.prediction): n for n, kind in enumerate(result.confused)}
    for true, counts in enumerate(result.matrix):
        total = sum(counts) or 1
        cells = [
            {
                "count": count,
                "right": true == predicted,
                "kind": kinds.get((result.labels[true], result.labels[predicted])),
                # Shades by the share of the row; anything above zero is seen.
                "heat": max(1, round(count / total * SHADES)) if count else 0,
            }
            for predicted, count in enumerate(counts)
        ]
        rows.append({"label": result.labels[true], "cells": cells})
    return rows


def _template(name: str) -> str:
    return files("handful.report").joinpath("templates", name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
