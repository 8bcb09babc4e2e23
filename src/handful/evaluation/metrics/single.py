"""One figure of a set of answers, by its name: what `figures` tells, without intervals."""

from __future__ import annotations

from collections.abc import Sequence

from handful.evaluation.metrics.arrays import Floats, Indices
from handful.evaluation.metrics.calibration import (
    calibration_error,
    fit_temperature,
    losses,
    softmax,
    squares,
)
from handful.evaluation.metrics.counts import LABEL_MEASURES, MEASURES, count_label_outcomes
from handful.evaluation.metrics.ranked import Estimate, ranked
from handful.records.metric_names import (
    AVERAGE_PRECISION,
    BRIER,
    CALIBRATED,
    ECE,
    LOG_LOSS,
    LOSS,
    PER_LABEL,
    ROC_AUC,
)

_BY_PROBABILITY = (LOG_LOSS, BRIER, ECE)
FIGURES = (
    *MEASURES,
    *(ROC_AUC, AVERAGE_PRECISION),
    *_BY_PROBABILITY,
    *(name + CALIBRATED for name in _BY_PROBABILITY),
    LOSS,
)


def has_figure(name: str, labels: Sequence[str]) -> bool:
    """Is it a figure of ours, of these labels?"""
    measure, _, label = name.partition(".")
    return name in FIGURES or (measure in PER_LABEL and label in labels)


def figure(
    name: str, logits: Floats, references: Indices, labels: Sequence[str], loss: float | None = None
) -> float | None:
    """The figure `name` of `logits` [N, C] on `references` [N]; None where it is not defined.

    `labels` by id. `loss` is the model's own, which no logits tell; without it the log-loss is
    taken. What is calibrated is so by a temperature that is fitted on these answers themselves.
    """
    if name == LOSS:
        return float(losses(logits, references).mean()) if loss is None else loss
    measure, _, label = name.partition(".")
    counts = count_label_outcomes(references, logits.argmax(axis=1), len(labels))
    if name in MEASURES:
        return float(MEASURES[name](counts))
    if label and measure in LABEL_MEASURES:
        return float(LABEL_MEASURES[measure](counts)[list(labels).index(label)])
    if measure in (ROC_AUC, AVERAGE_PRECISION):
        return _single_rank_metric(measure, label, softmax(logits), references, labels)
    if name.endswith(CALIBRATED):
        logits = logits / fit_temperature(logits, references)
    return _by_probability(name.removesuffix(CALIBRATED), logits, references)


def _single_rank_metric(
    measure: str, label: str, probabilities: Floats, references: Indices, labels: Sequence[str]
) -> float | None:
    order = ranked(probabilities, references)
    found: Estimate | None
    if label:
        by_label = order.roc_auc if measure == ROC_AUC else order.average_precision
        found = by_label.get(list(labels).index(label))
    else:
        found = order.macro_roc_auc if measure == ROC_AUC else order.macro_average_precision
    return found.value if found else None


def _by_probability(name: str, logits: Floats, references: Indices) -> float:
    if name == LOG_LOSS:
        return float(losses(logits, references).mean())
    if name == BRIER:
        return float(squares(softmax(logits), references).mean())
    if name == ECE:
        return calibration_error(softmax(logits), references).value
    raise ValueError(f"there is no figure {name!r}")
