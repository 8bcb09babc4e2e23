"""The step that trains: every model with every seed, each as a job of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from handful.backends.base import Backend, Job, lock_of
from handful.errors import Absent, Damaged, DataError, UserError
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import TRAINING_FUNCTIONS, difference, of_functions
from handful.experiment.kept_models import ModelStore
from handful.experiment.model_identity import model_identity
from handful.jobs.arguments import ModelArgs, TrainArgs
from handful.jobs.prefetched_splits import SPLITS_OF_TRAINING
from handful.layout import FINAL_RECORD, Layout, check_model_folders, model_folder
from handful.progress import Progress
from handful.records import Fingerprint, Prepared, Run, Trained, Tuned, finite_metrics
from handful.records.moments import current_moment
from handful.settings import Settings, list_counted_model_settings
from handful.steps.empty_split import empty_split
from handful.steps.tuned import for_model
from handful.storage.base import Store
from handful.system.machine import gpus
from handful.user_functions.settings_usage import settings_usage


class Anew(Enum):
    """What is trained once more."""

    WHAT_CHANGED = "what changed"
    EVERYTHING = "everything"
    NOTHING_THAT_WAS_BEGUN = "nothing that was begun"
    """An interrupted run goes on, although something changed."""


def train(
    experiment: Experiment,
    prepared: Prepared,
    backend: Backend,
    *,
    made_from: Fingerprint,
    anew: Anew = Anew.WHAT_CHANGED,
    tuned: Tuned | None = None,
) -> Trained:
    """Train `MODEL_NAMES` × `SEEDS`; those whose final/ stands and is up to date are passed over.

    The values in `tuned` take the place of a model's own.

    Raises `DataError` if there is nothing to train or to validate on, `UserError` if the batch
    cannot be shared among the processes, and what the jobs raise.
    """
    models = experiment.settings.train.MODEL_NAMES
    check_model_folders(models)
    check_rows(experiment.store, experiment.layout, experiment.settings, prepared)
    for best in tuned.best if tuned else ():
        values = ", ".join(f"{key} = {text}" for key, text in best.values.items())
        experiment.progress.note(f"train: {best.model} with the settings that tune found: {values}")
    runs: list[Run | None] = []

    def to_do() -> Iterator[Job]:
        for model in models:
            mine = for_model(experiment, tuned, model)
            for seed in experiment.settings.train.SEEDS:
                found = _standing_or_job(mine, prepared, backend, (model, seed), anew)
                runs.append(found if isinstance(found, Run) else None)
                if isinstance(found, Job):
                    yield found

    answers = iter(backend.run_all(to_do(), experiment.progress))
    trained = tuple(run or as_run(next(answers)) for run in runs)
    for model in models:
        experiment.store.delete_tree(experiment.layout.activations(model))
        metric = experiment.settings.train_for(model).METRIC
        own = [run for run in trained if run.model == model_folder(model)]
        _tell_spread(experiment.progress, metric, own)
    finished = current_moment()
    return Trained(runs=trained, made_from=made_from, finished_at=finished)


def _tell_spread(progress: Progress, metric: str, runs: Sequence[Run]) -> None:
    found = [finite_metrics(run.metrics)[metric] for run in runs]
    if len(found) < 2:
        return
    progress.note(
        f"train: {runs[0].model}: {metric} {fmean(found):.4f} ± {stdev(found):.4f} on "
        f"validation, over {len(found)} seeds ({min(found):.4f} to {max(found):.4f})"
    )


def run_fingerprint(
    directory: Path, settings: Settings, prepared: Prepared, model: str, seed: int
) -> dict[str, str]:
    """What one run is made from: independent of the other models and seeds.

    `directory`: the experiment's own, with functions.py.
    """
    usage = settings_usage(directory, TRAINING_FUNCTIONS)
    return {
        **list_counted_model_settings(settings, model, usage),
        **of_functions(directory, TRAINING_FUNCTIONS, usage),
        "the encoded data": prepared.data_hash[model_folder(model)],
        "the model it starts from": model_identity(model),
        "the seed": str(seed),
    }


def processes_here(settings: Settings) -> int:
    """How many training processes one machine has."""
    return settings.compute.TRAIN_PROCESSES or max(1, gpus())


def processes_for(settings: Settings, backend: Backend, model: str) -> int:
    """How many train together; `UserError` if they cannot share a batch evenly."""
    section = settings.train_for(model)
    each = settings.compute.TRAIN_PROCESSES or backend.gpus()
    # Where only the machines know their GPUs, the worker looks again.
    processes = (each or 1) * backend.machines
    if section.SHARDING != "none" and processes == 1 and each is not None:
        raise UserError(
            "a model can be spread over several processes only; there is one",
            where="[train] SHARDING",
            remedy="write none, or name [compute] TRAIN_PROCESSES (usually the number of GPUs)",
        )
    section.check_shared(processes)
    return processes


def check_rows(store: Store, layout: Layout, settings: Settings, prepared: Prepared) -> None:
    if len(prepared.label2id) < 2:
        raise DataError(
            f"there is only the label {', '.join(prepared.label2id)!r}, so nothing can be learnt",
            where=f"{store.url}/{layout.label2id}",
            remedy="two labels at least must remain: see IGNORED_LABELS and LABEL_ALIASES",
        )
    for model in settings.train.MODEL_NAMES:
        if model_folder(model) not in prepared.rows:
            raise DataError(
                f"{model} has no encoded data",
                where=f"{store.url}/{layout.encoded(model)}",
                remedy="run `handful prepare` for it first",
            )
        for split in ("train", "validation"):
            if not prepared.rows[model_folder(model)].get(split):
                raise empty_split(store, layout, settings, model, split)


def _standing_or_job(
    experiment: Experiment,
    prepared: Prepared,
    backend: Backend,
    which: tuple[str, int],
    anew: Anew,
) -> Run | Job:
    """The run as it stands if it is up to date; else the job that trains it."""
    model, seed = which
    name = f"{model_folder(model)} seed {seed}"
    own = run_fingerprint(experiment.directory, experiment.settings, prepared, model, seed)
    resume_anyway = anew is Anew.NOTHING_THAT_WAS_BEGUN
    arguments = TrainArgs(model, seed, made_from=own, resume_anyway=resume_anyway)
    job = training_job(experiment, prepared, backend, arguments)
    final = f"{experiment.layout.final(model, seed)}/{FINAL_RECORD}"
    standing, reason = _find_current_final_record(experiment.store, final, own)
    if anew is Anew.EVERYTHING:
        reason = reason or "asked to do it again"
        experiment.store.delete_tree(experiment.layout.checkpoints(model, seed))
    elif standing is not None:
        experiment.progress.note(f"train: {name}: up to date")
        # Left behind if the run was killed after its last write.
        experiment.store.delete_tree(experiment.layout.checkpoints(model, seed))
        kept = ModelStore(experiment.store, experiment.layout)
        most = experiment.settings.train_for(model).MODELS_KEPT
        kept.remove_older(model, seed, most, experiment.progress)
        return as_run(standing)
    experiment.progress.note(f"train: {name}: {reason}")
    return job


def training_job(
    experiment: Experiment, prepared: Prepared, backend: Backend, arguments: ModelArgs
) -> Job:
    """The job for a training, a trial or a search: told of its data and of its processes."""
    processes = processes_for(experiment.settings, backend, arguments.model)
    folder = model_folder(arguments.model)
    rows = prepared.rows[folder]
    whole = isinstance(arguments, TrainArgs) and arguments.trial is None
    told = replace(
        arguments,
        label2id=dict(prepared.label2id),
        # A trial is told of no test split.
        rows={split: rows[split] for split in (rows if whole else SPLITS_OF_TRAINING)},
        data_hash=prepared.data_hash[folder],
        processes=processes,
    )
    lock = lock_of(experiment.store)
    return Job(told, str(experiment.directory), experiment.overrides, processes, lock)


def _find_current_final_record(
    store: Store, key: str, own: Fingerprint
) -> tuple[Mapping[str, Any] | None, str]:
    """What final/handful.json says if it is up to date; else why the run has to be done."""
    try:
        record = json.loads(store.read(key))
        before = record["made_from"]
        as_run(record)
    except Absent:
        return None, "not trained yet"
    except (Damaged, ValueError, KeyError, TypeError):
        return None, f"{key} is damaged"
    change = difference(before, own)
    return (None, change) if change else (record, "")


def as_run(record: Mapping[str, Any]) -> Run:
    """A run out of what handful.json holds."""
    return Run(
        model=record["model"],
        seed=record["seed"],
        metrics=record["metrics"],
        # 0.5 epochs end in the first one.
        best_epoch=math.ceil(record["best_epoch"] - 1e-9),
        seconds=record["seconds"],
        weights_hash=record["weights_hash"],
        parameters=record["parameters"],
    )
