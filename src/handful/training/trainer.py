"""The worker's task "train": one model with one seed, from encoded data to final/."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from handful.errors import Locked, UserError
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import difference
from handful.experiment.kept_models import ModelStore
from handful.jobs.arguments import TrainArgs, TrialArgs
from handful.layout import CHECKPOINTS, METRICS_LOG, TRIAL, Layout, model_folder
from handful.progress import Progress
from handful.records.moments import current_moment
from handful.settings import TrainSection, list_counted_model_settings
from handful.settings.recipe import Recipe, recipe_of
from handful.storage.base import Store
from handful.training.calls import settings_for
from handful.training.cpu.frozen_training import skip_frozen_layers
from handful.training.cpu.micro_batches import smallest_batch
from handful.training.data.batches import Indices
from handful.training.data.collate import Collator
from handful.training.data.collation import Trial, collation, give_padding_token
from handful.training.data.lengths import (
    EncodedLengths,
    check_lengths,
    find_text_token_limit,
    read_encoded_lengths,
)
from handful.training.data.splits import SplitData, check_label_map, open_splits
from handful.training.evaluation.metric_checks import check_metric
from handful.training.evaluation.metrics import Metrics
from handful.training.loop import runtime
from handful.training.loop.checkpoints import Checkpoint, Checkpoints
from handful.training.loop.loop import Loop
from handful.training.loop.objective import Objective, compute_label_weights
from handful.training.loop.parallel_strategy import WHOLE
from handful.training.loop.process_group import Team, join_training_team, left
from handful.training.loop.pruning import Pruning
from handful.training.loop.resuming import (
    check_environment,
    check_labels,
    go_on,
    precision_of,
    share_leader_checkpoint,
    to_resume,
)
from handful.training.loop.state import random_state, set_random_state
from handful.training.loop.stopping import Stopping
from handful.training.loop.train_context import Work
from handful.training.model.capabilities import check_features, check_trainable
from handful.training.model.final import encoding_functions, save_final, versions
from handful.training.model.first_head import Ready, begin
from handful.training.model.head_start import PROBE, Beginning
from handful.training.model.load import ModelSource, build, facts_of, find_model, load_tokenizer
from handful.training.model.weight_dtypes import as_they_were, describe_weight_dtypes, store_in
from handful.training.tracking import Tracking, tracking
from handful.user_functions.load import load_functions

_OWNER_DIGITS = 16


def train(experiment: Experiment, order: TrainArgs) -> dict[str, Any]:
    """Train one model with one seed; what final/handful.json holds.

    Goes on from the last good checkpoint of the same settings, data and functions.
    """
    functions = load_functions(experiment.directory)
    store, mine, progress = experiment.store, experiment.layout, experiment.progress
    settings = settings_for(experiment.settings, order.model)
    data = _open_data(store, mine, experiment.scratch, order)
    source = find_model(settings, experiment.scratch, order.model)
    runtime.use_threads()
    team = join_training_team(order.processes)
    checkpoints = _open_checkpoints(store, mine, experiment.scratch, progress, order)
    found = to_resume(order, checkpoints) if team.leads else None
    found = share_leader_checkpoint(found, checkpoints, team)
    environment = _settle_environment(order, settings.train, source, found, team)
    precision = environment["precision"]
    with ExitStack() as stack:
        stack.callback(left)
        stopping = stack.enter_context(Stopping())
        accelerator = stack.enter_context(runtime.open_accelerator(precision, team.size))
        runtime.seed_everything(order.seed)
        before = Beginning.from_json(found.beginning) if found else None
        pooling = before.build_with if before else None
        built = build(functions, source, order.label2id, settings, progress, pooling)
        model = built.model
        _as_it_began(order, model, found, progress)
        tokenizer = load_tokenizer(source, functions, progress)
        followed = tracking(experiment, order.model, order.seed, environment, leads=team.leads)
        stack.callback(followed.end)
        labels, directory = len(order.label2id), experiment.directory
        trial = Trial(data[0], labels, directory, progress, order.name, precision)
        lengths = read_encoded_lengths(store, mine.encoded(order.model))
        collate = _agree_on_collator(model, tokenizer, trial, lengths, team)
        began_with = Recipe.from_json(before.recipe) if before and before.recipe else None
        recipe = recipe_of(settings.train, facts_of(model, len(data[0])), team.size, began_with)
        ready = Ready(
            experiment, functions, order, data, built, collate, team, precision, recipe, stopping
        )
        started = time.monotonic()
        beginning = before or begin(ready)
        took = time.monotonic() - started if beginning.contrastive and not before else 0.0
        beginning, data = skip_frozen_layers(ready, beginning, stack, resumed=before is not None)
        work = _work(ready, data, followed, beginning)
        _prepare_memory(model, settings.train)
        runtime.seed_dropout(order.seed, team.rank)
        loop = Loop(work, model, accelerator, checkpoints, environment, progress, stopping)
        loop.state.seconds += took  # what the encoder learned there is training, too
        record = _run(ready, loop, checkpoints, found, tokenizer)
    if team.leads:
        checkpoints.remove_all()
    return record


def _open_data(
    store: Store, mine: Layout, scratch: Path, order: TrainArgs
) -> tuple[SplitData, SplitData]:
    """Train and validation."""
    check_label_map(store, mine.label2id, order.label2id)
    rows = {split: order.rows.get(split, 0) for split in ("train", "validation")}
    splits = open_splits(store, mine, scratch, order.model, rows)
    return splits["train"], splits["validation"]


def _open_checkpoints(
    store: Store, mine: Layout, scratch: Path, progress: Progress, order: TrainArgs
) -> Checkpoints:
    """They are a job's of managed machines, else the lock's holder's."""
    owner = order.owner or (store.fence.token[:_OWNER_DIGITS] if store.fence is not None else "")
    folder = f"{order.folder(mine)}/{CHECKPOINTS}"
    return Checkpoints(store, folder, scratch, order.made_from, progress, owner)


def _settle_environment(
    order: TrainArgs,
    section: TrainSection,
    source: ModelSource,
    found: Checkpoint | None,
    team: Team,
) -> dict[str, Any]:
    """What the run is computed on. `UserError` if `found` cannot go on there, or at all."""
    precision = precision_of(section, found, source.name)
    environment = runtime.environment(precision, team.size, section.SHARDING)
    check_environment(order, environment, found)
    check_labels(order, found)
    return environment


def _run(
    ready: Ready,
    loop: Loop,
    checkpoints: Checkpoints,
    found: Checkpoint | None,
    tokenizer: Any | None,
) -> dict[str, Any]:
    """Train to the end, and leave the model, or what a trial tells; nothing but on the leader."""
    experiment, order, replaces = ready.experiment, ready.order, ""
    if found:
        told = go_on(loop, order, found)
        if told:
            experiment.progress.warn(f"{order.name}: {told}")
    if ready.team.leads:
        checkpoints.begin(found)
        models = ModelStore(experiment.store, experiment.layout)
        replaces = models.final_fingerprint(order.model, order.seed)
    loop.fit()
    _report_training_start(experiment.progress, loop, found)
    loop.run()
    if not ready.team.leads:
        return {}
    record = _build_training_record(order, loop)
    checkpoints.check_owner()
    if order.trial is not None:
        key = f"{order.folder(experiment.layout)}/{TRIAL}"
        return _send_trial(experiment.store, key, order.trial, loop, record)
    return _store_final_model(ready, loop, tokenizer, record, replaces)


def _work(
    ready: Ready, data: tuple[SplitData, SplitData], followed: Tracking, beginning: Beginning
) -> Work:
    experiment, order, team = ready.experiment, ready.order, ready.team
    settings = settings_for(experiment.settings, order.model)
    section, metrics = settings.train, Metrics(ready.functions, order.label2id, settings)
    return Work(
        name=order.name,
        section=section,
        seed=order.seed,
        train=data[0],
        validation=data[1],
        collate=ready.collate,
        objective=make_objective(section, data[0].references, len(order.label2id)),
        metrics=metrics,
        metric_is_given=_check_trainer_metric(
            metrics, section, data[1].references, experiment.progress
        ),
        log=(experiment.store, f"{order.folder(experiment.layout)}/{METRICS_LOG}"),
        team=team,
        tracking=followed,
        recipe=ready.recipe,
        about={
            "label2id": dict(order.label2id),
            "settings": dict(list_counted_model_settings(experiment.settings, order.model)),
            "beginning": beginning.to_json(),
        },
        pace=beginning.pace,
        begins_judged=beginning.head == PROBE,
        pruning=_pruning(order, section),
        smallest=smallest_batch(ready.built.model, ready.recipe.batch_size, team.size),
    )


def make_objective(section: TrainSection, references: Indices, labels: int) -> Objective:
    """The loss that `LABEL_SMOOTHING` and `CLASS_WEIGHTS` ask for.

    `references`: [N] label ids of train; `labels`: how many there are.
    """
    balanced = section.CLASS_WEIGHTS == "balanced"
    weights = compute_label_weights(references, labels) if balanced else None
    return Objective(section.LABEL_SMOOTHING, weights)


def _agree_on_collator(
    model: torch.nn.Module, tokenizer: Any | None, trial: Trial, lengths: EncodedLengths, team: Team
) -> Collator:
    """How rows become batches; what would go wrong in `forward` is found out on the way. Leaves
    the random state as it was."""
    before = random_state()
    check_trainable(model)
    check_lengths(model, lengths)
    check_features(model, trial.data.features)
    give_padding_token(model, tokenizer)
    found = collation(model, tokenizer, trial)
    set_random_state(before)
    # What the first of a team has found counts: rounding may differ from machine to machine.
    return Collator.from_json(team.collect(found.to_json())[0])


def _check_trainer_metric(
    metrics: Metrics, section: TrainSection, references: Indices, progress: Progress
) -> bool:
    before = random_state()
    given = check_metric(metrics, section, references, progress)
    set_random_state(before)
    return given


def _as_it_began(
    order: TrainArgs, model: torch.nn.Module, found: Checkpoint | None, progress: Progress
) -> None:
    told = as_they_were(model, found.weights) if found else ""
    if told:
        progress.warn(f"{order.name}: {told}")


def _prepare_memory(model: torch.nn.Module, section: TrainSection) -> None:
    if not section.GRADIENT_CHECKPOINTING:
        return
    # Its newer name in transformers, and the one of old.
    for word in ("activation", "gradient"):
        enable = getattr(model, f"{word}_checkpointing_enable", None)
        # Those of transformers all have the method; not all have the thing.
        if enable is not None and getattr(model, "supports_gradient_checkpointing", True):
            enable(**{f"{word}_checkpointing_kwargs": {"use_reentrant": False}})
            return
    raise UserError(
        f"{type(model).__name__} has no gradient checkpointing",
        where="[train] GRADIENT_CHECKPOINTING",
        remedy="write false, or give the module a gradient_checkpointing_enable method",
    )


def _report_training_start(progress: Progress, loop: Loop, found: Checkpoint | None) -> None:
    plan, environment = loop.plan, loop.environment
    if loop.work.recipe.by_rule:
        progress.note(f"{loop.work.name}: by its data: {loop.work.recipe}")
    progress.note(
        f"{loop.work.name}: {plan.examples} examples, {plan.total_steps} steps of "
        f"{plan.batch_size}{_describe_batch_parts(loop)}, "
        f"{environment['precision']} on {environment['device']} "
        f"({environment['threads']} threads)"
    )
    if found is None:
        return
    step = found.state.step
    progress.note(
        f"{loop.work.name}: goes on from the checkpoint of step {step} of {plan.total_steps}"
    )
    change = difference(
        {"sharding": WHOLE} | {name: str(value) for name, value in found.environment.items()},
        {name: str(value) for name, value in environment.items()},
    )
    if change:
        progress.warn(
            f"{loop.work.name}: {change}; the result will not be bit for bit the straight run's"
        )


def _describe_batch_parts(loop: Loop) -> str:
    """How a batch comes about, if it is not taken at once."""
    size, team = loop.plan.batch_size, loop.work.team.size
    times = -(-size // (team * loop.per_device))
    if team == times == 1:
        return ""
    accumulated = f" x {times} accumulated" if times > 1 else ""
    return f" ({team} processes x {loop.per_device}{accumulated})"


def _pruning(order: TrainArgs, section: TrainSection) -> Pruning | None:
    if order.trial is None:
        return None
    finished, given_up = (
        tuple(map(tuple, lines)) for lines in (order.trial.before, order.trial.given_up)
    )
    return Pruning(finished, section.METRIC_GOAL, given_up)


def _build_training_record(order: TrainArgs, loop: Loop) -> dict[str, Any]:
    state = loop.state
    return {
        "model": model_folder(order.model),
        "seed": order.seed,
        "label2id": dict(order.label2id),
        "rows": dict(order.rows),
        "data_hash": order.data_hash,
        "made_from": dict(order.made_from),
        "metrics": state.best_metrics,
        "best_epoch": state.best_epoch,
        "best_step": state.best_step,
        "recipe": loop.work.recipe.to_json(),
        "contrastive_steps": loop.work.about["beginning"].get("contrastive", 0),
        "steps": state.step,
        "epochs": loop.plan.epoch_at(state.step),
        "seconds": round(state.seconds, 3),
        "padding": state.padding,
        "collation": loop.work.collate.to_json(),
        "parameters": loop.parameters,
        "environment": dict(loop.environment),
        "versions": versions(),
    }


def _store_final_model(
    ready: Ready, loop: Loop, tokenizer: Any | None, record: Mapping[str, Any], replaces: str
) -> dict[str, Any]:
    """Put it where final/ is, in which `replaces` stood when this training began.

    `Locked` if another stands there now. Under a lock that cannot be; but a job on managed machines
    goes on without one.
    """
    experiment, order = ready.experiment, ready.order
    store, mine, settings = experiment.store, experiment.layout, experiment.settings
    model = loop.unwrap_best()
    trained = describe_weight_dtypes(model)
    store_in(model, loop.work.section.FINAL_DTYPE)
    encoded = read_encoded_lengths(store, mine.encoded(order.model))
    named = {
        **record,
        "weights_dtype": {"trained": trained, "final": describe_weight_dtypes(model)},
        "max_length": find_text_token_limit(model, tokenizer, encoded, ready.data[0].lengths),
        "experiment": settings.experiment.NAME,
        "settings": dict(list_counted_model_settings(settings, order.model)),
        "encoded_by": encoding_functions(store, mine.prepared_record),
        "finished_at": current_moment(),
    }
    models = ModelStore(store, mine)
    now = models.final_fingerprint(order.model, order.seed)
    if now and now != replaces:
        raise Locked(
            f"{order.name}: another training has put its model ({now}) there meanwhile",
            where=f"{store.url}/{mine.final(order.model, order.seed)}",
            remedy="that one is kept; run again, or `--redo train` to train it anew",
        )
    folder, most = experiment.scratch / "final", loop.work.section.MODELS_KEPT
    full = save_final(folder, model, tokenizer, named)
    models.replace_final(folder, full, most, experiment.progress)
    return full


def _send_trial(
    store: Store, key: str, trial: TrialArgs, loop: Loop, record: Mapping[str, Any]
) -> dict[str, Any]:
    told = {
        "number": trial.number,
        "values": dict(trial.values),
        "state": "pruned" if loop.pruned else "complete",
        "value": loop.state.best_value,
        "loss": loop.state.best_loss(),
        "seen": loop.seen(),
        **{name: record[name] for name in ("made_from", "metrics", "best_epoch", "seconds")},
        "environment": record["environment"],
        "versions": record["versions"],
        "recipe": loop.work.recipe.written,
    }
    store.write(key, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
    return told
