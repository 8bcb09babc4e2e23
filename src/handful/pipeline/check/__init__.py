"""`handful check`: everything that a run does, on three real artifacts, in a minute.

Before the first reconcile a few artifacts are taken from production into a private folder that is
removed afterwards: the real step runs there, on a sample of the label rows and of the listing.
Later on the experiment's own copies are used, read only; production is asked for such a sample all
the same, so that a query or a bucket that broke is found before the run. Nothing is written to the
store. With jobs on SageMaker, the account is looked at too, and what the jobs will cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from handful import layout
from handful.errors import Absent, DataError, Unreachable, UserError
from handful.experiment.context import Experiment
from handful.pipeline.check.sample import Chosen, Rows, Sample, take_sample
from handful.pipeline.open_backend import open_backend
from handful.pipeline.production import production_files, production_labels, refuse_overlap
from handful.pipeline.step_status import states
from handful.pipeline.steps import STEPS
from handful.progress import Progress, Scalar, Silent
from handful.sagemaker.jobs.costs.durations import Pace
from handful.settings import User
from handful.steps.prepare.artifacts import Artifact, load_kept_artifacts
from handful.steps.prepare.encoding.columns import Columns
from handful.steps.prepare.encoding.inputs import Document, Inputs
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.sampling import check_sample, features_of
from handful.steps.prepare.encoding.schema import (
    ARTIFACT_ID,
    LABELS,
    LENGTH,
    OURS,
    flat_fields,
    refuse,
    table_rows,
)
from handful.steps.prepare.encoding.values import Misfit
from handful.steps.prepare.labels import apply_label_aliases, label_map
from handful.steps.prepare.splitting.group_edges import check_group_by
from handful.storage.base import Source
from handful.storage.open import open_store
from handful.training.calls import call
from handful.user_functions.load import FILE, MENUS, Encoded, Functions, load_functions
from handful.user_functions.settings_usage import settings_usage
from handful.user_functions.source_hash import not_followed

ARTIFACTS = 3
CANDIDATES = 30
"""Artifacts whose sizes are looked at: the largest show what is too long for a model."""


def rehearse(experiment: Experiment, *, offline: bool = False) -> None:
    """Load everything, encode three artifacts, train two steps on them, and show the plan.

    `offline`: production is not asked; that takes an experiment that was reconciled.

    Raises what the steps raise, and `DataError` when the three cannot be had or encoded.
    """
    progress = experiment.progress
    functions = load_functions(experiment.directory)
    progress.note("settings and functions: read, and no fault seen in them")
    for line in not_followed(experiment.directory):
        progress.warn(
            f"{line} cannot be followed by reading: a change behind it redoes no step by itself"
        )
    _tell_what_is_read(experiment.directory, experiment.settings.user, progress)
    refuse_overlap(experiment.settings, experiment.store, experiment.directory)
    stage = _stage(experiment, offline=offline)
    aliases = experiment.settings.prepare.LABEL_ALIASES
    artifacts = apply_label_aliases(load_kept_artifacts(stage.store), aliases)
    check_group_by(artifacts, stage.settings)
    label2id = label_map((artifact.label for artifact in artifacts), None)
    asked = stage.settings.prepare
    names, most = asked.MODEL_INPUT_FILES, asked.MAX_INSTANCE_BYTES
    inputs = Inputs(stage.store, stage.directory, stage.scratch, names, most)
    instances = _instances(inputs, _over_labels(artifacts, CANDIDATES), progress)
    paces = {
        layout.model_folder(model): _try_model(stage, functions, instances, model, label2id)
        for model in experiment.settings.train.MODEL_NAMES
    }
    found = states(experiment, STEPS)
    plan = [
        (state.step, "nothing: up to date" if state.up_to_date else f"run: {state.reason}")
        for state in found
    ]
    progress.table("what `handful run` will do", ("step", "what"), plan)
    managed = open_backend(experiment).managed_steps
    if managed:
        from handful.sagemaker.jobs.costs.cost_check import check_before_paying

        to_do = [one.step for one in found if one.step in managed and not one.up_to_date]
        check_before_paying(experiment, to_do, paces)


def _tell_what_is_read(directory: Path, user: User, progress: Progress) -> None:
    """Keys of `[user]` that change nothing, and why all of them may count."""
    usage = settings_usage(directory, tuple(menu.name for menu in MENUS))
    for key in user.values:
        if not usage.reads("user", key):
            progress.warn(f"[user] {key} is read by none of the functions, so it changes nothing")
    if usage.why("user"):
        progress.note(f"[user]: every key counts for what is up to date, since {usage.why('user')}")


def _stage(experiment: Experiment, *, offline: bool) -> Experiment:
    """Where to rehearse: the store as it is, or a private one with a sample of production."""
    try:
        experiment.store.head(layout.RECONCILED)
    except Absent:
        if offline:
            raise UserError(
                "there are no artifacts yet, and production is not to be asked for some",
                where="check --offline",
                remedy="leave --offline out until the first reconcile is done",
            ) from None
        return _private_stage(experiment)
    if not offline:
        _ask_production(experiment)
    experiment.progress.note("artifacts: three of the reconciled ones")
    return experiment


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


def _private_stage(experiment: Experiment) -> Experiment:
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
    quiet = replace(stage, progress=Silent())
    reconcile(quiet, Rows(sample.rows), Chosen(files, sample.listing), made_from={})
    return stage


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


def _instances(
    inputs: Inputs, candidates: Sequence[Artifact], progress: Progress
) -> list[Instance]:
    every = inputs.documents(candidates)
    tried = _select_check_artifacts(candidates, every)
    artifacts, documents = [candidates[n] for n in tried], [every[n] for n in tried]
    for document in documents:
        if document.fault:
            where = f"artifact {document.id}"
            raise DataError(document.fault, where=where, remedy="see [prepare] MODEL_INPUT_FILES")
    inputs.bring(documents, progress)
    return list(inputs.instances(documents, [artifact.label for artifact in artifacts]))


def _try_model(
    stage: Experiment,
    functions: Functions,
    instances: Sequence[Instance],
    model: str,
    label2id: Mapping[str, int],
) -> Pace:
    """Encode, train two steps, and tell; how fast those were."""
    progress, settings = stage.progress, stage.settings
    features = features_of(functions, label2id, model, settings)
    checks = check_sample(
        functions,
        features,
        instances,
        label2id=label2id,
        model_name=model,
        settings=settings,
    )
    name = layout.model_folder(model)
    columns = ("field", "expected", "found", "fits")
    progress.table(f"what encode_data gives for {name}", columns, table_rows(checks))
    for check in checks:
        if check.raised:
            where = f"{check.place or FILE} encode_data, artifact {check.artifact}"
            raise DataError(check.found, where=where)
    refuse(checks)
    rows = _rows(functions, features, instances, model, label2id, settings)
    if not rows:
        raise DataError(
            "it returned None for all three artifacts", where="functions.py encode_data"
        )
    from handful.training.check import try_steps

    metric = settings.train_for(model).METRIC
    result = try_steps(stage, model, functions, features, rows, label2id)
    told: list[tuple[str, Scalar]] = [
        ("parameters", result.parameters),
        ("loss of two steps", ", ".join(f"{loss:.3f}" for loss in result.losses)),
        ("seconds a step", result.seconds_per_step),
        ("precision", f"{result.precision} on {result.device}"),
        (f"{metric}, of these rows", result.metrics[metric]),
    ]
    progress.table(f"two training steps of {name}", ("what", "value"), told)
    source = f"a step of {len(rows)} examples here, on {result.device}"
    return Pace(len(rows) / result.seconds_per_step, 1, source)


def _rows(
    functions: Functions,
    features: Mapping[str, Any],
    instances: Sequence[Instance],
    model: str,
    label2id: Mapping[str, int],
    settings: Any,
) -> list[dict[str, Any]]:
    """What `encode_data` returns for the instances, as prepare would save it; without those that
    it leaves out."""
    menu: dict[str, Any] = {"label2id": label2id, "model_name": model, "settings": settings}
    if functions.batched:
        answers = call(functions, "encode_data", instances=list(instances), **menu)
    else:
        answers = [call(functions, "encode_data", instance=one, **menu) for one in instances]
    given = [
        (instance, answer.features if isinstance(answer, Encoded) else answer)
        for instance, answer in zip(instances, answers, strict=True)
        if answer is not None
    ]
    given = [(instance, row) for instance, row in given if row is not None]
    columns = Columns({name: one for name, one in features.items() if name not in OURS})
    try:
        arrays = columns.arrays([columns.plain(row) for _, row in given])
    except Misfit as misfit:  # it fitted when it was checked
        raise DataError(str(misfit), where="functions.py encode_data") from None
    found = {name: array.to_pylist() for name, array in arrays.items()}
    found[LABELS] = [label2id[instance.label] for instance, _ in given]
    found[ARTIFACT_ID] = [instance.id for instance, _ in given]
    rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    for row in rows:
        row[LENGTH] = max((len(row[name]) for name in flat_fields(features)), default=0)
    return rows
