"""Metrics as `evaluate` modules of our own, over scikit-learn: no hub, no network, no cache files.

`evaluate` ships no metric itself; `evaluate.load("accuracy")` downloads code from the hub.
Importing this module takes seconds, so that only those who compute metrics do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, Value
from sklearn.metrics import (
    accuracy_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)


class _Classification(evaluate.Metric):  # type: ignore[misc]
    """A metric of predicted and true label ids."""

    about = ""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        """Label names by id."""
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation="Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011",
            inputs_description="predictions, references: label ids",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )


class Accuracy(_Classification):
    about = "The share of predictions that are right."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": accuracy_score(references, predictions)}


class Averages(_Classification):
    """A label that is neither predicted nor there does not count in the means."""

    about = "Precision, recall and F1, as macro and weighted means over labels."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for average in ("macro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                references, predictions, average=average, zero_division=0
            )
            found |= {f"{average}_f1": f1}
            found |= {f"{average}_precision": precision, f"{average}_recall": recall}
        return found


class Matthews(_Classification):
    about = "Matthews' correlation coefficient, for any number of labels (Gorodkin, 2004)."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"mcc": matthews_corrcoef(references, predictions)}


class PerLabel(_Classification):
    """0 where a measure is not defined: nothing of the label was predicted, or nothing is there."""

    about = "Precision, recall and F1 of each label."

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        scores = precision_recall_fscore_support(
            references, predictions, labels=range(len(self.labels)), zero_division=0
        )
        return {
            f"{measure}.{label}": values[number]
            for measure, values in zip(("precision", "recall", "f1"), scores[:3], strict=True)
            for number, label in enumerate(self.labels)
        }


def combine_metric_modules(labels: Sequence[str]) -> evaluate.CombinedEvaluations:
    """All of them in one."""
    return evaluate.combine([kind(labels) for kind in (Accuracy, Averages, Matthews, PerLabel)])
