"""The files of one look at the test split: predictions, metrics, confusion matrix."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handful.training.batches import Indices
from handful.training.metrics import (
    Logits,
    confusion,
    label_scores,
    log_loss,
    probabilities_of,
)

PREDICTIONS_SCHEMA = pa.schema(
    [
        ("artifact_id", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
        ("logits", pa.list_(pa.float64())),
    ]
)
"""`probabilities` and `logits` are in the order of the label ids."""


def write_predictions(
    path: Path, ids: list[str], references: Indices, logits: Logits, labels: list[str]
) -> None:
    """predictions.parquet; `logits` [N, C]."""
    names = np.array(labels, dtype=object)
    columns = [
        pa.array(ids, pa.string()),
        pa.array(names[references], pa.string()),
        pa.array(names[logits.argmax(axis=1)], pa.string()),
        _lists(probabilities_of(logits)),
        _lists(logits),
    ]
    table = pa.Table.from_arrays(columns, schema=PREDICTIONS_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def _lists(values: Logits) -> pa.Array:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), pa.float64()))


def summary(
    logits: Logits, references: Indices, labels: list[str], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """What metrics.json holds.

    `metrics` are those of `compute_metrics`; `log_loss` (natural, from the logits) joins them
    unless they have one. `per_label` and `counts` are always handful's own.
    """
    matrix = confusion(logits.argmax(axis=1), references, len(labels))
    scores = label_scores(matrix, labels)
    return {
        "metrics": {"log_loss": log_loss(logits, references), **metrics},
        "per_label": {label: asdict(score) for label, score in scores.items()},
        "counts": {"artifacts": len(references), "right": int(matrix.trace())},
    }


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_confusion(path: Path, logits: Logits, references: Indices, labels: list[str]) -> None:
    """confusion_matrix.csv: true label by row, prediction by column, named by both."""
    matrix = confusion(logits.argmax(axis=1), references, len(labels))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label \\ prediction", *labels])
        for label, row in zip(labels, matrix.tolist(), strict=True):
            writer.writerow([label, *row])
