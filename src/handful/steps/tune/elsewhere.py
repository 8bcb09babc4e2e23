"""A search that somebody else makes: one job draws the trials and trains them (SageMaker does).

The job is found again by its content, and its answer may be taken more than once: so the search
has a token in the store, which is another one when the search is to be made anew.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from handful.backends.base import Job
from handful.errors import Absent, HandfulError
from handful.jobs.arguments import TuneArgs
from handful.layout import SEARCH
from handful.steps.train import run_fingerprint, training_job
from handful.steps.tune import trials
from handful.steps.tune.running import Search
from handful.steps.tune.trials import State, Trial


def search_elsewhere(search: Search) -> list[Trial]:
    """Run the job "tune", or go on with it; every trial is written down as at home."""
    progress = search.experiment.progress
    progress.note(f"tune: {search.folder}: the search runs as one job")
    answer = search.backend.run(_job(search), progress)
    found = []
    for number, one in enumerate(answer["trials"]):
        trial = _build_trial_from_job(search, number, one)
        trials.write(search.experiment.store, search.experiment.layout, search.model, trial)
        if trial.state is State.FAILED:
            progress.warn(f"tune: {search.folder} trial {number} failed: {trial.error}")
        found.append(trial)
    if all(trial.state is State.FAILED for trial in found):
        forget_search(search)  # what was wrong may be mended: the next run searches anew
    return found


def forget_search(search: Search) -> None:
    """The next search is another one, although nothing that it is made from has changed."""
    search.experiment.store.delete([_search_token_key(search)])


def _job(search: Search) -> Job:
    mine, prepared, section = search.experiment, search.prepared, search.experiment.settings.tune
    made_from = {
        **run_fingerprint(mine.directory, mine.settings, prepared, search.model, search.seed),
        **{f"[tune] {one.key}": str(one) for one in section.ranges},
        "[tune] TRIALS": str(section.TRIALS),
        "the search": _token(search),
    }
    arguments = TuneArgs(search.model, search.seed, made_from=made_from)
    return training_job(mine, prepared, search.backend, arguments)


def _token(search: Search) -> str:
    store, key = search.experiment.store, _search_token_key(search)
    try:
        return str(json.loads(store.read(key))["token"])
    except (Absent, ValueError, KeyError, TypeError):
        token = secrets.token_hex(8)
        store.write(key, json.dumps({"token": token}).encode())
        return token


def _search_token_key(search: Search) -> str:
    return f"{search.experiment.layout.tuning(search.model)}/{SEARCH}"


def _build_trial_from_job(search: Search, number: int, told: Mapping[str, Any]) -> Trial:
    """A trial as it would have been written at home, out of a job's answer."""
    values = dict(told["values"])
    try:
        made_from = search.made_from(values)
    except HandfulError as error:  # values that the settings refuse
        return Trial(number, values, State.FAILED, {}, error=str(error))
    if "error" in told:
        return Trial(number, values, State.FAILED, made_from, error=str(told["error"]))
    result = {**told["result"], "number": number, "values": values, "made_from": made_from}
    return Trial.from_json(json.dumps(result).encode())
