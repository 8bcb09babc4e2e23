"""The report's part about calibration: are the probabilities true, and who checks the rest?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from handful.report.drawings import square_chart
from handful.report.tables import Table, num, table

SHOWN_FROM = 10
"""Answers in a bin, for the drawing; the table has them all."""
Bins = Sequence[Mapping[str, float]]


def calibration_part(measured: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the template needs, from a metrics.json; None if it has no calibration."""
    found = measured.get("calibration")
    if not found:
        return None
    intervals, kept = measured["intervals"], measured["coverage"]
    errors = [intervals[name] for name in ("ece", "ece_calibrated")]
    losses = [intervals[name] for name in ("log_loss", "log_loss_calibrated")]
    # The results of earlier builds have none.
    brier = [intervals[name] for name in ("brier", "brier_calibrated") if name in intervals]
    return {
        "words": _describe_temperature(found["temperature"], errors, found.get("fitted_on", 0)),
        "figures": table(
            "On the held-out split, with 95 % intervals",
            ["figure", num("before"), num("after temperature scaling")],
            [
                ("expected calibration error", *map(with_interval, errors)),
                ("log-loss", *map(with_interval, losses)),
                *([("Brier score", *map(with_interval, brier))] if brier else []),
            ],
            css="narrow",
        ),
        "chart": _reliability(found["before"], found["after"]),
        "bins": _bin_table(found["before"], found["after"]),
        "coverage_words": _coverage_words(kept),
        "coverage_chart": _coverage(kept),
        "coverage": table(
            "Coverage against accuracy, by calibrated probability",
            [*map(num, ("kept", "artifacts", "from probability", "accuracy"))],
            [_format_coverage_row(one) for one in kept],
            css="narrow",
        ),
    }


def with_interval(one: Mapping[str, Any]) -> str:
    """0.534 (0.450–0.612); without interval the figure alone."""
    if one.get("low") is None:
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f} ({one['low']:.3f}–{one['high']:.3f})"


def _describe_temperature(
    temperature: float, errors: Sequence[Mapping[str, Any]], fitted_on: int
) -> str:
    before, after = (f"{one['value']:.3f}" for one in errors)
    how = "too sure of itself" if temperature > 1 else "not sure enough of itself"
    return (
        f"The model was {how}: its logits are divided by a temperature of {temperature:.3f}, "
        f"fitted on {fitted_on:,} artifacts of validation. On the held-out split that takes the "
        f"expected calibration error from {before} to {after}. It changes no prediction."
    )


def _coverage_words(kept: Sequence[Mapping[str, float]]) -> str:
    whole = kept[0]["accuracy"]
    most = next(one for one in kept if one["share"] <= 0.9)
    return (
        f"If the least sure {1 - most['share']:.0%} go to a person, the model is right on "
        f"{most['accuracy']:.1%} of the others (on {whole:.1%} of all). Those go that have a "
        f"calibrated probability below {most['threshold']:.3f}."
    )


def _format_coverage_row(one: Mapping[str, float]) -> tuple[str, ...]:
    return (
        f"{one['share']:.0%}",
        f"{one['count']:,}",
        f"{one['threshold']:.3f}",
        f"{one['accuracy']:.3f} ({one['low']:.3f}–{one['high']:.3f})",
    )


def _bin_table(before: Bins, after: Bins) -> Table:
    names = ("artifacts", "mean probability", "accuracy")
    heads = [num(f"{name}, {when}") for when in ("before", "after") for name in names]
    rows = [_bin(*pair) for pair in zip(before, after, strict=True)]
    about = "Reliability by bins of the answer’s probability"
    return table(about, ["probability", *heads], rows, css="")


def _bin(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, ...]:
    cells = [f"{before['low']:.2f}–{before['high']:.2f}"]
    for one in (before, after):
        there = one["count"] > 0
        cells += [f"{one['count']:,}"]
        cells += [f"{one[name]:.3f}" if there else "" for name in ("confidence", "accuracy")]
    return tuple(cells)


def _reliability(before: Bins, after: Bins) -> Markup:
    most = max([one["count"] for one in (*before, *after)] or [1])
    series = [
        (
            css,
            [
                (one["confidence"], one["accuracy"], 2.5 + 6.5 * (one["count"] / most) ** 0.5)
                for one in bins
                if one["count"] >= SHOWN_FROM
            ],
        )
        for css, bins in (("c1", before), ("c0", after))
    ]
    title = "Reliability: how often the answers are right, by how sure the model is"
    return square_chart(series, ("probability of the answer", "share that is right"), title)


def _coverage(kept: Sequence[Mapping[str, float]]) -> Markup:
    points = [(one["share"], one["accuracy"], 3.0) for one in kept]
    low = min(one["accuracy"] for one in kept)
    floor = max(0.0, int(low * 10 - 0.5) / 10)
    axes = ("share of the answers that are kept", "share of them that is right")
    title = "Accuracy of the surest answers"
    return square_chart([("c0", points)], axes, title, lows=(0.5, floor), diagonal=False)
