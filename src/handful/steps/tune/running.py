"""A round of trials: each a job of its own, as many at once as `PARALLEL` says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from handful.backends.base import Backend
from handful.errors import HandfulError, Interrupted, StoreError
from handful.experiment.context import Experiment, with_values
from handful.jobs.arguments import TrainArgs, TrialArgs
from handful.layout import model_folder
from handful.records import Prepared
from handful.steps.train import run_fingerprint, training_job
from handful.steps.tune import trials
from handful.steps.tune.trials import State, Trial
from handful.system.threads import run_side_by_side


@dataclass(frozen=True)
class Search:
    """The search for one model's settings."""

    experiment: Experiment
    prepared: Prepared
    backend: Backend
    model: str

    @property
    def folder(self) -> str:
        """The model's folder, which names it in records."""
        return model_folder(self.model)

    @property
    def seed(self) -> int:
        """Every trial is trained with the first seed only."""
        return self.experiment.settings.train.SEEDS[0]

    def made_from(self, values: Mapping[str, str]) -> dict[str, str]:
        """What a trial with these values is made from."""
        mine = with_values(self.experiment, self.model, values)
        settings = self.experiment.settings
        return {
            **run_fingerprint(mine.directory, mine.settings, self.prepared, self.model, self.seed),
            "[experiment] SEED": str(settings.experiment.SEED),
            **{f"[tune] {one.key}": str(one) for one in settings.tune.ranges},
        }


def run_round(
    search: Search, drawn: Mapping[int, Mapping[str, str]], before: Sequence[Trial]
) -> list[Trial]:
    """Run the trials `drawn` (number → values) at once, to the end of all of them.

    A trial that fails is written down as failed. Raises what no trial is to blame for: an
    interruption, or a store that does not answer.
    """
    works = [partial(_run_trial_job, search, number, drawn[number], before) for number in drawn]
    if len(works) == 1:
        # Here and not in a thread: Ctrl-C reaches the worker's backend, which lets it finish well.
        try:
            ended: list[Trial | BaseException] = [works[0]()]
        except Exception as error:  # noqa: BLE001 - judged as those of many are
            ended = [error]
    else:
        ended = run_side_by_side(works)
    return [
        _resolve_trial_outcome(search, number, drawn[number], found)
        for number, found in sorted(zip(drawn, ended, strict=True))
    ]


def _resolve_trial_outcome(
    search: Search, number: int, values: Mapping[str, str], found: Trial | BaseException
) -> Trial:
    if isinstance(found, Trial):
        return found
    if not isinstance(found, HandfulError) or isinstance(found, Interrupted | StoreError):
        raise found
    made_from = _trial_fingerprint_or_empty(search, values)
    trial = Trial(number, values, State.FAILED, made_from, error=str(found))
    trials.write(search.experiment.store, search.experiment.layout, search.model, trial)
    search.experiment.progress.warn(f"tune: {search.folder} trial {number} failed: {found}")
    return trial


def _trial_fingerprint_or_empty(search: Search, values: Mapping[str, str]) -> dict[str, str]:
    """Values that the settings refuse have no fingerprint; such a trial is tried again."""
    try:
        return search.made_from(values)
    except HandfulError:
        return {}


def _run_trial_job(
    search: Search, number: int, values: Mapping[str, str], before: Sequence[Trial]
) -> Trial:
    mine = with_values(search.experiment, search.model, values)
    trial = TrialArgs(
        number,
        dict(values),
        before=[one.seen for one in before if one.state is State.COMPLETE],
        given_up=[one.seen for one in before if one.state is State.PRUNED],
    )
    made_from = search.made_from(values)
    arguments = TrainArgs(search.model, search.seed, made_from=made_from, trial=trial)
    job = training_job(mine, search.prepared, search.backend, arguments)
    search.backend.run(job, search.experiment.progress)
    store, layout, progress = mine.store, mine.layout, mine.progress
    found = trials.read(store, layout, search.model, number, progress)
    if found is None:
        raise StoreError(
            "the trial ended without its record",
            where=trials.key(search.experiment.layout, search.model, number),
            remedy="run again",
        )
    return found
