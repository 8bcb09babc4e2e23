"""Is METRIC what it is taken for? Found out before the first step, on answers that are made up."""

from __future__ import annotations

import math
from collections.abc import Mapping

from handful.errors import Fault, SettingsError
from handful.progress import Progress
from handful.records.metric_names import own_goal
from handful.settings import TrainSection
from handful.training.data.batches import Indices
from handful.training.evaluation.metrics import COMPUTE_METRICS, INVENTED, Metrics

_CONTRADICTS = {"max": ("min", 0.0), "min": ("max", 1.0)}
"""METRIC_GOAL → the other one, and what an answer that is all right gives where that is meant."""


def check_metric(
    metrics: Metrics, section: TrainSection, references: Indices, progress: Progress
) -> bool:
    """Does `compute_metrics` give `METRIC`? If not, it is a figure of ours.

    `references` [N] are those of validation. Warns of what is odd about it. `SettingsError` if it
    is neither, or not defined on `references`.
    """
    at_perfect = metrics.at_perfect(references)
    given = metrics.check_name(section.METRIC, references, tuple(at_perfect))
    if not given:
        _check_defined(metrics, section.METRIC, references)
    elif metrics.functions.has(COMPUTE_METRICS):
        for doubt in _doubts(section, at_perfect):
            progress.warn(doubt)
    return given


def _check_defined(metrics: Metrics, metric: str, references: Indices) -> None:
    if math.isfinite(metrics.figure(metric, metrics.perfect(references), references)):
        return
    what = f"{metric} is not defined on the {len(references):,} artifacts of validation"
    remedy = "it needs some that bear the label, and some that do not: name another metric"
    raise SettingsError([Fault("[train] METRIC", what, remedy)])


def _doubts(section: TrainSection, at_perfect: Mapping[str, float]) -> list[str]:
    """What is odd about a METRIC that only the user knows."""
    metric, goal, best = section.METRIC, section.METRIC_GOAL, at_perfect[section.METRIC]
    if not math.isfinite(best):
        return [
            f"compute_metrics returned {best} for METRIC = {metric} at {INVENTED}; should "
            "validation ever be perfect, the training would stop there"
        ]
    other, contradicting = _CONTRADICTS[goal]
    if best == contradicting and not own_goal(metric):
        return [
            f"METRIC_GOAL is {goal}, but {metric} is {best:g} at {INVENTED}: "
            f"METRIC_GOAL = {other} may be meant"
        ]
    return []
