"""A training of a model whose lowest layers are frozen: they stay as they are, and are passed over.

What they give is computed once; dropout is off there, since noise from layers that cannot learn
would only blur the rest. Where it cannot be kept it is computed each time, with the same result but
for rounding. A training that goes on does as it began.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from handful.training import runtime
from handful.training.activations import Wanted, with_activations
from handful.training.beginning import Beginning
from handful.training.data import SplitData
from handful.training.first_head import Ready
from handful.training.frozen_layers import FrozenLayers, hold_still, passing
from handful.training.state import random_state, set_random_state
from handful.training.untrained import Untrained

Splits = tuple[SplitData, SplitData]


def passed_over(ready: Ready, beginning: Beginning, stack: ExitStack) -> tuple[Beginning, Splits]:
    """How it begins, then, and its data, with what the frozen layers give where that is kept. Until
    `stack` is closed the model passes over them."""
    if beginning.frozen is None:
        return beginning, ready.data
    before = random_state()
    frozen = FrozenLayers.from_json(beginning.frozen)
    model = ready.built.model
    hold_still(model, frozen)
    section = ready.experiment.settings.train_for(ready.order.model)
    # A compiled model would have to be compiled anew.
    if section.COMPILE or section.ACTIVATIONS_KEPT is None:
        return replace(beginning, kept=False), ready.data
    model.to(runtime.default_device())
    untrained = Untrained(
        experiment=ready.experiment,
        name=ready.order.model,
        model=model,
        collate=ready.collate,
        precision=ready.precision,
        splits={"train": ready.data[0], "validation": ready.data[1]},
        data_hash=ready.order.data_hash,
        team=ready.team,
    )
    found = with_activations(Wanted(untrained, frozen, section.ACTIVATIONS_KEPT))
    set_random_state(before)
    if found is None:
        return replace(beginning, kept=False), ready.data
    stack.enter_context(passing(model, frozen))
    return replace(beginning, kept=True), (found["train"], found["validation"])
