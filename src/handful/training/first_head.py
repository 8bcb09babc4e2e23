"""The head of a training that starts anew: the probe's, if it asks for that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from handful.errors import HandfulError, Locked, StepError
from handful.experiment import Experiment
from handful.functions import Functions
from handful.training import runtime
from handful.training.beginning import (
    PROBE,
    RANDOM,
    Beginning,
    Headed,
    asks_for_head,
    begun,
    headed,
)
from handful.training.collate import Collator
from handful.training.data import SplitData
from handful.training.features import Frozen, features
from handful.training.model import Built
from handful.training.order import Order
from handful.training.probe import fitted_probe
from handful.training.state import random_state, set_random_state
from handful.training.team import Team


@dataclass(frozen=True)
class Ready:
    """What a training that starts anew has before its head is settled."""

    experiment: Experiment
    functions: Functions
    order: Order
    data: tuple[SplitData, SplitData]
    built: Built
    collate: Collator
    team: Team
    precision: str


def begin(ready: Ready) -> Beginning:
    """How it begins; the probe's weights are in the model then. Random numbers go on as before."""
    order, experiment, before = ready.order, ready.experiment, random_state()
    section = experiment.settings.train_for(order.model)
    labels = len(order.label2id)
    known = Headed(ready.built, None, ready.collate)
    if asks_for_head(section, ready.built):
        known = headed(ready.built, ready.data[0], ready.collate, labels, ready.team)
    beginning = begun(section, known)
    if beginning.head == PROBE and known.head is not None:
        model = ready.built.model
        model.to(runtime.default_device())
        frozen = Frozen(
            experiment,
            order.model,
            model,
            known.head,
            ready.collate,
            ready.precision,
            {"train": ready.data[0], "validation": ready.data[1]},
            order.data_hash,
            ready.team,
            section.BATCH_SIZE,
        )
        fault = _headed_by_probe(ready, frozen)
        if fault and section.HEAD_INIT == PROBE:
            raise StepError(f"{order.name}: there is no probe to begin with: {fault}")
        if fault:
            experiment.progress.warn(f"{order.name} begins with a random head: {fault}")
            beginning = replace(beginning, head=RANDOM)
    set_random_state(before)
    return beginning


def _headed_by_probe(ready: Ready, frozen: Frozen) -> str:
    """Give the model the probe's weights; why that cannot be, the same on all of a team."""
    fault = ""
    try:
        vectors = features(frozen)
    except StepError as error:  # raised on all of them
        return error.fault.what
    if ready.team.leads:  # the others get its weights before the first step
        try:
            probe = fitted_probe(frozen, vectors, ready.functions, ready.order.label2id)
            frozen.head.fill(frozen.model, probe.weight, probe.bias)
        except Locked:
            raise
        except (HandfulError, RuntimeError, ValueError, ArithmeticError) as error:
            fault = " ".join(str(error).split())[:300]
    return str(ready.team.collect({"fault": fault})[0]["fault"])
