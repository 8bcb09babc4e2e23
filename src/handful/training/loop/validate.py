"""What a validation's logits are worth: the metrics, and those of each label."""

from __future__ import annotations

import math
from typing import Any

from handful.errors import StepError, UserError
from handful.training.evaluation.metrics import label_metrics
from handful.training.evaluation.prediction import Predicted
from handful.training.loop.train_context import Work


def compute_validation_metrics(
    work: Work, predicted: Predicted
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics, METRIC among them, and those of each label for the log, on every process.

    The leader's answer counts: the user's function is called once. `StepError` if METRIC is not in
    it this time, `UserError` if it is no finite number; others may be none.
    """
    metric = work.section.METRIC
    found: dict[str, Any] = {}
    if work.team.leads:
        logits, references = predicted.logits, work.validation.references
        by_label = label_metrics(logits, references, work.metrics.label2id)
        try:
            metrics = work.metrics(logits, references)
        except UserError as error:  # all have to hear of it
            found = {"fault": [error.fault.what, error.fault.where, error.fault.remedy]}
        else:
            if not work.metric_is_given:
                metrics[metric] = work.metrics.figure(metric, logits, references, predicted.loss)
            found = {"metrics": metrics, "labels": by_label}
    told = work.team.collect(found)[0]
    if "fault" in told:
        what, where, remedy = told["fault"]
        raise UserError(what, where=where, remedy=remedy)
    if metric not in told["metrics"]:
        raise StepError(
            f"compute_metrics gave no {metric!r} this time",
            where="compute_metrics in functions.py",
            remedy="return it every time, or name another [train] METRIC",
        )
    value = told["metrics"][metric]
    if not math.isfinite(value):
        raise UserError(
            f"{metric}, which is METRIC, was {value} on validation, so no best epoch can be chosen",
            where="compute_metrics in functions.py" if work.metric_is_given else "[train] METRIC",
            remedy="return a number whenever validation is judged, or name another [train] METRIC",
        )
    return told["metrics"], told["labels"]
