"""The metrics of a set of predictions: the user's `compute_metrics`, or the default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from handful.errors import Fault, SettingsError, UserError
from handful.functions import Functions
from handful.scoring.counts import LABEL_MEASURES, counted
from handful.settings import Settings
from handful.training.batches import Indices
from handful.training.calls import call

Logits = npt.NDArray[np.float64]
COMPUTE_METRICS = "compute_metrics"
OVERALL = (
    "accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "mcc",
    "weighted_f1",
    "weighted_precision",
    "weighted_recall",
)


@dataclass(frozen=True)
class Metrics:
    """Computes them for one experiment and model."""

    functions: Functions
    label2id: Mapping[str, int]
    settings: Settings

    def __call__(self, logits: Logits, references: Indices) -> dict[str, float]:
        """`logits` [N, C], `references` [N] → name → finite float.

        Raises `UserError` if the user's `compute_metrics` raises, or returns anything else.
        """
        predictions = logits.argmax(axis=1)
        if not self.functions.has(COMPUTE_METRICS):
            return default_metrics(predictions, references, self.label2id)
        result = call(
            self.functions,
            COMPUTE_METRICS,
            logits=logits,
            predictions=predictions,
            references=references,
            label2id=dict(self.label2id),
            id2label={number: label for label, number in self.label2id.items()},
            settings=self.settings,
        )
        return checked(result)

    def names(self, references: Indices) -> tuple[str, ...]:
        """What there will be, found out before training by a perfect answer to `references`."""
        if not self.functions.has(COMPUTE_METRICS):
            per_label = [
                f"{m}.{name}" for m in ("precision", "recall", "f1") for name in self.label2id
            ]
            return (*OVERALL, *per_label)
        perfect = np.eye(len(self.label2id))[references] * 5.0
        return tuple(self(perfect, references))

    def check_name(self, metric: str, references: Indices) -> None:
        """`SettingsError` if `METRIC` is none of the names."""
        names = self.names(references)
        if metric not in names:
            remedy = f"there are: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}"
            what = f"compute_metrics gives no {metric!r}"
            raise SettingsError([Fault("[train] METRIC", what, remedy)])


def default_metrics(
    predictions: Indices, references: Indices, label2id: Mapping[str, int]
) -> dict[str, float]:
    """`OVERALL`, and `precision.<label>`, `recall.<label>`, `f1.<label>`."""
    from handful.training.evaluate_modules import combined

    labels = sorted(label2id, key=label2id.__getitem__)
    found = combined(labels).compute(predictions=predictions, references=references)
    return {name: float(value) for name, value in found.items()}


def checked(result: Any) -> dict[str, float]:
    """What `compute_metrics` returned, as finite floats; `UserError` if it is anything else."""
    where = "compute_metrics in functions.py"
    if not isinstance(result, Mapping) or not result:
        kind = "an empty dict" if isinstance(result, Mapping) else type(result).__name__
        raise UserError(f"returned {kind}, not a dict of name to float", where=where)
    found = {}
    for name, value in result.items():
        if isinstance(value, np.ndarray | np.generic) and value.size == 1:
            value = value.item()
        if not isinstance(name, str) or not isinstance(value, Real):
            kind = type(value).__name__
            raise UserError(f"returned {kind} for {name!r}; a float is wanted", where=where)
        if not math.isfinite(value):
            remedy = "return a number, or leave the name out whenever it is not defined"
            raise UserError(f"returned {value} for {name!r}", where=where, remedy=remedy)
        found[name] = float(value)
    return found


def confusion(predictions: Indices, references: Indices, labels: int) -> Indices:
    """[C, C] counts: true label by row, prediction by column."""
    counts = np.bincount(references * labels + predictions, minlength=labels * labels)
    return counts.reshape(labels, labels).astype(np.int64)


def label_metrics(
    logits: Logits, references: Indices, label2id: Mapping[str, int]
) -> dict[str, float]:
    """`precision.<label>`, `recall.<label>`, `f1.<label>`, whatever `compute_metrics` returns."""
    labels = sorted(label2id, key=label2id.__getitem__)
    counts = counted(references, logits.argmax(axis=1), len(labels))
    return {
        f"{name}.{label}": float(value)
        for name, measure in LABEL_MEASURES.items()
        for label, value in zip(labels, measure(counts), strict=True)
    }
