"""Labels that are probably wrong, judged in the task "test": those of train and validation alone.

The labels of the test split are judged after the verdict, by `compare`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from handful.errors import Absent
from handful.evaluation.baseline.suspects import Judged, out_of_sample, suspects
from handful.evaluation.label_review import BASELINE, Source, by_model, review
from handful.experiment.context import Experiment
from handful.records import Split
from handful.training.evaluation.baselines import Grounds
from handful.training.evaluation.results import Answered


def judge_labels(
    experiment: Experiment,
    label2id: Mapping[str, int],
    data: Grounds,
    ids: Sequence[str],
    validation: Answered,
) -> None:
    """By the baseline, in folds over train and validation, and by a model on validation.

    `ids` and `validation`: the artifacts of validation, and the model's answers to them.
    """
    model = by_model(ids, Split.VALIDATION, validation.references, validation.logits)
    labels = sorted(label2id, key=label2id.__getitem__)
    review(experiment, [by_baseline(experiment, data), model], labels)


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
        group_of = _read_artifact_groups(experiment)
    except Absent as error:  # without the groups the folds would see what they are to judge
        return Judged((), 0, str(error))
    groups = [group_of.get(one, one) for one in ids]
    seed, strength = experiment.settings.experiment.SEED, data.fitted.model.strength
    try:
        found = out_of_sample(data.fitted.read.kind, raw, references, groups, strength, seed)
        return suspects(references, found)
    except (ValueError, ArithmeticError) as error:  # a table that fails must not cost a run
        return Judged((), 0, f"the folds could not be made: {error}")


def _read_artifact_groups(experiment: Experiment) -> dict[str, str]:
    """Artifact → its group; those that nearly say the same must not stand on both sides."""
    table = pl.read_parquet(
        io.BytesIO(experiment.store.read(experiment.layout.splits)),
        columns=["artifact_id", "group"],
    )
    pairs = table.drop_nulls().iter_rows()
    return {str(name): str(group) for name, group in pairs}
