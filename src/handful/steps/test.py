"""The step that tests: all trained models on the held-out split, in one recorded look."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from handful.backends.base import Backend, Job, lock_of
from handful.evaluation.test_access_log import finish_look
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import USAGE
from handful.jobs.arguments import RunToTest, TestArgs
from handful.layout import model_folder
from handful.records import (
    Evaluation,
    Fingerprint,
    Prepared,
    Split,
    Tested,
    Trained,
    Tuned,
    finite_metrics,
)
from handful.records.moments import current_moment
from handful.settings import TrainSection
from handful.steps.empty_split import empty_split
from handful.steps.results import tell_tested
from handful.steps.train import processes_here
from handful.storage.checked import note_files

LOOKED_AT = (Split.VALIDATION, Split.TEST)
"""Validation as well: the temperature is fitted on it, and labels are judged."""


def test(
    experiment: Experiment,
    prepared: Prepared,
    trained: Trained,
    backend: Backend,
    *,
    made_from: Fingerprint,
    tuned: Tuned | None = None,  # noqa: PT028 - a step, and no test of pytest's
) -> Tested:
    """Evaluate every run of `trained`, and note the look in evaluation/looks.jsonl.

    Raises `DataError` if the test split is empty, and what the job raises.
    """
    mine, settings = experiment.layout, experiment.settings
    for run in trained.runs:
        if not prepared.rows[run.model].get("test"):
            raise empty_split(experiment.store, mine, settings, run.model, "test")
    names = {model_folder(name): name for name in experiment.settings.train.MODEL_NAMES}
    look = _describe_test_look(trained, made_from)
    arguments = TestArgs(
        label2id=dict(prepared.label2id),
        runs=[
            RunToTest(
                names.get(run.model, run.model),
                run.seed,
                run.weights_hash,
                {name: prepared.rows[run.model][name] for name in LOOKED_AT},
                dict(tuned.values_for(run.model)) if tuned else {},
            )
            for run in trained.runs
        ],
        baseline_rows={
            names.get(run.model, run.model): dict(prepared.rows[run.model]) for run in trained.runs
        },
        data_hash={
            names.get(run.model, run.model): prepared.data_hash[run.model] for run in trained.runs
        },
        best_run=_best_run(experiment.settings.train, trained),
        look=look,
    )
    processes = processes_here(experiment.settings)
    directory, lock = str(experiment.directory), lock_of(experiment.store)
    job = Job(arguments, directory, experiment.overrides, processes, lock)
    answer = backend.run(job, experiment.progress)
    note_files(experiment.store, answer.get("files"))
    evaluations = tuple(Evaluation(**one) for one in answer["evaluations"])
    baselines = tuple(Evaluation(**one) for one in answer["baselines"])
    look |= {"baselines": [one.model for one in baselines]}
    store, mine, progress = experiment.store, experiment.layout, experiment.progress
    looks = finish_look(store, mine, progress, look, answer.get("look", 0))
    now = current_moment()
    tested = Tested(evaluations, looks, baselines, made_from=made_from, finished_at=now)
    tell_tested(experiment.store, mine, settings, experiment.progress, tested)
    return tested


def _best_run(train: TrainSection, trained: Trained) -> int:
    """The number of the run that is best on validation: it judges labels, never on its own data."""
    sign = 1.0 if train.METRIC_GOAL == "max" else -1.0
    worst = -sign * math.inf
    scores = [sign * finite_metrics(run.metrics).get(train.METRIC, worst) for run in trained.runs]
    return scores.index(max(scores))


def _describe_test_look(trained: Trained, made_from: Fingerprint) -> dict[str, Any]:
    """Which models look, and with which settings; hashes in full, so that they can be compared."""
    # Lines of functions.py stand in what it says of settings: a comment makes no other look.
    counting = {name: text for name, text in made_from.items() if name != USAGE}
    content = json.dumps(counting, sort_keys=True).encode()
    return {
        "runs": [
            {"model": run.model, "seed": run.seed, "weights_hash": run.weights_hash}
            for run in trained.runs
        ],
        "settings": {n: text for n, text in made_from.items() if n.startswith(("[", "what tune"))},
        "settings_hash": hashlib.sha256(content).hexdigest(),
    }
