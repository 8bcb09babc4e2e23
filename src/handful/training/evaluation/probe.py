"""The probe: logistic regression on what a model's head is given before anything is trained.

It costs one pass over the documents, and says what the pretrained model knows already; fine-tuning
has to add to that (linear probing: Alain & Bengio, 2016). Its weights are a head like any other:
the probe is the model with that head, and a training may begin with it (linear probing, then
fine-tuning: Kumar et al., Fine-Tuning can Distort Pretrained Features, 2022).
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from handful.errors import Absent, Damaged
from handful.evaluation.metrics.arrays import Floats
from handful.files import checksums
from handful.layout import PROBE_RECORD, model_folder
from handful.records import Split
from handful.storage.base import Store
from handful.training.calls import settings_for
from handful.training.data.batches import Indices
from handful.training.evaluation.features import Features, Frozen, Vectors
from handful.training.evaluation.metrics import COMPUTE_METRICS, Metrics
from handful.user_functions.load import Functions
from handful.user_functions.source_hash import function_hashes

WEIGHTS = "probe.safetensors"
FORMAT = 3
STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""C of scikit-learn, for vectors whose columns have variance 1."""
MOST_WORK = 3_000_000_000
"""Values × labels in one fit: about a minute on two cores. Of more rows a sample is fitted."""
_UNSEEN = -30.0
"""The logit, below the others', of a label that the training rows do not have."""
_BLOCK = 8192
_CONSTANT = 1e-4
"""Of the widest column's spread."""
_PROBE_HASH_DIGITS = 16

Score = Callable[[Floats, Indices], float]


@dataclass(frozen=True)
class ProbeFacts:
    """What is told of a probe."""

    strength: float
    """C of scikit-learn."""
    rows: int
    """How many training rows it was fitted on."""
    seconds: float
    """For the vectors, if they had to be computed, choosing C and fitting."""
    features: str
    """The hash of the vectors' origin."""


@dataclass(frozen=True)
class Fitted:
    """A head's weights."""

    weight: Floats
    bias: Floats
    facts: ProbeFacts


@dataclass(frozen=True)
class Probe:
    """A head's weights, and what they say of validation."""

    weight: Floats
    """[C, H]"""
    bias: Floats
    """[C]"""
    facts: ProbeFacts
    validation: Floats
    """[N, C] logits."""
    name: str
    """The hash of all that it was made from."""


@dataclass(frozen=True)
class Standard:
    """Columns [N, H] to mean 0 and variance 1; those that are all but constant to 0."""

    mean: Floats
    scale: Floats
    """Infinite where a column says nothing: models have values that never change but by rounding,
    and a weight that such noise was blown up for would be immense."""

    @classmethod
    def fit(cls, raw: Vectors, *, centred: bool = True) -> Standard:
        """Without a bias nothing could make good for a mean that was taken away. `raw`: [N, H]."""
        mean, spread = _moments(raw)
        scale = np.where(spread > _CONSTANT * spread.max(initial=0.0), spread, np.inf)
        return cls(mean if centred else np.zeros_like(mean), scale)

    def transform(self, raw: Vectors) -> Vectors:
        """[N, H], as `raw` is."""
        found: Vectors = np.subtract(raw, self.mean, dtype=np.float32, casting="same_kind")
        found /= self.scale.astype(np.float32)
        return found


def _moments(raw: Vectors) -> tuple[Floats, Floats]:
    """[H] means and standard deviations, in blocks: the rows lie in a file."""
    mean = np.zeros(raw.shape[1])
    for start in range(0, len(raw), _BLOCK):
        mean += raw[start : start + _BLOCK].sum(axis=0, dtype=np.float64)
    mean /= max(1, len(raw))
    square = np.zeros(raw.shape[1])
    for start in range(0, len(raw), _BLOCK):
        square += np.square(raw[start : start + _BLOCK] - mean).sum(axis=0)
    return mean, np.sqrt(square / max(1, len(raw)))


def probe_of(
    frozen: Frozen, found: Features, labels: int, score: Score, judged_by: Mapping[str, Any]
) -> Probe:
    """The probe of `frozen`, from the store or fitted: of a team the leader's work alone.

    `found`: the vectors. `score` of log-probabilities [N, C] and references chooses C on
    validation, higher is better; `judged_by` tells what it depends on.
    """
    told = json.dumps({**judged_by, "format": FORMAT, "labels": labels}, sort_keys=True)
    name = f"{found.key}-{hashlib.sha256(told.encode()).hexdigest()[:_PROBE_HASH_DIGITS]}"
    folder = f"{frozen.experiment.layout.features(frozen.name)}/{name}"
    fitted = _load_stored_probe(frozen.experiment.store, folder)
    if fitted is None:
        fitted = _fit_probe_weights(frozen, found, labels, score)
        _store_probe_weights(frozen, fitted, folder)
    logits = found.vectors[Split.VALIDATION] @ fitted.weight.T + fitted.bias
    return Probe(fitted.weight, fitted.bias, fitted.facts, logits, name)


def fit_probe_by_metric(
    frozen: Frozen, found: Features, functions: Functions, label2id: Mapping[str, int]
) -> Probe:
    """`probe_of`, with C chosen by METRIC of the experiment."""
    from handful.training.evaluation.baselines import Scorer

    settings = settings_for(frozen.experiment.settings, frozen.name)
    scorer = Scorer(Metrics(functions, label2id, settings), frozen.experiment.progress)
    section = settings.train
    hashes = function_hashes(frozen.experiment.directory)
    judged_by = {
        "metric": [section.METRIC, section.METRIC_GOAL],
        "compute_metrics": hashes.get(COMPUTE_METRICS, ""),
        "label2id": dict(label2id),
    }
    return probe_of(frozen, found, len(label2id), scorer.score, judged_by)


def _fit_probe_weights(frozen: Frozen, found: Features, labels: int, score: Score) -> Fitted:
    from handful.evaluation.baseline.linear import Kind, Read, fit_best

    started = time.monotonic()
    with_bias = frozen.head.bias
    fit = functools.partial(Standard.fit, centred=with_bias)
    kind = Kind("", fit, STRENGTHS, MOST_WORK, with_bias)
    references = {str(name): data.references for name, data in frozen.splits.items()}
    best = fit_best(Read(kind, found.vectors, {}), references, labels, score)
    width = frozen.head.width
    weight, bias = np.zeros((labels, width)), np.full(labels, _UNSEEN if with_bias else 0.0)
    if best.model is None:
        bias[best.seen] = 0.0
    else:
        own, offset = best.model.coef_, best.model.intercept_
        if len(own) == 1:  # of two labels the second one's, the first's are zero
            own, offset = np.vstack([0 * own, own]), np.append(0.0, offset)
        standard: Any = best.weights
        weight[best.seen] = own / standard.scale
        bias[best.seen] = offset - weight[best.seen] @ standard.mean
        unseen = np.setdiff1d(np.arange(labels), best.seen)
        bias[unseen] += bias[best.seen].min()
    seconds = round(found.seconds + time.monotonic() - started, 3)
    return Fitted(weight, bias, ProbeFacts(best.strength, best.rows, seconds, found.key))


def _load_stored_probe(store: Store, folder: str) -> Fitted | None:
    from safetensors.numpy import load

    try:
        record = json.loads(store.read(f"{folder}/{PROBE_RECORD}"))
        data = store.read(f"{folder}/{WEIGHTS}")
        if checksums.of_bytes(data) != checksums.from_json(record[checksums.FILES])[WEIGHTS]:
            return None
        tensors = load(data)
        return Fitted(tensors["weight"], tensors["bias"], ProbeFacts(**record["facts"]))
    except (Absent, Damaged, ValueError, KeyError, TypeError):
        return None  # not there, or not whole: it is fitted again


def _store_probe_weights(frozen: Frozen, probe: Fitted, folder: str) -> None:
    from safetensors.numpy import save

    local = frozen.experiment.scratch / "probe-weights"
    local.mkdir(exist_ok=True)
    (local / WEIGHTS).write_bytes(save({"weight": probe.weight, "bias": probe.bias}))
    files = checksums.to_json(checksums.of_folder(local, but=PROBE_RECORD))
    record = {"format": FORMAT, "facts": asdict(probe.facts), checksums.FILES: files}
    text = json.dumps(record, indent=2)
    (local / PROBE_RECORD).write_bytes(checksums.seal(f"{text}\n".encode()))
    frozen.experiment.store.send_tree(local, folder, last=PROBE_RECORD)
    rows = len(frozen.splits[Split.TRAIN])
    of = f"{probe.facts.rows:,} of {rows:,}" if probe.facts.rows < rows else f"{rows:,}"
    frozen.experiment.progress.note(
        f"{model_folder(frozen.name)}: its probe is fitted on {of} training documents in "
        f"{probe.facts.seconds:.1f} s (C = {probe.facts.strength:g})"
    )
