"""What a validation's logits are worth: the metrics, and those of each label."""

from __future__ import annotations

from typing import Any

from handful.errors import StepError
from handful.training.metrics import label_metrics
from handful.training.prediction import Predicted
from handful.training.work import Work


def judged(work: Work, predicted: Predicted) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics, and those of each label for the log, on every process of the team.

    The leader's answer counts: the user's function is called once. `StepError` if METRIC is not in
    it this time.
    """
    found: dict[str, Any] = {}
    if work.team.leads:
        logits, references = predicted.logits, work.validation.references
        by_label = label_metrics(logits, references, work.metrics.label2id)
        found = {"metrics": work.metrics(logits, references), "labels": by_label}
    told = work.team.collect(found)[0]
    if work.section.METRIC not in told["metrics"]:
        raise StepError(
            f"compute_metrics gave no {work.section.METRIC!r} this time",
            where="compute_metrics in functions.py",
            remedy="return it every time, or name another [train] METRIC",
        )
    return told["metrics"], told["labels"]
