"""The metrics of a set of predictions: the user's `compute_metrics`, or the default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from handful.errors import Fault, SettingsError, UserError
from handful.evaluation.metrics.counts import LABEL_MEASURES, count_label_outcomes
from handful.evaluation.metrics.single import FIGURES, figure, has_figure
from handful.settings import Settings
from handful.training.calls import call
from handful.training.data.batches import Indices
from handful.user_functions.load import Functions

Logits = npt.NDArray[np.float64]
COMPUTE_METRICS = "compute_metrics"
INVENTED = "a perfect answer, which handful made up to see what there is"
_METRIC = "[train] METRIC"
_MOST_METRIC_NAMES = 40
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
        """`logits` [N, C], `references` [N] → name → float; NaN or infinite where undefined.

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
        return check_metrics_result(result)

    @property
    def labels(self) -> list[str]:
        """By id."""
        return sorted(self.label2id, key=self.label2id.__getitem__)

    def figure(
        self, metric: str, logits: Logits, references: Indices, loss: float | None = None
    ) -> float:
        """A figure of ours, as the report has it; NaN where it is not defined, or is none of ours.

        `loss` is the model's own on these examples.

        `logits` [N, C] and `references` [N].
        """
        if not has_figure(metric, self.labels):
            return math.nan
        found = figure(metric, logits, references, self.labels, loss)
        return math.nan if found is None else found

    def with_metric(
        self, metric: str, logits: Logits, references: Indices, loss: float | None = None
    ) -> dict[str, float]:
        """The metrics and, if it is not among them, `metric` as a figure of ours.

        `logits` [N, C], `references` [N]; `loss` is the model's own on them.
        """
        found = self(logits, references)
        if metric not in found and has_figure(metric, self.labels):
            found[metric] = self.figure(metric, logits, references, loss)
        return found

    def perfect(self, references: Indices) -> Logits:
        """[N, C] of somebody who knows all the answers."""
        return np.eye(len(self.label2id))[references] * 5.0

    def names(self, references: Indices) -> tuple[str, ...]:
        """What there will be, found out before training by a perfect answer to `references`.

        `references`: [N].
        """
        return tuple(self.at_perfect(references))

    def at_perfect(self, references: Indices) -> dict[str, float]:
        """Name → value at a perfect answer; 1 for all of the default, which needs no look.

        `references`: [N].
        """
        if not self.functions.has(COMPUTE_METRICS):
            measures = ("precision", "recall", "f1")
            per_label = [f"{measure}.{name}" for measure in measures for name in self.label2id]
            return dict.fromkeys((*OVERALL, *per_label), 1.0)
        try:
            return self(self.perfect(references), references)
        except UserError as error:
            what, where = f"{error.fault.what} (at {INVENTED})", error.fault.where
            raise UserError(what, where=where, remedy=error.fault.remedy) from error

    def check_name(
        self, metric: str, references: Indices, names: Sequence[str] | None = None
    ) -> bool:
        """Is `METRIC` among what `compute_metrics` gives, or else a figure of ours?

        `names` are what it gives, if that is known. `SettingsError` if it is neither.

        `references`: [N], for a perfect answer where `names` are not known.
        """
        names = self.names(references) if names is None else names
        if metric in names:
            return True
        if has_figure(metric, self.labels):
            return False
        there = list(dict.fromkeys((*names, *FIGURES)))
        more = " …" if len(there) > _MOST_METRIC_NAMES else ""
        remedy = f"there are: {', '.join(there[:_MOST_METRIC_NAMES])}{more}"
        what = f"compute_metrics gives no {metric!r}, and it is no figure of the report"
        raise SettingsError([Fault(_METRIC, what, remedy)])


def default_metrics(
    predictions: Indices, references: Indices, label2id: Mapping[str, int]
) -> dict[str, float]:
    """`OVERALL`, and `precision.<label>`, `recall.<label>`, `f1.<label>`.

    `predictions` and `references`: [N] label ids.
    """
    from handful.training.evaluation.evaluate_modules import combine_metric_modules

    labels = sorted(label2id, key=label2id.__getitem__)
    found = combine_metric_modules(labels).compute(predictions=predictions, references=references)
    return {name: float(value) for name, value in found.items()}


def check_metrics_result(result: Any) -> dict[str, float]:
    """What `compute_metrics` returned, as floats; `UserError` if it is anything else.

    Any number will do: of Python, numpy or torch, or anything that has one value and a float of it.
    """
    where = "compute_metrics in functions.py"
    if not isinstance(result, Mapping) or not result:
        kind = "an empty dict" if isinstance(result, Mapping) else type(result).__name__
        raise UserError(f"returned {kind}, not a dict of name to float", where=where)
    found = {}
    for name, value in result.items():
        number = as_float(value)
        if not isinstance(name, str) or number is None:
            kind = type(value).__name__
            remedy = "one number for each name, and NaN for what is not defined"
            what = f"returned {kind} for {name!r}; a float is wanted"
            raise UserError(what, where=where, remedy=remedy)
        found[str(name)] = number
    return found


def as_float(value: Any) -> float | None:
    """A single number as a float, whatever library it is of; None if it is none."""
    item = getattr(value, "item", None)
    if callable(item) and not isinstance(value, Mapping):
        try:
            value = item()  # arrays and tensors of one element; of more: ValueError, RuntimeError
        except (ValueError, RuntimeError, TypeError):
            return None
    if isinstance(value, str | bytes | bytearray) or not hasattr(type(value), "__float__"):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        is_nan = getattr(value, "is_nan", None)  # a Decimal's NaN that signals
        return math.nan if callable(is_nan) and is_nan() else None


def replace_non_finite_metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """As it is written: JSON knows neither NaN nor infinity."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def describe_non_finite_metrics(metrics: Mapping[str, float]) -> str:
    """Which of them are no finite numbers, in words; empty if all are."""
    odd = [f"{name} ({value})" for name, value in metrics.items() if not math.isfinite(value)]
    more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
    return f"metrics that are no finite number: {', '.join(odd[:10])}{more}" if odd else ""


def confusion(predictions: Indices, references: Indices, labels: int) -> Indices:
    """[C, C] counts: true label by row, prediction by column."""
    counts = np.bincount(references * labels + predictions, minlength=labels * labels)
    return counts.reshape(labels, labels).astype(np.int64)


def label_metrics(
    logits: Logits, references: Indices, label2id: Mapping[str, int]
) -> dict[str, float]:
    """`precision.<label>`, `recall.<label>`, `f1.<label>`, whatever `compute_metrics` returns.

    `logits` [N, C] and `references` [N].
    """
    labels = sorted(label2id, key=label2id.__getitem__)
    counts = count_label_outcomes(references, logits.argmax(axis=1), len(labels))
    return {
        f"{name}.{label}": float(value)
        for name, measure in LABEL_MEASURES.items()
        for label, value in zip(labels, measure(counts), strict=True)
    }
