"""evaluation/looks.jsonl: every look at the test split, and whether it came after a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from handful.errors import Absent, DataError
from handful.experiment import Experiment


def looks_so_far(experiment: Experiment) -> list[dict[str, Any]]:
    """Every look, the first one first; `DataError` if a line is damaged."""
    key = experiment.layout.looks
    try:
        data = experiment.store.read(key)
    except Absent:
        return []
    try:
        return [dict(json.loads(line)) for line in data.splitlines() if line.strip()]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"a line cannot be read: {error}",
            where=f"{experiment.store.url}/{key}",
            remedy="mend that line; the others say how often the test split was looked at",
        ) from error


def after_verdict(experiment: Experiment, weights: Iterable[str]) -> bool:
    """Has a verdict been given, and was it about other weights than these hashes?"""
    try:
        verdict = json.loads(experiment.store.read(experiment.layout.comparison))
        judged = {run["weights_hash"] for run in verdict["runs"]}
    except Absent:
        return False
    except (ValueError, KeyError, TypeError):
        return True  # a verdict stood there; nobody can say any more what it was about
    return not set(weights) <= judged
