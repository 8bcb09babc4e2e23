"""The head of a training that starts anew: the probe's, if it asks for that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from handful.errors import HandfulError, Locked, StepError
from handful.experiment.context import Experiment
from handful.jobs.arguments import TrainArgs
from handful.settings.recipe import Recipe
from handful.training.data.collate import Collator
from handful.training.data.padding_trial import short_and_longer
from handful.training.data.splits import SplitData
from handful.training.evaluation.features import Frozen, features
from handful.training.evaluation.probe import fit_probe_by_metric
from handful.training.loop import runtime
from handful.training.loop.parallel_strategy import WHOLE
from handful.training.loop.process_group import Team
from handful.training.loop.state import random_state, set_random_state
from handful.training.loop.stopping import Stopped, Stopping
from handful.training.model.contrastive import tune_encoder
from handful.training.model.frozen_layers import FrozenLayers, find_frozen_layers
from handful.training.model.head_start import (
    PROBE,
    RANDOM,
    Beginning,
    Headed,
    asks_for_head,
    find_classifier_head,
    resolve_head_start,
)
from handful.training.model.load import Built
from handful.user_functions.load import Functions

_FIRST_HEAD_TRIAL_ROWS = 2


@dataclass(frozen=True)
class Ready:
    """What a training that starts anew has before its head is settled."""

    experiment: Experiment
    functions: Functions
    order: TrainArgs
    data: tuple[SplitData, SplitData]
    built: Built
    collate: Collator
    team: Team
    precision: str
    recipe: Recipe
    stopping: Stopping


def begin(ready: Ready) -> Beginning:
    """How it begins; what the contrastive stage and the probe have found is in the model then.
    Random numbers go on as before."""
    order, experiment, before = ready.order, ready.experiment, random_state()
    layers = agree_on_frozen_layers(ready)
    steps = tune_encoder(ready)
    section = experiment.settings.train_for(order.model)
    labels = len(order.label2id)
    known = Headed(ready.built, None, ready.collate)
    if asks_for_head(section, ready.built):
        known = find_classifier_head(ready.built, ready.data[0], ready.collate, labels, ready.team)
    beginning = resolve_head_start(section, known, ready.recipe)
    if beginning.head == PROBE and known.head is not None:
        model = ready.built.model
        model.to(runtime.default_device())
        frozen = Frozen(
            experiment=experiment,
            name=order.model,
            model=model,
            head=known.head,
            collate=ready.collate,
            precision=ready.precision,
            splits={"train": ready.data[0], "validation": ready.data[1]},
            data_hash=order.data_hash,
            team=ready.team,
            batch_size=ready.recipe.batch_size,
            stopping=ready.stopping,
        )
        fault = _fill_head_from_probe(ready, frozen)
        if fault and section.HEAD_INIT == PROBE:
            raise StepError(f"{order.name}: there is no probe to begin with: {fault}")
        if fault:
            experiment.progress.warn(f"{order.name} begins with a random head: {fault}")
            beginning = replace(beginning, head=RANDOM)
    set_random_state(before)
    return replace(beginning, frozen=layers.to_json() if layers else None, contrastive=steps)


def agree_on_frozen_layers(ready: Ready) -> FrozenLayers | None:
    """Those that nothing trains, if what they give may be kept; what the leader finds counts."""
    model, data = ready.built.model, ready.data[0]
    if ready.experiment.settings.train_for(ready.order.model).SHARDING != WHOLE:
        return None  # it may be too large for one device
    if all(parameter.requires_grad for parameter in model.parameters()):
        return None
    model.to(runtime.default_device())
    rows = short_and_longer(data)
    if rows is None:
        rows = np.arange(min(_FIRST_HEAD_TRIAL_ROWS, len(data)), dtype=np.int64)
    found = find_frozen_layers(model, data, ready.collate, rows)
    told = ready.team.collect(found.to_json() if found else {})[0]
    if not told and ready.team.leads:
        _tell_all_is_computed(ready)
    return FrozenLayers.from_json(told) if told else None


def _tell_all_is_computed(ready: Ready) -> None:
    sizes = [(each.numel(), each.requires_grad) for each in ready.built.model.parameters()]
    frozen = sum(size for size, trained in sizes if not trained)
    ready.experiment.progress.note(
        f"{ready.order.name}: {frozen / sum(size for size, _ in sizes):.0%} of the parameters are "
        "frozen, but no lowest layers whose outputs could be kept: all is computed in each epoch"
    )


def _fill_head_from_probe(ready: Ready, frozen: Frozen) -> str:
    """Give the model the probe's weights; why that cannot be, the same on all of a team."""
    fault = ""
    try:
        vectors = features(frozen)
    except Stopped:
        raise
    except StepError as error:  # raised on all of them
        return error.fault.what
    if ready.team.leads:  # the others get its weights before the first step
        try:
            probe = fit_probe_by_metric(frozen, vectors, ready.functions, ready.order.label2id)
            frozen.head.fill(frozen.model, probe.weight, probe.bias)
        except Locked:
            raise
        except (HandfulError, RuntimeError, ValueError, ArithmeticError) as error:
            fault = " ".join(str(error).split())[:300]
    return str(ready.team.collect({"fault": fault})[0]["fault"])
