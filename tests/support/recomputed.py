"""Every figure of metrics.json once more, from predictions.parquet, by ways that are not ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from sklearn import metrics as sk


def recomputed(path: Path, labels: Sequence[str], temperature: float) -> dict[str, float]:
    """Name → value, by scikit-learn from the labels and probabilities; what it lacks, by loops."""
    table = pl.read_parquet(path)
    truth, told = table["label"].to_list(), table["prediction"].to_list()
    chances = np.array(table["probabilities"].to_list())
    cooled = np.exp(np.array(table["logits"].to_list()) / temperature)
    cooled /= cooled.sum(axis=1, keepdims=True)
    found = {
        "accuracy": sk.accuracy_score(truth, told),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, told),
        "mcc": sk.matthews_corrcoef(truth, told),
        "log_loss": log_loss(chances, truth, labels),
        "log_loss_calibrated": log_loss(cooled, truth, labels),
        "brier": brier(chances, truth, labels),
        "brier_calibrated": brier(cooled, truth, labels),
        "ece": calibration_error(chances, truth, labels),
        "ece_calibrated": calibration_error(cooled, truth, labels),
    }
    for average in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(truth, told, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), scores[:3], strict=True):
            found[f"{average}_{name}"] = value
    scores = sk.precision_recall_fscore_support(truth, told, labels=list(labels), zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), scores[:3], strict=True):
        found |= {f"{name}.{label}": x for label, x in zip(labels, values, strict=True)}
    bears = [np.array([name == label for name in truth]) for label in labels]
    defined = [n for n, one in enumerate(bears) if 0 < one.sum() < len(one)]
    areas = [sk.roc_auc_score(bears[n], chances[:, n]) for n in defined]
    means = [sk.average_precision_score(bears[n], chances[:, n]) for n in defined]
    if defined:
        found |= {"roc_auc": np.mean(areas), "average_precision": np.mean(means)}
    return {name: float(value) for name, value in found.items()}


def log_loss(chances: np.ndarray, truth: Sequence[str], labels: Sequence[str]) -> float:
    return -sum(
        float(np.log(row[labels.index(label)])) for row, label in zip(chances, truth, strict=True)
    ) / len(truth)


def brier(chances: np.ndarray, truth: Sequence[str], labels: Sequence[str]) -> float:
    ids = [labels.index(label) for label in truth]
    if len(labels) == 2:
        return float(sk.brier_score_loss(ids, chances[:, 1], labels=[0, 1]))
    return float(sk.brier_score_loss(ids, chances, labels=range(len(labels))))


def calibration_error(
    chances: np.ndarray, truth: Sequence[str], labels: Sequence[str], bins: int = 15
) -> float:
    """By the definition of Guo et al.: bin by bin, each including its upper bound."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            (float(row.max()), labels[int(row.argmax())] == label)
            for row, label in zip(chances, truth, strict=True)
            if low < row.max() <= high
        ]
        if inside:
            sure = sum(one for one, _ in inside) / len(inside)
            right = sum(one for _, one in inside) / len(inside)
            total += len(inside) / len(truth) * abs(sure - right)
    return total
