"""What trials try: the same from the same SEED, whatever happened between; and when they end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from handful.settings.values.types import Range
from handful.steps.tune.drawing import draw, study_of
from handful.steps.tune.trials import State, Trial
from handful.training.loop.pruning import Pruning

RANGES = (
    Range("LEARNING_RATE", "log", 1e-5, 1e-1),
    Range("WARMUP", "float", 0.0, 0.5),
    Range("EPOCHS", "int", 1, 9),
    Range("CLASS_WEIGHTS", "choice", choices=("none", "balanced")),
    Range("EARLY_STOPPING_PATIENCE", "choice", choices=(None, 2)),
    Range("user.DEEP", "choice", choices=(True, False)),
)


def value_of(values: dict[str, str]) -> float:
    """Best at a learning rate of 1e-3."""
    return -abs(math.log10(float(values["LEARNING_RATE"])) + 3)


def ended(number: int, values: dict[str, str]) -> Trial:
    value = value_of(values)
    state = State.PRUNED if number % 5 == 4 else State.COMPLETE
    return Trial(number, values, state, {}, value, seen=(value - 1, value))


def search(seed: int, count: int, before: Sequence[Trial] = ()) -> list[Trial]:
    found = list(before)
    for number in range(len(found), count):
        (values,) = draw(RANGES, "max", seed, [number], found)
        found.append(ended(number, values))
    return found


@pytest.fixture(scope="module")
def straight() -> list[Trial]:
    return search(0, 25)


@pytest.mark.parametrize("kept", [0, 1, 9, 10, 17])
def test_a_restart_draws_the_same(straight: list[Trial], kept: int) -> None:
    again = [Trial.from_json(trial.to_json()) for trial in straight[:kept]]
    assert search(0, 25, again) == straight


def test_another_seed_draws_others(straight: list[Trial]) -> None:
    assert [one.values for one in search(1, 3)] != [one.values for one in straight[:3]]


def test_values_lie_in_their_ranges(straight: list[Trial]) -> None:
    for trial in straight:
        values = trial.values
        assert 1e-5 <= float(values["LEARNING_RATE"]) <= 1e-1
        assert 0 <= float(values["WARMUP"]) <= 0.5
        assert values["EPOCHS"] in set("123456789")
        assert values["CLASS_WEIGHTS"] in {"none", "balanced"}
        assert values["EARLY_STOPPING_PATIENCE"] in {"none", "2"}
        assert values["user.DEEP"] in {"true", "false"}
    # Of the random ones on a log scale about half lie below its middle.
    assert any(float(trial.values["LEARNING_RATE"]) < 1e-3 for trial in straight[:10])


def test_it_learns_where_good_values_lie(straight: list[Trial]) -> None:
    def mean(trials: Sequence[Trial]) -> float:
        return sum(value_of(dict(trial.values)) for trial in trials) / len(trials)

    assert mean(straight[10:]) > mean(straight[:10])


def test_a_round_is_drawn_together_and_the_same_again(straight: list[Trial]) -> None:
    numbers = (12, 13, 14)
    drawn = draw(RANGES, "max", 0, numbers, straight[:12])
    assert drawn == draw(RANGES, "max", 0, numbers, list(reversed(straight[:12])))
    assert len({tuple(values.items()) for values in drawn}) == 3
    assert drawn[0] == straight[12].values


def test_failed_trials_teach_nothing(straight: list[Trial]) -> None:
    failed = Trial(5, {"LEARNING_RATE": "9"}, State.FAILED, {}, error="no memory")
    assert draw(RANGES, "max", 0, [6], [*straight[:5], failed]) == draw(
        RANGES, "max", 0, [6], straight[:5]
    )


def test_a_value_that_is_no_number_is_a_failure() -> None:
    trial = Trial(3, {}, State.COMPLETE, {}, math.nan, seen=(0.5, math.nan))
    read = Trial.from_json(trial.to_json())
    assert (read.state, read.value) == (State.FAILED, None)
    assert "no number" in read.error
    with pytest.raises(KeyError):
        Trial.from_json(b"[]")


@pytest.mark.parametrize(("goal", "sign"), [("max", 1.0), ("min", -1.0)])
def test_successive_halving(goal: str, sign: float) -> None:
    def rule(*finished: tuple[float, ...], given_up: tuple[float, ...] = ()) -> Pruning:
        lines = tuple(tuple(sign * value for value in line) for line in finished)
        return Pruning(lines, goal, tuple((sign * value,) for value in given_up))

    def hopeless(by: Pruning, *values: float) -> bool:
        return by.hopeless([sign * value for value in values])

    assert not hopeless(rule(), 0.1), "nothing to compare the first one with"
    one = rule((0.5, 0.6, 0.7))
    assert hopeless(one, 0.49)
    assert not hopeless(one, 0.5), "as good as the best"
    assert not hopeless(one), "not before its first validation"
    assert not hopeless(one, 0.49, 0.49), "the second is not looked at"
    assert hopeless(one, 0.49, 0.49, 0.69)
    assert not hopeless(one, 0.71, 0.1, 0.1), "the best so far counts, not the last"
    # Of six the best two go on; those that were given up take part as far as they came.
    five = rule((0.5, 0.6, 0.7), (0.6,), given_up=(0.1, 0.2, 0.3))
    assert not hopeless(five, 0.55)
    assert hopeless(five, 0.45)
    assert hopeless(five, 0.45, 0.5, 0.69), "a third of three is one"
    # One that had fewer epochs takes part with what it had reached.
    assert hopeless(rule((0.9,)), 0.5, 0.5, 0.8)


def test_the_settings_as_they_stand_teach_only_where_they_could_have_been_drawn() -> None:
    ranges = RANGES[:1]
    inside = Trial(0, {"LEARNING_RATE": "0.001"}, State.COMPLETE, {}, 0.5, seen=(0.5,))
    outside = Trial(1, {"LEARNING_RATE": "0.9"}, State.COMPLETE, {}, 0.9, seen=(0.9,))
    auto = Trial(2, {"LEARNING_RATE": "auto"}, State.COMPLETE, {}, 0.7, seen=(0.7,))
    told = replace(auto, recipe={"LEARNING_RATE": "0.0001"})
    study = study_of(ranges, "max", [inside, outside, auto, told])
    assert [one.params["LEARNING_RATE"] for one in study.trials] == [0.001, 0.0001]
    assert told.tried == {"LEARNING_RATE": "0.0001"}
    assert Trial.from_json(told.to_json()) == told
