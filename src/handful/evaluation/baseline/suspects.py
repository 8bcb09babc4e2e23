"""Which labels are probably wrong, judged by probabilities that never saw the label they judge.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70, 2021), as cleanlab does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import StratifiedGroupKFold

from handful.evaluation.baseline.arrays import Floats, Ids
from handful.evaluation.baseline.linear import Kind, fit
from handful.evaluation.metrics.calibration import softmax

FOLDS = 5
LEAST = 5
"""Examples that a label needs, for its probabilities to say anything."""
FILTER = "prune_by_noise_rate"
"""cleanlab's own default: for each pair of labels as many as confident learning counts, the
widest margins first. Of the counting filters it misses the fewest planted errors.
"""


@dataclass(frozen=True)
class Suspect:
    """One example whose label is probably wrong."""

    row: int
    suggested: int
    """The most probable label id."""
    score: float
    """The probability of the label it bears; 0 is the worst."""


@dataclass(frozen=True)
class Judged:
    """What came of judging a set of labels."""

    suspects: tuple[Suspect, ...]
    """The worst first."""
    judged: int
    """Examples that could be judged."""
    reason: str = ""
    """Why nothing, or not everything, could be judged."""


def out_of_sample(
    kind: Kind,
    raw: Sequence[Any],
    references: Ids,
    groups: Sequence[str],
    strength: float,
    seed: int,
) -> Floats:
    """[N, C] log-probabilities of each example by a model that saw neither it nor its group.

    `raw` are parts whose rows together are the N examples. Folds are stratified by label, and a
    group stays in one of them. `ValueError` if there are fewer groups than folds.
    """
    is_sparse = sparse.issparse(raw[0])
    whole: Any = sparse.vstack(raw, format="csr") if is_sparse else np.vstack(raw)
    labels = int(references.max()) + 1
    _, numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if numbers.max() + 1 < FOLDS:
        raise ValueError(f"{numbers.max() + 1} groups of artifacts are too few for {FOLDS} folds")
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    found = np.full((len(references), labels), -np.inf)
    for rest, held_out in folds.split(np.zeros(len(references)), references, numbers):
        model = fit(kind, whole[rest], references[rest], labels, strength)
        found[held_out] = model.log_probabilities(whole[held_out])
    return found


def suspects(references: Ids, log_probabilities: Floats) -> Judged:
    """Confident learning over `references` [N] and out-of-sample `log_probabilities` [N, C].

    Labels with fewer than `LEAST` examples are not judged.
    """
    counts = np.bincount(references, minlength=log_probabilities.shape[1])
    labels = np.flatnonzero(counts >= LEAST)
    rows = np.flatnonzero(np.isin(references, labels))
    rare = int((counts > 0).sum() - len(labels))
    if len(labels) < 2:
        return Judged((), 0, f"fewer than two labels have {LEAST} examples")
    reason = f"{rare} labels with fewer than {LEAST} examples were not judged" if rare else ""
    probabilities = softmax(log_probabilities[np.ix_(rows, labels)])
    given = np.searchsorted(labels, references[rows])
    wrong, scores = _confident_learning(given, probabilities)
    best = probabilities.argmax(axis=1)
    found = [
        Suspect(int(rows[i]), int(labels[best[i]]), float(scores[i]))
        for i in np.flatnonzero(wrong & (best != given))
    ]
    return Judged(tuple(sorted(found, key=lambda one: (one.score, one.row))), len(rows), reason)


def _confident_learning(given: Ids, probabilities: Floats) -> tuple[Any, Floats]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    wrong = find_label_issues(given, probabilities, filter_by=FILTER, n_jobs=1)
    scores = get_label_quality_scores(given, probabilities, method="self_confidence")
    return np.asarray(wrong, dtype=bool), np.asarray(scores, dtype=np.float64)
