"""The files of one look at the test split: predictions, metrics, confusion matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handful.evaluation.metrics.calibration import fit_temperature, softmax
from handful.evaluation.metrics.figures import figures
from handful.files.csv_text import csv_bytes
from handful.training.data.batches import Indices
from handful.training.evaluation.metrics import Logits, confusion

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
        _lists(softmax(logits)),
        _lists(logits),
    ]
    table = pa.Table.from_arrays(columns, schema=PREDICTIONS_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def _lists(values: Logits) -> pa.Array:
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), pa.float64()))


@dataclass(frozen=True)
class Answered:
    """A model's answers to one split."""

    logits: Logits
    """[N, C]"""
    references: Indices
    """[N]"""


def summary(
    test: Answered,
    validation: Answered,
    labels: Sequence[str],
    metrics: Mapping[str, float | None],
    seed: int,
) -> dict[str, Any]:
    """What metrics.json holds.

    `metrics` are those of `compute_metrics`, None for what was no finite number; handful's own join
    them unless they have one of that name. Intervals, `per_label`, `calibration` (its temperature
    is fitted on `validation`), `coverage` and `counts` are always handful's own. `seed` is of the
    bootstrap.

    `labels`: the C names by id.
    """
    temperature = fit_temperature(validation.logits, validation.references)
    found = figures(test.logits, test.references, labels, temperature, seed)
    found["calibration"]["fitted_on"] = len(validation.references)
    return {"metrics": {**found.pop("overall"), **metrics}, **found}


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_confusion(path: Path, logits: Logits, references: Indices, labels: list[str]) -> None:
    """confusion_matrix.csv: true label by row, prediction by column, named by both.

    `logits` [N, C] and `references` [N].
    """
    matrix = confusion(logits.argmax(axis=1), references, len(labels))
    rows = ([label, *row] for label, row in zip(labels, matrix.tolist(), strict=True))
    path.write_bytes(csv_bytes([["label \\ prediction", *labels], *rows]))
