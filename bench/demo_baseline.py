"""The yardstick of the demo: TF-IDF with logistic regression on the experiment's own split.

    python bench/demo_baseline.py EXPERIMENT_DIR

Reads the split and the texts that the experiment's `handful run` left in its store. The baseline
sees the whole text of each document. How strongly it is regularised, and whether it weighs rare
labels up, is chosen by macro-F1 on the validation split, as the model's best epoch is; the test
split is looked at once. Its scores are printed beside those of every model that was tested.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score

from handful.errors import Absent
from handful.experiment.context import Experiment, open_experiment
from handful.layout import SPLITS, artifact_file, model_folder
from handful.progress import Silent
from handful.records import Tested

CHOICES = tuple(itertools.product((1.0, 10.0, 100.0), (None, "balanced")))
"""Inverse strength of the regularisation, and weights of the classes."""


@dataclass(frozen=True)
class Part:
    """One split: the texts as TF-IDF [documents, terms], and their labels."""

    features: csr_matrix
    labels: Sequence[str]


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python bench/demo_baseline.py EXPERIMENT_DIR")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        experiment = open_experiment(Path(sys.argv[1]), (), Silent(), Path(scratch))
        started = time.perf_counter()
        parts = read_parts(experiment)
        best, chosen = fit_best(parts)
        test = parts["test"]
        seconds = time.perf_counter() - started
        rows = [("always the most frequent label", *scores(test.labels, most_frequent(parts)))]
        rows.append(
            ("TF-IDF + logistic regression", *scores(test.labels, best.predict(test.features)))
        )
        print(f"TF-IDF + logistic regression: {chosen}, chosen on validation; {seconds:.0f} s")
        show(rows + models(experiment), {name: len(part.labels) for name, part in parts.items()})
    return 0


def read_parts(experiment: Experiment) -> dict[str, Part]:
    """Split → its documents. The terms are those of the train split alone."""
    ledger = pl.read_parquet(io.BytesIO(experiment.store.read(experiment.layout.splits)))
    rows = {name: ledger.filter(pl.col("split") == name) for name in SPLITS}
    texts = {
        name: [text_of(experiment, artifact) for artifact in part["artifact_id"]]
        for name, part in rows.items()
    }
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit(texts["train"])
    return {
        name: Part(tfidf.transform(texts[name]), rows[name]["label"].to_list()) for name in SPLITS
    }


def text_of(experiment: Experiment, artifact: str) -> str:
    name = experiment.settings.prepare.MODEL_INPUT_FILES[0]  # {"text": …} in both examples
    return json.loads(experiment.store.read(artifact_file(artifact, name)))["text"]


def fit_best(parts: dict[str, Part]) -> tuple[LogisticRegression, str]:
    """The classifier with the best macro-F1 on validation, and how it was set."""
    train, validation = parts["train"], parts["validation"]
    found: list[tuple[float, LogisticRegression, str]] = []
    for strength, weights in CHOICES:
        model = LogisticRegression(C=strength, class_weight=weights, max_iter=1000)
        model.fit(train.features, train.labels)
        _, f1 = scores(validation.labels, model.predict(validation.features))
        found.append((f1, model, f"C={strength:g}, class weights {weights or 'none'}"))
    _, model, chosen = max(found, key=lambda one: one[0])
    return model, chosen


def most_frequent(parts: dict[str, Part]) -> list[str]:
    labels = list(parts["train"].labels)
    return [max(set(labels), key=labels.count)] * len(parts["test"].labels)


def scores(references: Sequence[str], predictions: Any) -> tuple[float, float]:
    """Accuracy and macro-F1, 0 for a label that was never predicted."""
    macro = f1_score(references, predictions, average="macro", zero_division=0)
    return accuracy_score(references, predictions), macro


def models(experiment: Experiment) -> list[tuple[str, float, float]]:
    """What the experiment's own models reached on the same documents."""
    try:
        tested = Tested.from_json(experiment.store.read(experiment.layout.tested_record))
    except Absent:
        print("no model was tested yet: `handful run` comes first")
        return []
    return [
        (f"{model_folder(e.model)} seed {e.seed}", e.metrics["accuracy"], e.metrics["macro_f1"])
        for e in tested.evaluations
    ]


def show(rows: Sequence[tuple[str, float, float]], sizes: dict[str, int]) -> None:
    print("documents: " + ", ".join(f"{size} {name}" for name, size in sizes.items()))
    print(f"{'on the test split':34} accuracy  macro-F1")
    for name, accuracy, macro_f1 in rows:
        print(f"{name:34} {accuracy:8.3f}  {macro_f1:8.3f}")


if __name__ == "__main__":
    sys.exit(main())
