"""`handful check`: everything that a run does, on three real artifacts, in a minute.

Before the first reconcile a few artifacts are taken from production into a private folder that is
removed afterwards: the real step runs there, on a sample of the label rows and of the listing.
Later on the experiment's own copies are used, read only; production is asked for such a sample all
the same, so that a query or a bucket that broke is found before the run. Nothing is written to the
store. With jobs on SageMaker, the account is looked at too, and what the jobs will cost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from handful import layout
from handful.errors import Absent, DataError, HandfulError, Interrupted, Unreachable, UserError
from handful.experiment.context import Experiment
from handful.pipeline.check.estimate import Reckoning, Rehearsed, RehearsedModel, by_jobs
from handful.pipeline.check.faults import disk_needs, foresee_faults
from handful.pipeline.check.plan import CheckPlan, ProblemLog, sort_problems
from handful.pipeline.check.sample import Chosen, Rows, Sample, take_sample
from handful.pipeline.check.tried import (
    describe_encoded,
    encode_for_check,
    import_training,
    train_for_check,
)
from handful.pipeline.open_backend import open_backend
from handful.pipeline.production import production_files, production_labels, refuse_overlap
from handful.pipeline.step import State
from handful.pipeline.step_status import states
from handful.pipeline.steps import STEPS
from handful.progress import Progress, Silent
from handful.sagemaker.jobs.costs.durations import paces_of
from handful.settings import User
from handful.steps.prepare.artifacts import Artifact, load_kept_artifacts
from handful.steps.prepare.encoding.inputs import Document, Inputs
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.labels import apply_label_aliases, label_map
from handful.steps.prepare.splitting.group_edges import check_group_by
from handful.storage.base import Source, Store
from handful.storage.open import open_store
from handful.user_functions.load import MENUS, Functions, load_functions
from handful.user_functions.settings_usage import settings_usage
from handful.user_functions.source_hash import not_followed

ARTIFACTS = 3
CANDIDATES = 30
"""Artifacts whose sizes are looked at: the largest show what is too long for a model."""


def rehearse(
    experiment: Experiment,
    *,
    offline: bool = False,
    show: Callable[[CheckPlan], object] = lambda _: None,
) -> CheckPlan:
    """Load everything, encode three artifacts, train two steps on them, and plan the run.

    `offline`: production is not asked; that takes an experiment that was reconciled. `show` is
    given the plan before an error is raised, if there is one.

    What would stop the run does not stop the check, where the rest does not need it. Raises what
    would come first: what the steps raise, and `DataError` when the three cannot be had or encoded.
    A fault of functions.py, and a store in production, are raised at once.
    """
    log = ProblemLog(experiment.progress, experiment.settings.hide)
    experiment = replace(experiment, progress=log)
    functions = load_functions(experiment.directory)
    log.note("settings and functions: read, and no fault seen in them")
    for line in not_followed(experiment.directory):
        log.warn(
            f"{line} cannot be followed by reading: a change behind it redoes no step by itself"
        )
    _tell_what_is_read(experiment.directory, experiment.settings.user, log)
    refuse_overlap(experiment.settings, experiment.store, experiment.directory)
    found = states(experiment, STEPS)
    foresee_faults(experiment, found, log)
    seen, is_bounded = _measure(experiment, functions, log, found, offline=offline)
    return _plan_run(experiment, found, seen, log, show, is_bounded=is_bounded)


def _measure(
    experiment: Experiment,
    functions: Functions,
    log: ProblemLog,
    found: Sequence[State],
    *,
    offline: bool,
) -> tuple[Rehearsed, bool]:
    """What was seen, as far as could be; and whether production was read in part only."""
    stages: list[RehearsalStage] = []
    with log.looking("reconcile"):
        stages.append(_stage(experiment, offline=offline))
    if not stages:
        return Rehearsed(), False
    (stage,) = stages
    if stage.fault is not None:  # a run that takes the snapshot never meets it
        log.foresee("reconcile", stage.fault, stops=not found[0].up_to_date)
    seen = stage.seen
    with log.looking("prepare"):
        seen = _try_models(experiment, stage, functions, log)
    return seen, stage.is_bounded


def _try_models(
    experiment: Experiment, stage: RehearsalStage, functions: Functions, log: ProblemLog
) -> Rehearsed:
    at = stage.experiment
    aliases = experiment.settings.prepare.LABEL_ALIASES
    artifacts = apply_label_aliases(load_kept_artifacts(at.store), aliases)
    check_group_by(artifacts, at.settings)
    label2id = label_map((artifact.label for artifact in artifacts), None)
    asked = at.settings.prepare
    names, most = asked.MODEL_INPUT_FILES, asked.MAX_INSTANCE_BYTES
    inputs = Inputs(at.store, at.directory, at.scratch, names, most)
    tried = _instances(inputs, _over_labels(artifacts, CANDIDATES), at.progress)
    models: dict[str, RehearsedModel] = {}
    began, started = time.perf_counter(), 0.0
    for model in experiment.settings.train.MODEL_NAMES:
        with log.looking("prepare"):
            sample = encode_for_check(at, functions, tried.instances, model, label2id)
            if not started:  # what of a worker's start is not its own work: libraries
                import_training()
                started = time.perf_counter() - began
            folder = layout.model_folder(model)
            models[folder] = describe_encoded(sample, tried.smaller)
            with log.looking("train"):
                models[folder] = train_for_check(at, functions, sample, models[folder], label2id)
    return replace(stage.seen, start_seconds=started, smaller=tried.smaller, models=models)


def _plan_run(
    experiment: Experiment,
    found: Sequence[State],
    seen: Rehearsed,
    log: ProblemLog,
    show: Callable[[CheckPlan], object],
    *,
    is_bounded: bool,
) -> CheckPlan:
    managed = open_backend(experiment).managed_steps
    settings, store, here = experiment.settings, experiment.store, experiment.layout
    is_remote = "://" in store.url
    earlier = paces_of(settings, store, here, {})
    reckoning = Reckoning(settings, seen, found, earlier, is_remote)
    steps, dollars, times = reckoning.work(), None, dict[str, float]()
    if managed:
        from handful.sagemaker.jobs.costs.cost_check import check_before_paying

        to_do = [one.step for one in found if one.step in managed and not one.up_to_date]
        tried = {name: one.pace for name, one in seen.models.items() if one.pace is not None}
        first = next(iter(to_do), managed[0])
        with log.looking(first):
            said = check_before_paying(experiment, to_do, tried)
            times = said.seconds_of_steps()
            dollars = round(said.dollars, 2) if said.is_whole else None
        steps = tuple(by_jobs(one, times) if one.step in managed else one for one in steps)
    disk = disk_needs(experiment, steps, log)
    plan = CheckPlan(steps, disk, dollars, sort_problems(log.problems), is_bounded)
    show(plan)
    plan.raise_first()
    return plan


def _tell_what_is_read(directory: Path, user: User, progress: Progress) -> None:
    """Keys of `[user]` that change nothing, and why all of them may count."""
    usage = settings_usage(directory, tuple(menu.name for menu in MENUS))
    for key in user.values:
        if not usage.reads("user", key):
            progress.warn(f"[user] {key} is read by none of the functions, so it changes nothing")
    if usage.why("user"):
        progress.note(f"[user]: every key counts for what is up to date, since {usage.why('user')}")


@dataclass(frozen=True)
class RehearsalStage:
    """Where to rehearse."""

    experiment: Experiment
    seen: Rehearsed
    is_bounded: bool = False
    fault: HandfulError | None = None
    """Of production, which runs do without that take the copies as they are."""


def _stage(experiment: Experiment, *, offline: bool) -> RehearsalStage:
    """The store as it is, or a private one with a sample of production."""
    try:
        kept = json.loads(experiment.store.read(layout.RECONCILED))["kept"]
    except (ValueError, KeyError, TypeError):
        kept = None
    except Absent:
        if offline:
            raise UserError(
                "there are no artifacts yet, and production is not to be asked for some",
                where="check --offline",
                remedy="leave --offline out until the first reconcile is done",
            ) from None
        return _private_stage(experiment)
    fault = None
    if not offline:
        try:
            _ask_production(experiment)
        except Interrupted:
            raise
        except HandfulError as error:
            fault = error
    experiment.progress.note("artifacts: three of the reconciled ones")
    seen = Rehearsed(kept, artifact_bytes=_artifact_bytes(experiment.store))
    return RehearsalStage(experiment, seen, fault=fault)


def _artifact_bytes(store: Store) -> float | None:
    """Of one artifact's files in the store; of those that a first page of the listing tells."""
    for batch in store.list(f"{layout.ARTIFACTS}/"):
        ids = {key.split("/")[2] for key in batch.column("key").to_pylist()}
        if ids:
            return float(sum(batch.column("size").to_pylist())) / len(ids)
    return None


def _ask_production(experiment: Experiment) -> None:
    """A sample of it, to find what broke since the snapshot; a run does without the answer."""
    files = production_files(experiment.settings)
    try:
        sample = _sample(experiment, files)
        if sample.listing.num_rows:  # else they are in the label rows, which were read
            first = sample.listing["key"][0].as_py()
            files.fetch(first, experiment.scratch / "one-of-production")
    except Unreachable as error:
        experiment.progress.warn(
            f"production cannot be asked; runs use the snapshot until --refresh: {error}"
        )
    else:
        experiment.progress.note(
            f"production: {sample.artifacts} artifacts were found, and a file of one was read"
            if sample.listing.num_rows
            else f"production: {sample.artifacts} artifacts were found in the label rows and read"
        )


def _sample(experiment: Experiment, files: Source) -> Sample:
    settings, progress = experiment.settings, experiment.progress
    labels = production_labels(settings, experiment.scratch, progress)
    return take_sample(settings, progress, labels, files, ARTIFACTS)


def _private_stage(experiment: Experiment) -> RehearsalStage:
    from handful.steps.reconcile import reconcile

    files = production_files(experiment.settings)
    sample = _sample(experiment, files)
    told = f"artifacts: {sample.artifacts} of production's, copied to a private folder"
    experiment.progress.note(told)
    # The overrides name artifacts that the sample does not hold.
    own = replace(experiment.settings.reconcile, LABEL_OVERRIDES=None)
    stage = replace(
        experiment,
        store=open_store(str(experiment.scratch / "rehearsal")),
        settings=replace(experiment.settings, reconcile=own),
    )
    quiet, began = replace(stage, progress=Silent()), time.perf_counter()
    done = reconcile(quiet, Rows(sample.rows), Chosen(files, sample.listing), made_from={})
    seen = Rehearsed(
        sample.labelled,
        "at least " if sample.is_bounded else "about ",
        _artifact_bytes(stage.store),
        (time.perf_counter() - began) / max(1, done.kept),
        done.kept,
    )
    return RehearsalStage(stage, seen, sample.is_bounded)


def _over_labels(artifacts: Sequence[Artifact], most: int) -> list[Artifact]:
    """The first `most` of them, in turns of one of each label."""
    seen: dict[str, int] = {}
    turns = []
    for artifact in artifacts:
        turns.append((seen.setdefault(artifact.label, 0), artifact))
        seen[artifact.label] += 1
    return [artifact for _, artifact in sorted(turns, key=lambda turn: turn[0])[:most]]


def _select_check_artifacts(
    candidates: Sequence[Artifact], documents: Sequence[Document]
) -> list[int]:
    """Three of `candidates`: the largest of two labels, and the first one beside them, which is
    shorter as a rule, so that a batch has padding. Those with a fault come last."""
    order = sorted(
        range(len(candidates)), key=lambda n: (bool(documents[n].fault), -documents[n].bytes)
    )
    places = {artifact.id: n for n, artifact in enumerate(candidates)}
    largest = _over_labels([candidates[n] for n in order], ARTIFACTS - 1)
    chosen = [places[artifact.id] for artifact in largest]
    labels = {artifact.label for artifact in largest}
    others = [n for n in range(len(candidates)) if n not in chosen]
    others.sort(key=lambda n: (bool(documents[n].fault), candidates[n].label in labels))
    return [*chosen, *others[: ARTIFACTS - len(chosen)]]


@dataclass(frozen=True)
class Tried:
    """The documents that are tried, on this machine."""

    instances: list[Instance]
    smaller: float
    """How large a document is on the whole, as a share of the mean of these."""


def _instances(inputs: Inputs, candidates: Sequence[Artifact], progress: Progress) -> Tried:
    every = inputs.documents(candidates)
    tried = _select_check_artifacts(candidates, every)
    artifacts, documents = [candidates[n] for n in tried], [every[n] for n in tried]
    for document in documents:
        if document.fault:
            where = f"artifact {document.id}"
            raise DataError(document.fault, where=where, remedy="see [prepare] MODEL_INPUT_FILES")
    inputs.bring(documents, progress)
    instances = list(inputs.instances(documents, [artifact.label for artifact in artifacts]))
    usual = sum(one.bytes for one in every) / len(every)
    largest = sum(one.bytes for one in documents) / len(documents)
    return Tried(instances, min(1.0, usual / largest) if largest else 1.0)
