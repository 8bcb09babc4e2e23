"""A training of a model whose lowest layers are frozen: they stay as they are, and are passed over.

What they give is computed once; dropout is off there, since noise from layers that cannot learn
would only blur the rest. Where it cannot be kept it is computed each time, with the same result but
for rounding. A training that goes on does as it began.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from handful.errors import UserError
from handful.training.cpu.activations import Wanted, with_activations
from handful.training.data.splits import SplitData
from handful.training.loop import runtime
from handful.training.loop.state import random_state, set_random_state
from handful.training.model.first_head import Ready
from handful.training.model.frozen_layers import FrozenLayers, hold_frozen_layers_in_eval, passing
from handful.training.model.head_start import Beginning
from handful.training.model.untrained import Untrained

Splits = tuple[SplitData, SplitData]


def skip_frozen_layers(
    ready: Ready, beginning: Beginning, stack: ExitStack, *, resumed: bool
) -> tuple[Beginning, Splits]:
    """How it begins, then, and its data, with what the frozen layers give where that is kept. Until
    `stack` is closed the model passes over them.

    `UserError` if what a training began with cannot be had when it is `resumed`.
    """
    if beginning.frozen is None:
        return beginning, ready.data
    before = random_state()
    frozen = FrozenLayers.from_json(beginning.frozen)
    model = ready.built.model
    stack.enter_context(hold_frozen_layers_in_eval(model, frozen))
    found = _load_frozen_outputs(ready, frozen) if beginning.kept or not resumed else None
    set_random_state(before)
    if resumed and beginning.kept and found is None:
        _refuse(ready)
    if found is None:
        return replace(beginning, kept=False), ready.data
    stack.enter_context(passing(model, frozen))
    return replace(beginning, kept=True), (found["train"], found["validation"])


def _load_frozen_outputs(ready: Ready, frozen: FrozenLayers) -> dict[str, SplitData] | None:
    section = ready.experiment.settings.train_for(ready.order.model)
    # A compiled model would have to be compiled anew; in checkpoints layers are computed once more.
    apart = section.COMPILE or section.GRADIENT_CHECKPOINTING
    if apart or section.ACTIVATIONS_KEPT is None:
        return None
    ready.built.model.to(runtime.default_device())
    untrained = Untrained(
        experiment=ready.experiment,
        name=ready.order.model,
        model=ready.built.model,
        collate=ready.collate,
        precision=ready.precision,
        splits={"train": ready.data[0], "validation": ready.data[1]},
        data_hash=ready.order.data_hash,
        team=ready.team,
        stopping=ready.stopping,
    )
    return with_activations(Wanted(untrained, frozen, section.ACTIVATIONS_KEPT))


def _refuse(ready: Ready) -> None:
    """It would go on, but not to the bit as it was to."""
    what = f"{ready.order.name} was interrupted with the outputs of its frozen layers kept"
    if ready.order.resume_anyway:
        ready.experiment.progress.warn(f"{what}; now they are computed in every epoch")
        return
    raise UserError(
        f"{what}, and now they cannot be",
        where="[train] ACTIVATIONS_KEPT",
        remedy="write it as it was, make room, start over with `--redo train`, or go on all the "
        "same with `--resume-anyway`",
    )
