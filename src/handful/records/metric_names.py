"""The metrics that handful computes itself, and which way each of them is better.

This module imports nothing: settings are read with it.
"""

from __future__ import annotations

LOSS, LOG_LOSS, BRIER, ECE = "loss", "log_loss", "brier", "ece"
ROC_AUC, AVERAGE_PRECISION = "roc_auc", "average_precision"
CALIBRATED = "_calibrated"
"""Behind the name of what is measured after the logits were divided by the temperature."""
PER_LABEL = ("precision", "recall", "f1", ROC_AUC, AVERAGE_PRECISION)
"""Followed by a dot and the label."""
LOWER = frozenset(
    {LOSS, *(name + end for name in (LOG_LOSS, BRIER, ECE) for end in ("", CALIBRATED))}
)
HIGHER = frozenset(
    {"accuracy", "balanced_accuracy", "mcc", ROC_AUC, AVERAGE_PRECISION}
    | {f"{mean}_{name}" for mean in ("macro", "weighted") for name in ("f1", "precision", "recall")}
)


def own_goal(metric: str) -> str | None:
    """`max` or `min`, what is better by `metric`; None for one that only the user knows."""
    if metric in LOWER:
        return "min"
    per_label = metric.partition(".")[0] in PER_LABEL and "." in metric
    return "max" if metric in HIGHER or per_label else None
