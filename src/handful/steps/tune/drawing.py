"""What a trial tries: Optuna's TPE, asked by the driver alone.

The method: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization". A trial's values
depend on SEED, its number and the trials before its round, and on nothing that a restart forgets:
the study is built anew from the finished trials, and each draw has a generator of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handful.settings import TrainSection
from handful.settings.counted import as_text
from handful.settings.declare import keys_of
from handful.settings.values.parse import as_number
from handful.settings.values.types import Range
from handful.steps.tune.trials import State, Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from handful.steps.tune.running import Search

_AUTO = "auto"
RANDOM_TRIALS = 10
"""So many are drawn at random before the model of good values is asked: Optuna's default."""


def draw(
    ranges: Sequence[Range], goal: str, seed: int, numbers: Sequence[int], before: Sequence[Trial]
) -> list[dict[str, str]]:
    """The values of the trials `numbers`, which run together, given those finished `before`.

    Key → text as settings.ini would write it.
    """
    from optuna.samplers import TPESampler

    study = study_of(ranges, goal, before)
    found = []
    for number in numbers:
        # Those of the same round that were asked before count as running: TPE avoids them.
        study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=_seed(seed, number))
        asked = study.ask(distributions(ranges))
        found.append({one.key: _format_range_value(one, asked.params[one.key]) for one in ranges})
    return found


def study_of(ranges: Sequence[Range], goal: str, trials: Iterable[Trial]) -> Study:
    """A study in memory that knows `trials`; those that failed taught nothing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if goal == "max" else "minimize")
    known = sorted(trials, key=lambda trial: trial.number)
    ended = [
        trial
        for trial in known
        if trial.state != State.FAILED and _fits(ranges, _as_drawn(ranges, trial))
    ]
    study.add_trials(_build_optuna_trial(ranges, trial) for trial in ended)
    return study


def as_they_stand(search: Search) -> dict[str, str] | None:
    """The values that the settings have without a search, `auto` included.

    None if one lies outside of what is searched, or a key of `[user]` has none: whoever gives
    ranges may have written what only holds a place.
    """
    settings, found = search.experiment.settings, {}
    section = settings.train_for(search.model)
    for one in settings.tune.ranges:
        name = one.key.removeprefix("user.")
        is_user = one.key != name
        if is_user and name not in settings.user.values:
            return None
        value = settings.user.values[name] if is_user else getattr(section, name)
        found[one.key] = _format_range_value(one, value)
        if found[one.key] != _AUTO and not _fits([one], found):
            return None
    return found


def _as_drawn(ranges: Sequence[Range], trial: Trial) -> dict[str, str]:
    """Its values where they may have been drawn (`auto` is a choice); else what it stood for."""
    return {
        one.key: trial.values[one.key]
        if _fits([one], trial.values)
        else trial.tried.get(one.key, "")
        for one in ranges
    }


def _fits(ranges: Sequence[Range], values: Mapping[str, str]) -> bool:
    """May they have been drawn? The settings as they stand may lie outside of the ranges."""
    try:
        params = parse_trial_values(ranges, values)
    except (ValueError, StopIteration, KeyError):
        return False
    wanted = distributions(ranges)
    return all(one._contains(one.to_internal_repr(params[key])) for key, one in wanted.items())


def distributions(ranges: Sequence[Range]) -> dict[str, BaseDistribution]:
    """Optuna's words for the ranges of `[tune]`."""
    return {one.key: _distribution(one) for one in ranges}


def _distribution(one: Range) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if one.kind == "choice":
        return CategoricalDistribution(one.choices)
    low, high = one.low or 0.0, one.high or 0.0
    if one.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=one.kind == "log")


def _build_optuna_trial(ranges: Sequence[Range], trial: Trial) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    complete = trial.state == State.COMPLETE
    return create_trial(
        state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        value=trial.value if complete else None,
        params=parse_trial_values(ranges, _as_drawn(ranges, trial)),
        distributions=distributions(ranges),
        intermediate_values=dict(enumerate(trial.seen, start=1)),
    )


def parse_trial_values(ranges: Sequence[Range], values: Mapping[str, str]) -> dict[str, Any]:
    """A trial's texts as the values that Optuna drew."""
    found: dict[str, Any] = {}
    for one in ranges:
        text = values[one.key]
        if one.kind == "choice":
            found[one.key] = next(
                c for c in one.choices if _is_same_range_text(_format_range_value(one, c), text)
            )
        elif one.kind == "int" and float(text).is_integer():
            found[one.key] = int(float(text))
        else:
            found[one.key] = float(text)
    return found


def _is_same_range_text(one: str, other: str) -> bool:
    first, second = as_number(one), as_number(other)
    return one == other or (first is not None and first == second)


def _format_range_value(one: Range, value: Any) -> str:
    key = keys_of(TrainSection).get(one.key)
    return key.parser.nothing if key and value is None else as_text(value)


def _seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed} trial {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
