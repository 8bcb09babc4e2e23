"""label_review.csv in the task "test": the labels that are probably wrong, with the worst first."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from handful.baseline.review import Review, from_csv, to_csv, with_decisions
from handful.baseline.suspects import Judged, out_of_sample, suspects
from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.layout import artifact
from handful.records import Split
from handful.training.baselines import Grounds
from handful.training.batches import Indices
from handful.training.metrics import Logits

BASELINE, MODEL = "baseline", "model"


@dataclass(frozen=True)
class Source:
    """What one judge said of one set of examples."""

    source: str
    ids: Sequence[str]
    splits: Sequence[str]
    references: Indices
    judged: Judged


def review_labels(
    experiment: Experiment, label2id: Mapping[str, int], data: Grounds, predictions: Path
) -> None:
    """Judge the labels of train and validation by the baseline, those of test by a model.

    `predictions` are the model's, a predictions.parquet on this machine; the verdict stands then,
    so the test split may be looked into for its labels' sake.
    """
    table = pl.read_parquet(predictions, columns=["artifact_id", "label", "logits"])
    references = np.array([label2id[label] for label in table["label"]], dtype=np.int64)
    logits = np.array(table["logits"].to_list(), dtype=np.float64)
    ids = table["artifact_id"].to_list()
    sources = [by_baseline(experiment, data), by_model(ids, Split.TEST, references, logits)]
    review(experiment, sources, sorted(label2id, key=label2id.__getitem__))


def by_baseline(experiment: Experiment, data: Grounds) -> Source:
    """The linear model, by folds over train and validation."""
    names = [name for name in (Split.TRAIN, Split.VALIDATION) if name in data.splits]
    parts = [data.splits[name] for name in names]
    ids = [one for part in parts for one in part.ids()]
    splits = [str(name) for name, part in zip(names, parts, strict=True) for _ in range(len(part))]
    references = np.concatenate([part.references for part in parts])
    return Source(BASELINE, ids, splits, references, _folds(experiment, data, names, ids))


def _folds(
    experiment: Experiment, data: Grounds, names: Sequence[str], ids: Sequence[str]
) -> Judged:
    if data.fitted is None:
        return Judged((), 0, data.reason)
    references = np.concatenate([data.splits[name].references for name in names])
    raw = [data.fitted.read.splits[name] for name in names]
    try:
        group_of = _groups(experiment)
    except Absent as error:  # without the groups the folds would see what they are to judge
        return Judged((), 0, str(error))
    groups = [group_of.get(one, one) for one in ids]
    seed, strength = experiment.settings.experiment.SEED, data.fitted.model.strength
    try:
        found = out_of_sample(data.fitted.read.kind, raw, references, groups, strength, seed)
        return suspects(references, found)
    except (ValueError, ArithmeticError) as error:  # a table that fails must not cost a run
        return Judged((), 0, f"the folds could not be made: {error}")


def by_model(ids: Sequence[str], split: str, references: Indices, logits: Logits) -> Source:
    """A trained model, on examples that it never trained on."""
    try:
        judged = suspects(references, logits)
    except (ValueError, ArithmeticError) as error:
        judged = Judged((), 0, f"they could not be judged: {error}")
    return Source(MODEL, ids, [split] * len(ids), references, judged)


def review(experiment: Experiment, sources: Sequence[Source], labels: Sequence[str]) -> None:
    """Write label_review.csv and what is to be said of it; decisions made before are kept."""
    key, store = experiment.layout.label_review, experiment.store
    rows = _merged(experiment, sources, labels)
    try:
        rows = with_decisions(rows, from_csv(store.read(key)))
    except Absent:
        pass
    except DataError as error:
        experiment.progress.warn(f"{key} is left as it is, for it may hold decisions: {error}")
        return
    store.write(key, to_csv(rows))
    told = [_told(source) for source in sources]
    store.write(experiment.layout.label_review_notes, json.dumps(told, indent=2).encode() + b"\n")
    experiment.progress.note(f"{len(rows):,} labels to look at again: {key}")


def _merged(
    experiment: Experiment, sources: Sequence[Source], labels: Sequence[str]
) -> list[Review]:
    """One row an artifact, the worst first."""
    found: dict[str, Review] = {}
    for source in sources:
        for one in source.judged.suspects:
            name = source.ids[one.row]
            new = Review(
                artifact_id=name,
                label=labels[source.references[one.row]],
                suggested_label=labels[one.suggested],
                score=f"{one.score:.6f}",
                source=source.source,
                split=source.splits[one.row],
                path=f"{experiment.store.url}/{artifact(name)}",
            )
            before = found.get(name)
            if before is None:
                found[name] = new
                continue
            worse = min(before, new, key=lambda row: float(row.score))
            found[name] = replace(worse, source=f"{before.source} and {new.source}")
    return sorted(found.values(), key=lambda row: (float(row.score), row.artifact_id))


def _told(source: Source) -> Mapping[str, Any]:
    return {
        "source": source.source,
        "splits": list(dict.fromkeys(source.splits)),
        "artifacts": len(source.ids),
        "judged": source.judged.judged,
        "suspects": len(source.judged.suspects),
        "reason": source.judged.reason,
    }


def _groups(experiment: Experiment) -> dict[str, str]:
    """Artifact → its group; those that nearly say the same must not stand on both sides."""
    table = pl.read_parquet(
        io.BytesIO(experiment.store.read(experiment.layout.splits)),
        columns=["artifact_id", "group"],
    )
    pairs = table.drop_nulls().iter_rows()
    return {str(name): str(group) for name, group in pairs}
