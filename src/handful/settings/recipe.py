"""How long, how fast and in what batches a model is trained: EPOCHS, LEARNING_RATE, BATCH_SIZE.

What is `auto` follows from the data and the model by the rule of `by_data`. How far it is measured
says bench/README.md ("the rule of auto"); docs/settings-by-data.md tells it for people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

BATCH_SIZE = 32
"""Of those that a model is tested with, where nothing else is said."""
_FEW, _SMALL_BATCH = 2_000, 16
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 400, 3, 12
_RATES = ((30e6, 1e-4), (200e6, 5e-5), (math.inf, 2e-5))
"""Up to so many trainable parameters, embeddings aside: the highest learning rate."""


@dataclass(frozen=True)
class Facts:
    """What the rule looks at."""

    documents: int
    """In the training split."""
    parameters: int
    """That are trained, embeddings aside: they decide how far one step goes."""


@dataclass(frozen=True)
class Recipe:
    """What a training goes by."""

    epochs: float
    batch_size: int
    learning_rate: float
    by_rule: tuple[str, ...] = ()
    """The keys that were `auto`."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Recipe:
        return cls(**{**told, "by_rule": tuple(told.get("by_rule", ()))})

    @property
    def written(self) -> dict[str, str]:
        """What the keys that were `auto` stand for, as one would write it."""
        told = {
            "EPOCHS": f"{self.epochs:g}",
            "LEARNING_RATE": f"{self.learning_rate:g}",
            "BATCH_SIZE": f"{self.batch_size}",
        }
        return {name: text for name, text in told.items() if name in self.by_rule}

    def __str__(self) -> str:
        return ", ".join(f"{name} = {text}" for name, text in self.written.items())


def by_data(facts: Facts) -> Recipe:
    """The rule: a batch of 32, of 16 where documents are few; as many epochs as make 400 steps, 3
    to 12; the smaller the model, the larger its steps."""
    batch_size = _SMALL_BATCH if facts.documents < _FEW else BATCH_SIZE
    epochs = math.ceil(_STEPS * batch_size / max(1, facts.documents))
    rate = next(rate for most, rate in _RATES if facts.parameters <= most)
    return Recipe(float(min(_MOST_EPOCHS, max(_LEAST_EPOCHS, epochs))), batch_size, rate)


class Said(Protocol):
    """The section `[train]`; None is `auto`."""

    @property
    def EPOCHS(self) -> float | None: ...
    @property
    def BATCH_SIZE(self) -> int | None: ...
    @property
    def LEARNING_RATE(self) -> float | None: ...


def recipe_of(section: Said, facts: Facts, processes: int, before: Recipe | None = None) -> Recipe:
    """What `section` says, and the rule where it says `auto`; of a training that goes on, what it
    began with where that was `auto`, too (`before`)."""
    rule = by_data(facts)
    if before:
        epochs, size, rate = (
            getattr(before if key in before.by_rule else rule, name)
            for key, name in (
                ("EPOCHS", "epochs"),
                ("BATCH_SIZE", "batch_size"),
                ("LEARNING_RATE", "learning_rate"),
            )
        )
        rule = Recipe(epochs, size, rate)
    said = {"EPOCHS": section.EPOCHS, "BATCH_SIZE": section.BATCH_SIZE}
    said["LEARNING_RATE"] = section.LEARNING_RATE
    batch_size = section.BATCH_SIZE or math.ceil(rule.batch_size / processes) * processes
    return Recipe(
        section.EPOCHS or rule.epochs,
        batch_size,
        section.LEARNING_RATE or rule.learning_rate,
        tuple(name for name, value in said.items() if value is None),
    )
