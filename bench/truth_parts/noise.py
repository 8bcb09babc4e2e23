"""Label noise: labels of train and validation are flipped at random, and looked for.

The flips are uniform over the other labels. What the table doubts besides is counted as a mistake
of the table, although some of it may be errors that stood in the data before: precision is
therefore a lower bound. The strength of the model is chosen on the flipped validation split, as
the product does.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from datasets import load_from_disk

from handful.evaluation.baseline.choosing import Unusable, choose
from handful.evaluation.baseline.linear import Read, fit_best, read
from handful.evaluation.baseline.suspects import out_of_sample, suspects
from handful.experiment.context import Experiment

NAMES = ("train", "validation")


@dataclass(frozen=True)
class Encoded:
    """The encoded data of an experiment's first model that a baseline can use."""

    read: Read
    references: dict[str, Any]
    """Split → label ids."""
    groups: list[str]
    """Of the artifacts of train, then of validation."""
    labels: int


@dataclass(frozen=True)
class Found:
    """One draw of flipped labels."""

    flipped: int
    suspected: int
    hits: int
    hits_at_k: int
    """Among the first so many rows as there are flipped labels."""
    suggested: int
    """Hits whose suggestion is the label that was flipped away."""
    seconds: float


def noise(experiment: Experiment, share: float, seeds: int) -> None:
    """Print precision and recall of the table for every seed, and their means."""
    data = encoded(experiment)
    print(f"{len(data.groups):,} artifacts of train and validation, {data.labels} labels")
    print("seed  flipped  table  precision  recall  precision@k  right suggestion  seconds")
    rows = []
    for seed in range(seeds):
        one = draw(data, share, seed)
        rows.append(
            (
                one.hits / max(1, one.suspected),
                one.hits / one.flipped,
                one.hits_at_k / min(one.flipped, max(1, one.suspected)),
                one.suggested / max(1, one.hits),
            )
        )
        precision, recall, top, right = rows[-1]
        print(
            f"{seed:4} {one.flipped:8} {one.suspected:6} {precision:10.3f} {recall:7.3f} "
            f"{top:12.3f} {right:17.3f} {one.seconds:8.1f}"
        )
    precision, recall, top, right = np.mean(rows, axis=0)
    print(f"mean {'':8} {'':6} {precision:10.3f} {recall:7.3f} {top:12.3f} {right:17.3f}")


def encoded(experiment: Experiment) -> Encoded:
    """Read from the store; `SystemExit` if no model's data allow a linear baseline."""
    layout, store = experiment.layout, experiment.store
    table = pl.read_parquet(io.BytesIO(store.read(layout.splits)))
    group_of = dict(table.select("artifact_id", "group").iter_rows())
    for model in experiment.settings.train.MODEL_NAMES:
        splits = {
            name: load_from_disk(
                str(store.fetch_tree(layout.encoded_split(model, name), experiment.scratch))
            ).with_format("arrow")
            for name in NAMES
        }
        usable = choose(splits["train"])
        if isinstance(usable, Unusable):
            continue
        references = {n: rows[:].column("labels").to_numpy() for n, rows in splits.items()}
        ids = [one for rows in splits.values() for one in rows[:]["artifact_id"].to_pylist()]
        labels = int(max(part.max() for part in references.values())) + 1
        return Encoded(read(usable, splits), references, [group_of[one] for one in ids], labels)
    raise SystemExit("no model's encoded data allow a linear baseline")


def draw(data: Encoded, share: float, seed: int) -> Found:
    """Flip `share` of the labels, and look for them."""
    started = time.perf_counter()
    chance = np.random.default_rng(seed)
    truth = np.concatenate([data.references[name] for name in NAMES])
    flipped = chance.choice(len(truth), round(share * len(truth)), replace=False)
    given = truth.copy()
    given[flipped] = (truth[flipped] + chance.integers(1, data.labels, len(flipped))) % data.labels
    train = len(data.references["train"])
    noisy = {"train": given[:train], "validation": given[train:]}
    model = fit_best(data.read, noisy, data.labels, macro_f1)
    raw = [data.read.splits[name] for name in NAMES]
    answer = out_of_sample(data.read.kind, raw, given, data.groups, model.strength, seed=0)
    table = suspects(given, answer).suspects
    planted = set(flipped.tolist())
    hits = [one for one in table if one.row in planted]
    return Found(
        flipped=len(flipped),
        suspected=len(table),
        hits=len(hits),
        hits_at_k=sum(one.row in planted for one in table[: len(flipped)]),
        suggested=sum(one.suggested == truth[one.row] for one in hits),
        seconds=time.perf_counter() - started,
    )


def macro_f1(logits: Any, references: Any) -> float:
    """As the product's METRIC is by default."""
    from sklearn.metrics import f1_score

    return float(f1_score(references, logits.argmax(axis=1), average="macro", zero_division=0))
