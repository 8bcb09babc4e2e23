"""The baselines in the task "test": they answer the same test split in the same look."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from handful.errors import UserError
from handful.evaluation.baseline.choosing import Numbers, Tokens, Unusable, choose
from handful.evaluation.baseline.linear import Linear, Read, fit_best, majority, read
from handful.evaluation.metrics.calibration import losses
from handful.experiment.context import Experiment
from handful.layout import BASELINE_MAJORITY, BASELINE_TFIDF, Layout, model_folder
from handful.progress import Progress
from handful.records import Split
from handful.storage.base import Store
from handful.training.calls import settings_for
from handful.training.data.batches import Indices
from handful.training.data.splits import SplitData, open_splits
from handful.training.evaluation.metrics import (
    Logits,
    Metrics,
    default_metrics,
    replace_non_finite_metrics,
)
from handful.training.evaluation.results import (
    Answered,
    summary,
    write_confusion,
    write_json,
    write_predictions,
)
from handful.user_functions.load import Functions

SEED = 0
"""The folder's; the baselines draw nothing."""


@dataclass(frozen=True)
class Baseline:
    """One baseline's results, still on this machine."""

    name: str
    folder: Path
    result: dict[str, Any]
    """What `records.Evaluation` holds."""


@dataclass(frozen=True)
class Fitted:
    """The linear model, with what it was made from."""

    read: Read
    model: Linear
    seconds: float
    """For reading train and validation, choosing and fitting."""


@dataclass(frozen=True)
class Grounds:
    """The data that the baselines stand on."""

    model: str
    """Whose encoded data it is."""
    splits: Mapping[str, SplitData]
    fitted: Fitted | None
    reason: str = ""
    """Why there is no linear model."""

    @property
    def references(self) -> dict[str, Indices]:
        """Split → [N] label ids."""
        return {name: data.references for name, data in self.splits.items()}


@dataclass(frozen=True)
class Simple:
    """The baselines of one look."""

    data: Grounds
    made: list[Baseline]


@dataclass(frozen=True)
class Scorer:
    """The experiment's metrics, or handful's own where `compute_metrics` fails on a baseline."""

    own: Metrics
    progress: Progress

    def metrics(
        self, logits: Logits, references: Indices, loss: float | None = None
    ) -> dict[str, float]:
        """`logits` [N, C] and `references` [N]; `loss`: the mean over them, if there is one."""
        own, metric = self.own, self.own.settings.train.METRIC
        try:
            return own.with_metric(metric, logits, references, loss)
        except UserError as error:
            # A baseline may answer always the same, which a user's metric need not bear.
            self.progress.warn(f"a baseline has handful's own metrics only: {error}")
            found = default_metrics(logits.argmax(axis=1), references, own.label2id)
            value = own.figure(metric, logits, references, loss)
            return found if math.isnan(value) else {metric: value, **found}

    def score(self, logits: Logits, references: Indices) -> float:
        """`METRIC`, so that higher is better; macro-F1 where there is none.

        `logits` [N, C] and `references` [N].
        """
        train = self.own.settings.train
        value = self.metrics(logits, references).get(train.METRIC, math.nan)
        if not math.isfinite(value):
            return default_metrics(logits.argmax(axis=1), references, self.own.label2id)["macro_f1"]
        return value * (1.0 if train.METRIC_GOAL == "max" else -1.0)


def made(
    experiment: Experiment,
    functions: Functions,
    label2id: Mapping[str, int],
    rows: Mapping[str, Mapping[str, int]],
) -> Simple | None:
    """Fit and evaluate; nothing is written to the store. None without `rows` (see `grounds`)."""
    if not rows:
        return None
    started = time.monotonic()
    data, usable = grounds(experiment.store, experiment.layout, experiment.scratch, rows)
    settings = settings_for(experiment.settings, data.model)
    scorer = Scorer(Metrics(functions, label2id, settings), experiment.progress)
    if usable is not None:
        found = read(usable, {name: split.rows for name, split in data.splits.items()})
        best = fit_best(found, data.references, len(label2id), scorer.score)
        seconds = time.monotonic() - started - found.seconds[Split.TEST]
        data = replace(data, fitted=Fitted(found, best, seconds))
    return Simple(data, evaluate_baselines(data, scorer, experiment.scratch))


def send(store: Store, mine: Layout, simple: Simple) -> None:
    """Put the baselines' results beside those of the models."""
    for one in simple.made:
        where = mine.evaluated(one.name, SEED)
        store.send_tree(one.folder, where, last="metrics.json")


def grounds(
    store: Store, mine: Layout, scratch: Path, rows: Mapping[str, Mapping[str, int]]
) -> tuple[Grounds, Tokens | Numbers | None]:
    """The encoded data of the first model that allows a linear model, and what it can use of them.

    `rows`: model → split → rows, as prepare wrote them.
    """
    reasons, first = [], None
    for model, counts in rows.items():
        every = (Split.TRAIN, Split.VALIDATION, Split.TEST)
        wanted = {str(name): counts[name] for name in every if counts.get(name)}
        found = Grounds(model, open_splits(store, mine, scratch, model, wanted), None)
        usable = choose(found.splits[Split.TRAIN].rows)
        if not isinstance(usable, Unusable):
            return found, usable
        first = first or found
        reasons.append(f"{model_folder(model)}: {usable.reason}")
    if first is None:
        raise ValueError("there is no model whose data a baseline could be made from")
    return replace(first, reason="; ".join(reasons)), None


def evaluate_baselines(data: Grounds, scorer: Scorer, scratch: Path) -> list[Baseline]:
    """Every baseline that the data allow, with its results below the run's scratch folder."""
    labels = scorer.own.labels
    writer = _Writer(scratch, labels, data, scorer)
    made = []
    if data.fitted:
        found, model = data.fitted.read, data.fitted.model
        started = time.monotonic()
        answers = {name: model.log_probabilities(raw) for name, raw in found.splits.items()}
        seconds = time.monotonic() - started + found.seconds[Split.TEST]
        about = {
            "training_seconds": round(data.fitted.seconds, 3),
            "parameters": model.parameters,
            "fitted_on": model.rows,
            "told": found.kind.told,
            "strength": model.strength,
        }
        made.append(writer.write(BASELINE_TFIDF, answers, seconds, about))
    else:
        scorer.progress.warn(f"the majority class is the only baseline: {data.reason}")
    started = time.monotonic()
    train = data.splits[Split.TRAIN].references
    answers = {name: majority(train, len(labels), len(part)) for name, part in data.splits.items()}
    always = {"told": f"always “{labels[int(np.bincount(train).argmax())]}”"}
    if data.reason:
        always["reason"] = data.reason
    made.append(writer.write(BASELINE_MAJORITY, answers, time.monotonic() - started, always))
    taken = {model_folder(name) for name in scorer.own.settings.train.MODEL_NAMES}
    return [one for one in made if one.name not in taken]


@dataclass(frozen=True)
class _Writer:
    scratch: Path
    labels: list[str]
    data: Grounds
    scorer: Scorer

    def write(
        self, name: str, answers: Mapping[str, Logits], seconds: float, about: Mapping[str, Any]
    ) -> Baseline:
        """`answers`: split → log-probabilities [N, C]; `seconds` for answering."""
        from handful.training.loop.checkpoints import file_hash

        folder = self.scratch / name
        folder.mkdir(parents=True)
        test, logits = self.data.splits[Split.TEST], answers[Split.TEST]
        ids, references = test.ids(), test.references
        write_predictions(folder / "predictions.parquet", ids, references, logits, self.labels)
        write_confusion(folder / "confusion_matrix.csv", logits, references, self.labels)
        metrics = replace_non_finite_metrics(self.scorer.metrics(logits, references))
        known = Answered(answers[Split.VALIDATION], self.data.splits[Split.VALIDATION].references)
        seed = self.scorer.own.settings.experiment.SEED
        figures = summary(Answered(logits, references), known, self.labels, metrics, seed)
        result = {
            "model": name,
            "seed": SEED,
            "metrics": figures["metrics"],
            "artifacts": len(ids),
            "seconds": round(seconds, 3),
            "predictions_hash": file_hash(folder / "predictions.parquet"),
        }
        more = {"baseline": True, "validation": self._validation(answers), **about}
        more["data_of"] = model_folder(self.data.model)
        write_json(folder / "metrics.json", {**result, **figures, **more})
        return Baseline(name, folder, result)

    def _validation(self, answers: Mapping[str, Logits]) -> dict[str, float | None]:
        references = self.data.splits[Split.VALIDATION].references
        logits = answers[Split.VALIDATION]
        metrics = replace_non_finite_metrics(self.scorer.metrics(logits, references))
        return {"log_loss": float(losses(logits, references).mean()), **metrics}
