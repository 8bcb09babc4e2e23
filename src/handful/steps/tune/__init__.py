"""tune: a search for better settings, model by model, judged on validation only.

The driver draws the trials, a worker trains each of them (a tuning job of SageMaker does both);
what a worker is told leaves the test split out. Every trial's end is a file of its own, so that a
search that was killed goes on where it was: finished trials stand, a trial that was cut off goes
on from its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from handful.backends.base import Backend
from handful.errors import HandfulError, StepError
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import difference
from handful.layout import check_model_folders
from handful.records import Best, Fingerprint, Prepared, Tuned
from handful.records.moments import current_moment
from handful.steps.train import check_rows
from handful.steps.tune import trials
from handful.steps.tune.drawing import as_they_stand, draw
from handful.steps.tune.elsewhere import search_elsewhere
from handful.steps.tune.running import Search, run_round
from handful.steps.tune.trials import State, Trial
from handful.steps.tune.writing import write_search

FAILURES_TOLD = 3
SAME = 1e-9
"""Values this close, as a share of them, are equal."""


def tune(
    experiment: Experiment,
    prepared: Prepared,
    backend: Backend,
    *,
    made_from: Fingerprint,
    anew: bool = False,
) -> Tuned:
    """Search each model's settings in `TRIALS` trials, for `TUNE_TIME`; without either not at all.

    Trials that have ended and are up to date are kept, unless `anew`. Raises `StepError` if no
    trial of a model could be finished, and what no trial is to blame for.
    """
    settings, best = experiment.settings, []
    if not settings.tune.is_asked:
        experiment.progress.note("tune: no [tune] TRIALS, so the settings stay as they are")
    else:
        check_model_folders(settings.train.MODEL_NAMES)
        check_rows(experiment.store, experiment.layout, settings, prepared)
        for model in settings.train.MODEL_NAMES:
            if anew:
                experiment.store.delete_tree(experiment.layout.tuning(model))
            best.append(_tune_one_model(Search(experiment, prepared, backend, model)))
    finished = current_moment()
    return Tuned(best=tuple(best), made_from=made_from, finished_at=finished)


def _tune_one_model(search: Search) -> Best:
    settings, progress = search.experiment.settings, search.experiment.progress
    if search.backend.searches:
        standing, count = _standing(search), settings.tune.most_trials
        found = [standing[n] for n in range(count)] if len(standing) == count else None
        found = found or search_elsewhere(search)
    else:
        found = _all_trials(search)
    best = best_of(search, found)
    write_search(search, found, best)
    values = ", ".join(f"{key} = {text}" for key, text in best.tried.items())
    progress.note(
        f"tune: {search.folder}: trial {best.number} was the best of {len(found)}: "
        f"{settings.train.METRIC} {best.value:.4f} on validation with {values}"
        f"{_how_tied(equals(_complete(found), settings.train.METRIC_GOAL), best)}"
    )
    return Best(search.folder, best.number, best.value or 0.0, dict(best.values))


def best_of(search: Search, found: Sequence[Trial]) -> Trial:
    """The finished trial with the best value; `StepError` if none is.

    Of equals the one with the lower validation loss: on a few hundred artifacts many trials are
    right on equally many, and the loss still tells them apart. Then the first.
    """
    complete = _complete(found)
    if not complete:
        failed = [one for one in found if one.state is State.FAILED]
        told = [f"trial {one.number}: {one.error}" for one in failed[:FAILURES_TOLD]]
        raise StepError(
            "\n    ".join(
                [
                    f"of {len(found)} trials of {search.folder} {len(failed)} failed and "
                    f"{len(found) - len(failed)} were pruned, so no settings could be chosen",
                    *told,
                ]
            ),
            where="[tune]",
            remedy="mend what failed, or give narrower ranges; the next run tries again",
        )
    first, *_ = sorted(equals(complete, search.experiment.settings.train.METRIC_GOAL), key=_by_loss)
    return first


def equals(complete: Sequence[Trial], goal: str) -> list[Trial]:
    """The trials that share the best value; rounding of a mean makes no difference."""
    values = [one.value or 0.0 for one in complete]
    best = max(values) if goal == "max" else min(values)
    return [
        one
        for one, value in zip(complete, values, strict=True)
        if math.isclose(value, best, rel_tol=SAME, abs_tol=SAME * SAME)
    ]


def _complete(found: Sequence[Trial]) -> list[Trial]:
    return [one for one in found if one.state is State.COMPLETE]


def _how_tied(tied: Sequence[Trial], best: Trial) -> str:
    if len(tied) == 1:
        return ""
    how = "the first of them counts"
    if best.loss is not None:
        how = f"the lowest loss on validation decided, {best.loss:.4f}"
    return f" ({len(tied)} trials reached that; {how})"


def _by_loss(one: Trial) -> tuple[float, int]:
    return (math.inf if one.loss is None else one.loss, one.number)


def _all_trials(search: Search) -> list[Trial]:
    """Every trial, round by round: those that stand as they are, the others run.

    The first tries the settings as they stand. No round begins when `TUNE_TIME` is over.
    """
    section, started = search.experiment.settings.tune, time.monotonic()
    standing = _standing(search)
    found: list[Trial] = []
    spent = 0.0
    while len(found) < section.most_trials:
        first = len(found)
        numbers = range(first, min(first + section.PARALLEL, section.most_trials))
        kept = {number: standing[number] for number in numbers if number in standing}
        if len(kept) < len(numbers):
            over = max(spent, time.monotonic() - started)
            if section.TUNE_TIME is not None and first and over >= section.TUNE_TIME:
                search.experiment.progress.note(
                    f"tune: {search.folder}: TUNE_TIME is over after {len(found)} trials"
                )
                found += [kept[number] for number in numbers if number in kept]
                break
            kept |= _round(search, numbers, kept, found)
        found += [kept[number] for number in numbers]
        spent += max(kept[number].seconds for number in numbers)
    return found


def _round(
    search: Search, numbers: range, kept: Mapping[int, Trial], before: Sequence[Trial]
) -> dict[int, Trial]:
    settings = search.experiment.settings
    ranges, seed = settings.tune.ranges, settings.experiment.SEED
    drawn = draw(ranges, settings.train.METRIC_GOAL, seed, numbers, before)
    missing: dict[int, Mapping[str, str]] = {
        n: v for n, v in zip(numbers, drawn, strict=True) if n not in kept
    }
    if 0 in missing:
        missing[0] = as_they_stand(search) or missing[0]
    for number, values in missing.items():
        told = ", ".join(f"{key} = {text}" for key, text in values.items())
        of = f" of {settings.tune.TRIALS}" if settings.tune.TRIALS else ""
        search.experiment.progress.note(
            f"tune: {search.folder} trial {number}{of} (from 0): {told}"
            f"{', as the settings stand' if not number and values != drawn[0] else ''}"
        )
    return {one.number: one for one in run_round(search, missing, before)}


def _standing(search: Search) -> dict[int, Trial]:
    """The trials that have ended and are up to date, by number.

    If none of them was finished, none stands: what was wrong may have been mended.
    """
    found = {}
    mine = search.experiment
    for number in trials.numbers(mine.store, mine.layout, search.model):
        if number >= mine.settings.tune.most_trials:
            break
        trial = trials.read(mine.store, mine.layout, search.model, number, mine.progress)
        if trial is None:
            continue
        change = _describe_trial_change(search, trial)
        if change:
            search.experiment.progress.note(
                f"tune: {search.folder} trial {number} is done again: {change}"
            )
            search.experiment.store.delete_tree(
                search.experiment.layout.trial(search.model, number)
            )
        else:
            found[number] = trial
    if not any(one.state is State.COMPLETE for one in found.values()):
        return {}
    if found:
        search.experiment.progress.note(f"tune: {search.folder}: {len(found)} trials stand")
    return found


def _describe_trial_change(search: Search, trial: Trial) -> str | None:
    try:
        return difference(trial.made_from, search.made_from(trial.values))
    except HandfulError as error:
        return str(error)
