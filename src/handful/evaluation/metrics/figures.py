"""All figures of one set of answers, as JSON values: what metrics.json holds beside the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from handful.evaluation.metrics.arrays import Floats, Indices
from handful.evaluation.metrics.bootstrap import (
    RESAMPLES,
    Answers,
    compute_answer_metrics,
    interval,
    resample_answer_metrics,
)
from handful.evaluation.metrics.calibration import (
    calibration_error,
    losses,
    reliability,
    softmax,
    squares,
)
from handful.evaluation.metrics.counts import Counts, count_label_outcomes
from handful.evaluation.metrics.coverage import coverage
from handful.evaluation.metrics.ranked import Estimate, Ranked, ranked, wilson
from handful.records.metric_names import (
    AVERAGE_PRECISION,
    BRIER,
    CALIBRATED,
    ECE,
    LOG_LOSS,
    ROC_AUC,
)

ECE_CALIBRATED = ECE + CALIBRATED
METHODS: Mapping[str, str] = {
    ROC_AUC: "delta method on log-odds",
    AVERAGE_PRECISION: "delta method on log-odds",
    ECE: "inverted simulation",
    ECE_CALIBRATED: "inverted simulation",
}
"""How an interval was found; all others by a percentile bootstrap."""


def figures(
    logits: Floats,
    references: Indices,
    labels: Sequence[str],
    temperature: float,
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """`logits` [N, C], `references` [N], `labels` by id; `temperature` fitted on validation.

    `overall`: name → value (those that are defined); `intervals`: name → value, low, high, method;
    `per_label`; `calibration`; `coverage` (probabilities calibrated); `counts`.
    """
    predictions = logits.argmax(axis=1)
    calibrated = logits / temperature
    before, after = softmax(logits), softmax(calibrated)
    order = ranked(before, references)
    counts = count_label_outcomes(references, predictions, len(labels))
    told = _overall(logits, calibrated, references, len(labels), seed, resamples)
    told |= {
        name: one
        for name, one in (
            (ROC_AUC, order.macro_roc_auc),
            (AVERAGE_PRECISION, order.macro_average_precision),
            (ECE, calibration_error(before, references, seed)),
            (ECE_CALIBRATED, calibration_error(after, references, seed)),
        )
        if one is not None
    }
    return {
        "overall": {name: one.value for name, one in told.items()},
        "intervals": {
            name: {**asdict(one), "method": METHODS.get(name, f"bootstrap, {resamples:,} draws")}
            for name, one in told.items()
        },
        "per_label": _per_label(counts, labels, order),
        "calibration": {
            "temperature": temperature,
            "before": [asdict(one) for one in reliability(before, references)],
            "after": [asdict(one) for one in reliability(after, references)],
        },
        "coverage": [asdict(one) for one in coverage(after, references)],
        "counts": {"artifacts": len(references), "right": int(counts.hits.sum())},
    }


def _overall(
    logits: Floats,
    calibrated: Floats,
    references: Indices,
    labels: int,
    seed: int,
    resamples: int,
) -> dict[str, Estimate]:
    """What is resampled: two rows of the same answers, whose probabilities alone differ."""
    predictions = logits.argmax(axis=1)
    answers = Answers(
        references,
        np.stack([predictions, predictions]),
        np.stack([losses(logits, references), losses(calibrated, references)]),
        labels,
        np.stack([squares(softmax(each), references) for each in (logits, calibrated)]),
    )
    values, draws = (
        compute_answer_metrics(answers),
        resample_answer_metrics(answers, seed=seed, resamples=resamples),
    )
    found = {n: Estimate(float(values[n][0]), *interval(draws[n][0])) for n in values}
    return found | {
        name + CALIBRATED: Estimate(float(values[name][1]), *interval(draws[name][1]))
        for name in (LOG_LOSS, BRIER)
    }


def _per_label(counts: Counts, labels: Sequence[str], order: Ranked) -> dict[str, Any]:
    """Precision, recall and F1 with intervals; 0 where a measure is not defined."""
    found = {}
    for number, label in enumerate(labels):
        hits, support, given = (
            float(each[number]) for each in (counts.hits, counts.support, counts.predicted)
        )
        either = support + given - hits
        # F1 rises with the share of hits among all that bear the label or were given it.
        share = hits / either if either else 0.0
        low, high = wilson(hits, either)
        found[label] = {
            "precision": hits / given if given else 0.0,
            "recall": hits / support if support else 0.0,
            "f1": 2 * share / (1 + share),
            "support": int(support),
            "predicted": int(given),
            "intervals": {
                "precision": wilson(hits, given),
                "recall": wilson(hits, support),
                "f1": (2 * low / (1 + low), 2 * high / (1 + high)),
            },
            ROC_AUC: _estimate_to_json(order.roc_auc.get(number)),
            AVERAGE_PRECISION: _estimate_to_json(order.average_precision.get(number)),
        }
    return found


def _estimate_to_json(one: Estimate | None) -> dict[str, Any] | None:
    return asdict(one) if one else None
