"""After the verdict the chosen model judges the labels of the test split, too."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import polars as pl

from handful.errors import Absent
from handful.layout import Layout
from handful.progress import Progress
from handful.records import Split
from handful.steps.compare.evidence import Contestant
from handful.storage.base import Store


def judge_test_labels(
    store: Store, mine: Layout, progress: Progress, labels: Sequence[str], winner: Contestant
) -> None:
    """Add what the winner's first seed doubts to label_review.csv, which `test` began.

    `labels` by id. Nothing without that file.
    """
    try:
        store.read(mine.label_review)
    except Absent:
        return
    from handful.evaluation.label_review import by_model, review

    key = mine.predictions(winner.name, winner.runs[0].seed)
    columns = ["artifact_id", "label", "logits"]
    table = pl.read_parquet(io.BytesIO(store.read(key)), columns=columns)
    ids = {label: number for number, label in enumerate(labels)}
    references = np.array([ids[label] for label in table["label"]], dtype=np.int64)
    logits = np.array(table["logits"].to_list(), dtype=np.float64)
    source = by_model(table["artifact_id"].to_list(), Split.TEST, references, logits)
    review(store, mine, progress, [source], labels)
