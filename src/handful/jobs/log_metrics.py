"""The lines in which a training tells its metrics, and the patterns that find them again.

Whoever follows a training by its log (SageMaker does) reads these lines; so the words and the
patterns stand side by side, and a test holds them together. This module imports nothing heavy.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_NUMBER = r"(-?[0-9]+\.?[0-9]*(?:e-?[0-9]+)?)"


@dataclass(frozen=True)
class MetricPattern:
    """A metric's name, and the pattern whose one group is its value in a line of the log."""

    name: str
    regex: str


def validation_line(
    name: str, epoch: float, metric: tuple[str, float], loss: float, best: bool
) -> str:
    """What is said after each validation; `metric` is the name and the value of `METRIC`."""
    return (
        f"{name}: epoch {epoch:g}: {metric[0]} {metric[1]:.4f} "
        f"on validation, loss {loss:.4f}{' (best)' if best else ''}"
    )


def best_line(name: str, epoch: float, metric: tuple[str, float]) -> str:
    """What is said once, at the end of a training: by this it is compared with others."""
    return f"{name}: finished: best {metric[0]} {metric[1]:.6f}, after epoch {epoch:g}"


def best_name(metric: str) -> str:
    """The name under which `best_line`'s value is found."""
    return f"best:{metric}"


def metric_patterns(metric: str) -> tuple[MetricPattern, ...]:
    """All that can be followed in the log of a training whose `METRIC` is `metric`.

    The lines come as JSON (`handful.jobs.events`), so the figures of a step do, too.
    """
    word = re.escape(json.dumps(metric)[1:-1])  # as it stands inside a line of JSON
    step = r'"event": "advance", "task": "train .*"figures": \{.*'
    own = MetricPattern(f"validation:{metric}", rf": {word} {_NUMBER} on validation, loss")
    return (
        MetricPattern("train:loss", rf'{step}"loss": {_NUMBER}'),
        MetricPattern("train:learning_rate", rf'{step}"lr": {_NUMBER}'),
        MetricPattern("train:documents_per_second", rf'{step}"docs/s": {_NUMBER}'),
        MetricPattern("validation:loss", rf" on validation, loss {_NUMBER}"),
        *([] if metric == "loss" else [own]),  # one name, one pattern
        MetricPattern(best_name(metric), rf": finished: best {word} {_NUMBER}, after epoch"),
    )
