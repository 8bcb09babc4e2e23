"""Which trials are not worth their remaining epochs: Optuna's median rule, decided in the worker.

The driver hands over the validation values of the trials that were finished when this one was
drawn. The decision needs nothing else, so it is the same however often a trial was interrupted and
whatever runs beside it. After each validation but the last one, a trial is given up if its best
value so far is worse than the median of the finished trials' values at the same validation (Golovin
et al. 2017, "Google Vizier", the median stopping rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STARTUP_TRIALS = 5
"""Before so many are finished, none is given up: Optuna's default."""


@dataclass(frozen=True)
class Pruning:
    """The rule for one trial."""

    before: tuple[tuple[float, ...], ...]
    """Of each trial that was finished before, its values after each validation."""
    goal: str
    """max | min"""

    def hopeless(self, values: Sequence[float]) -> bool:
        """Is a trial with these values, after each validation so far, worth no more epochs?"""
        if len(self.before) < STARTUP_TRIALS or not values:
            return False
        import optuna
        from optuna.trial import TrialState, create_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        rule = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
        study = optuna.create_study(
            direction="maximize" if self.goal == "max" else "minimize", pruner=rule
        )
        for line in self.before:
            seen = dict(enumerate(line, start=1))
            study.add_trial(
                create_trial(state=TrialState.COMPLETE, value=line[-1], intermediate_values=seen)
            )
        trial = study.ask()
        for number, value in enumerate(values, start=1):
            trial.report(value, number)
        return trial.should_prune()
