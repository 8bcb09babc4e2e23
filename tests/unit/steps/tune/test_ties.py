"""Trials that reach the same METRIC: the better validation loss decides, then the number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handful.steps.tune import best_of
from handful.steps.tune.running import Search
from handful.steps.tune.trials import State, Trial
from handful.training.loop.state import RunState


def trial(number: int, value: float, loss: float | None, state: State = State.COMPLETE) -> Trial:
    return Trial(number, {}, state, {}, value, seen=(value,), loss=loss)


def search(goal: str = "max") -> Search:
    settings = SimpleNamespace(train=SimpleNamespace(METRIC="macro_f1", METRIC_GOAL=goal))
    experiment: Any = SimpleNamespace(settings=settings)
    nothing: Any = None
    return Search(experiment, nothing, nothing, "model")


THIRD = (0.1 + 0.2) / 0.3 / 3  # 1/3, but for its last digit
TRIALS = {
    "a tie: the lower loss": ((0.5, 0.9), (0.5, 0.4), (0.5, 0.6)),
    "a better value, whatever its loss": ((0.5, 0.1), (0.6, 2.0), (0.5, 0.2)),
    "equal in all: the first": ((0.4, 0.3), (0.5, 0.3), (0.5, 0.3)),
    "the rounding of a mean is no difference": ((1 / 3, 0.9), (THIRD, 0.8), (1 / 3, 0.85)),
    "a loss that is not known comes last": ((0.5, None), (0.5, 7.0), (0.5, None)),
    "no loss is known: the first": ((0.4, None), (0.5, None), (0.5, None)),
    "nothing was right: still a tie": ((0.0, 0.9), (0.0, 0.2), (0.0, 0.3)),
    "small values are no ties": ((1e-12, 0.1), (2e-12, 0.9), (1e-12, 0.2)),
}


@pytest.mark.parametrize("name", TRIALS)
def test_which_of_three_is_the_best(name: str) -> None:
    found = [trial(n, value, loss) for n, (value, loss) in enumerate(TRIALS[name])]
    assert best_of(search(), found).number == 1
    # The same of a metric that should be low, and in whatever order they came.
    turned = [trial(one.number, -(one.value or 0.0), one.loss) for one in reversed(found)]
    assert best_of(search("min"), turned).number == 1


def test_a_pruned_trial_wins_no_tie() -> None:
    found = [trial(0, 0.5, 0.9), trial(1, 0.5, 0.1, State.PRUNED)]
    assert best_of(search(), found).number == 0


def test_a_trial_of_before_has_no_loss() -> None:
    old = trial(3, 0.5, None).to_json().replace(b'"loss": null', b'"was": 1')
    assert b"loss" not in old
    assert Trial.from_json(old) == trial(3, 0.5, None)


@pytest.mark.parametrize(("loss", "found"), [(0.25, 0.25), (float("nan"), None), (None, None)])
def test_the_loss_is_that_of_the_best_epoch(loss: float | None, found: float | None) -> None:
    state = RunState()
    for step, value, one in ((2, 0.4, 0.9), (4, 0.6, loss), (6, 0.6, 0.1)):
        state.step = step
        state.history.append({"step": step, "epoch": step / 2, "loss": 1.0})
        state.history.append({"step": step, "epoch": step / 2, "validation": {"loss": one}})
        state.take(value, {"macro_f1": value}, step / 2, "max")
    assert state.best_step == 4
    assert state.best_loss() == found
