"""With what head a training begins, and how fast that learns: HEAD_INIT, HEAD_LEARNING_RATE.

A training that goes on begins as it began, whatever the settings' `auto` has come to mean since:
its checkpoints say so. Those of builds that had no choice began with the class's own pooling, a
random head, and one pace for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from handful.errors import UserError
from handful.settings import TrainSection
from handful.settings.recipe import Recipe
from handful.training.data.collate import Collator
from handful.training.data.splits import SplitData
from handful.training.loop.optimizer import Pace
from handful.training.loop.parallel_strategy import WHOLE
from handful.training.loop.process_group import Team
from handful.training.model.heads import Head, find_head
from handful.training.model.load import Built
from handful.training.model.pooling import Pooling
from handful.training.model.pretrained import AUTO, MODEL

PROBE, RANDOM = "probe", "random"
TIMES = 10.0
"""The pace of a default model's new head, over its encoder's."""
_HEAD_START_TRIAL_ROWS = 2
"""Rows that a head is looked for with."""


@dataclass(frozen=True)
class Beginning:
    """Kept in every checkpoint."""

    pooling: Mapping[str, Any] | None = None
    """As `Pooling` has it, of a default model, whatever `auto` comes to mean; None: as its class
    does it."""
    head: str = RANDOM
    """ "probe": with the probe's weights; "random": as the model was built."""
    times: float = 1.0
    """The learning rate of the head, over that of the rest."""
    names: tuple[str, ...] = ()
    """Of the head's parameters, if it has a pace of its own."""
    frozen: Mapping[str, Any] | None = None
    """As `FrozenLayers` has them, of a model whose lowest layers are not trained: they stay in eval
    mode. None: it has none, or dropout is on there as in the rest."""
    kept: bool = False
    """Is what they give computed once?"""
    recipe: Mapping[str, Any] | None = None
    """As `Recipe` has it."""
    contrastive: int = 0
    """Steps of the contrastive stage before it."""

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        return told if self.contrastive else {k: told[k] for k in told if k != "contrastive"}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Beginning:
        return cls(**{**told, "names": tuple(told.get("names", ()))})

    @property
    def build_with(self) -> str | Pooling:
        """For `load.build`."""
        return Pooling.from_json(self.pooling) if self.pooling else MODEL

    @property
    def pace(self) -> Pace:
        return Pace(frozenset(self.names), self.times)


@dataclass(frozen=True)
class Headed:
    """A model with what is known of its head."""

    built: Built
    head: Head | None
    """Its last linear layer; None if its logits come from none."""
    collate: Collator

    @property
    def can_be_probed(self) -> bool:
        """Is all that stands below the head pretrained, as far as is known?"""
        return self.head is not None and set(self.built.fresh) <= self.head.parameters


def asks_for_head(section: TrainSection, built: Built) -> bool:
    """Has the head to be found? It takes some calls of the model."""
    if section.HEAD_INIT == RANDOM or (section.HEAD_INIT == AUTO and not built.is_default):
        return section.HEAD_LEARNING_RATE is not None and not built.fresh
    return True


def find_classifier_head(
    built: Built, data: SplitData, collate: Collator, labels: int, team: Team
) -> Headed:
    """`built` with the head that is found by the first rows of `data`; what the leader finds
    counts, since rounding may differ from machine to machine."""
    rows = np.arange(min(_HEAD_START_TRIAL_ROWS, len(data)), dtype=np.int64)
    found = find_head(built.model, collate(data.batch(rows)), labels)
    told = team.collect(asdict(found) if found else {})[0]
    return Headed(built, Head(**told) if told else None, collate)


def resolve_head_start(section: TrainSection, found: Headed, recipe: Recipe) -> Beginning:
    """What `section` asks for. `UserError` for a head that there is not."""
    built, head = found.built, found.head
    pooling = built.wanted.to_json() if built.wanted else None
    pace = _pace(section, built, head, recipe.learning_rate)
    return Beginning(pooling, _init(section, found), *pace, recipe=recipe.to_json())


def _init(section: TrainSection, found: Headed) -> str:
    if section.HEAD_INIT == RANDOM:
        return RANDOM
    if section.HEAD_INIT == AUTO:
        new = found.built.is_default and bool(found.built.fresh)
        return PROBE if new and found.can_be_probed and section.SHARDING == WHOLE else RANDOM
    if section.SHARDING != WHOLE:
        raise _head_setting_error("HEAD_INIT", "a probe needs the model whole on every process")
    if found.head is None:
        raise _no_head("HEAD_INIT", found.built.model)
    if not found.can_be_probed:
        below = ", ".join(sorted(set(found.built.fresh) - found.head.parameters))
        what = f"a probe needs pretrained states, and below the head these weights are new: {below}"
        raise _head_setting_error(
            "HEAD_INIT", what, "write POOLING = mean (or cls), or HEAD_INIT = random"
        )
    return PROBE


def _pace(
    section: TrainSection, built: Built, head: Head | None, rate: float
) -> tuple[float, tuple[str, ...]]:
    if section.HEAD_LEARNING_RATE is None:
        return (TIMES, built.fresh) if built.is_default and built.fresh else (1.0, ())
    names = built.fresh or (tuple(sorted(head.parameters)) if head else ())
    if not names:
        raise _no_head("HEAD_LEARNING_RATE", built.model)
    return section.HEAD_LEARNING_RATE / rate, names


def _no_head(key: str, model: nn.Module) -> UserError:
    what = f"the logits of {type(model).__name__} come from no linear layer that could be a head"
    return _head_setting_error(key, what)


def _head_setting_error(key: str, what: str, remedy: str = "write auto") -> UserError:
    return UserError(what, where=f"[train] {key}", remedy=remedy)
