"""Labels that are probably wrong, judged in the task "test": those of train and validation alone.

The labels of the test split are judged after the verdict, by `compare`.
"""

from __future__ import annotations

import io

import numpy as np
import polars as pl

from handful.errors import Absent
from handful.evaluation.baseline.suspects import Judged, out_of_sample, suspects
from handful.evaluation.label_review import BASELINE, Source
from handful.records import Split
from handful.storage.base import Store
from handful.training.evaluation.baselines import Grounds


def by_baseline(store: Store, splits_key: str, data: Grounds, seed: int) -> Source:
    """The linear model, by folds over train and validation; `splits_key` of splits.parquet."""
    names = [name for name in (Split.TRAIN, Split.VALIDATION) if name in data.splits]
    parts = [data.splits[name] for name in names]
    ids = [one for part in parts for one in part.ids()]
    splits = [str(name) for name, part in zip(names, parts, strict=True) for _ in range(len(part))]
    references = np.concatenate([part.references for part in parts])
    if data.fitted is None:
        return Source(BASELINE, ids, splits, references, Judged((), 0, data.reason))
    raw, model = [data.fitted.read.splits[name] for name in names], data.fitted.model
    try:
        group_of = _read_artifact_groups(store, splits_key)
        groups, kind = [group_of.get(one, one) for one in ids], data.fitted.read.kind
        found = out_of_sample(kind, raw, references, groups, model.strength, seed)
        judged = suspects(references, found)
    except Absent as error:  # without the groups the folds would see what they are to judge
        judged = Judged((), 0, str(error))
    except (ValueError, ArithmeticError) as error:  # a table that fails must not cost a run
        judged = Judged((), 0, f"the folds could not be made: {error}")
    return Source(BASELINE, ids, splits, references, judged)


def _read_artifact_groups(store: Store, key: str) -> dict[str, str]:
    """Artifact → its group; those that nearly say the same must not stand on both sides."""
    table = pl.read_parquet(io.BytesIO(store.read(key)), columns=["artifact_id", "group"])
    pairs = table.drop_nulls().iter_rows()
    return {str(name): str(group) for name, group in pairs}
