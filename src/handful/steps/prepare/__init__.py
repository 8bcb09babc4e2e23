"""prepare: artifacts become encoded Arrow datasets, on one split ledger for all models.

    ledger → labels → groups → splits → for each model: sample, shards, datasets

A first time groups and splits wait until all models' shards are encoded: who is encoded does not
depend on them then, and a fault of `encode_data` is told before all documents are compared. Read
`prepare` from top to bottom; every line of it is a module beside this one. What is kept:
label2id.json and id2label.json, splits.parquet, split_metadata.json, leakage.json, and for
each model {train,validation,test}/, quarantine.parquet, truncation.json, and encoded.json, which
comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

from handful.experiment.context import Experiment
from handful.layout import ENCODED_RECORD, SHARDS, Layout, check_model_folders, model_folder
from handful.progress import Progress, printable
from handful.records import Fingerprint, Prepared, Reconciled
from handful.records.moments import current_moment
from handful.steps.prepare.artifacts import load_kept_artifacts
from handful.steps.prepare.encoding.inputs import Inputs
from handful.steps.prepare.encoding.instance import Instance
from handful.steps.prepare.encoding.sampling import check_sample, features_of
from handful.steps.prepare.encoding.schema import FieldCheck, table_rows
from handful.steps.prepare.labels import (
    LETTERS,
    apply_knobs,
    dense_label_map,
    describe_gone_labels,
    describe_label_id_changes,
    keep_label_map,
    label_map,
    labels_seen,
    read_frozen_label_map,
)
from handful.steps.prepare.model import ModelPreparation
from handful.steps.prepare.plan import EncodedModel, Plan, Share, Splits
from handful.steps.prepare.selection import list_used_artifacts, select_used_by_label
from handful.steps.prepare.similarity.leakage import keep_leakage, leakage
from handful.steps.prepare.similarity.near_duplicate_index import Reader
from handful.steps.prepare.splitting.draw_splits import draw_splits
from handful.steps.prepare.splitting.group_edges import check_group_by
from handful.steps.prepare.splitting.ledger import Ledger, keep_ledger, previous_ledger
from handful.steps.prepare.splitting.split_from import merge_earlier_draws
from handful.steps.prepare.workers import workers_of
from handful.storage.base import Store
from handful.system.machine import pause_garbage_collection
from handful.user_functions.workers.pool import Workers

__all__ = [
    "FieldCheck",
    "Instance",
    "Share",
    "check_sample",
    "encode_share",
    "features_of",
    "prepare",
    "start_over",
    "table_rows",
]


def prepare(
    experiment: Experiment,
    reconciled: Reconciled,
    *,
    made_from: Fingerprint,
    redo: bool = False,
) -> Prepared:
    """Encode every kept artifact for every model, and split them.

    `redo` draws new splits and label ids and encodes everything again. Raises `UserError` for
    settings that do not fit the data or the ledger, `DataError` for data that cannot be used,
    `FunctionsError` for faults of functions.py, and `StepError` when workers or the store fail.
    """
    store, layout, progress = experiment.store, experiment.layout, experiment.progress
    with ExitStack() as models:
        with workers_of(experiment.directory, experiment.settings, experiment.scratch) as workers:
            workers.start_early()
            with pause_garbage_collection():
                plan = _plan(experiment, reconciled, workers, redo=redo)
            all_of_them = {
                name: models.enter_context(
                    ModelPreparation(experiment, name, plan, Share(), redo=redo)
                )
                for name in experiment.settings.train.MODEL_NAMES
            }
            for model in all_of_them.values():
                model.encode(workers)
        encoded = {name: model.join() for name, model in all_of_them.items()}
    splits = plan.draw()
    _warn_about_draw(progress, splits.ledger, plan.label2id)
    if told := describe_label_id_changes(plan.label2id_before or {}, plan.label2id):
        progress.warn(told)
    leaked = leakage(splits.ledger, splits.pairs)
    progress.note(leaked.told())
    if leaked.warning():
        progress.warn(leaked.warning())
    # Only now: a first run that fails freezes nothing, and a later one draws the same again.
    keep_label_map(store, layout, plan.label2id)
    keep_leakage(store, layout.leakage, leaked)
    keep_ledger(store, layout, replace(splits.ledger, labels_seen=plan.labels_seen))
    return _record(made_from, splits.ledger, plan.label2id, encoded)


def start_over(store: Store, layout: Layout, models: Iterable[str]) -> None:
    """Forget draw, label ids and encoded data, so that the next `prepare` begins anew."""
    # The record first: from here on nobody takes the step for done.
    store.delete([layout.prepared_record, layout.splits, layout.split_metadata])
    store.delete([layout.label2id, layout.id2label])
    for model in models:
        store.delete([f"{layout.encoded(model)}/{ENCODED_RECORD}"])
        store.delete_tree(f"{layout.encoded(model)}/{SHARDS}")


def encode_share(experiment: Experiment, reconciled: Reconciled, share: Share) -> int:
    """Encode this machine's share of the shards into the store; how many it encoded.

    Every machine draws the same plan from the same store, so that none waits for another. What is
    encoded becomes datasets when `prepare` is called once all machines are through. Raises what
    `prepare` raises.
    """
    count = 0
    with workers_of(experiment.directory, experiment.settings, experiment.scratch) as workers:
        with pause_garbage_collection():
            plan = _plan(experiment, reconciled, workers, redo=False)
        if share.worker == 0:
            # Whoever joins the shards may have no processors to spare, nor the documents. First,
            # for this machine may have no room for all of them.
            plan.draw()
        for name in experiment.settings.train.MODEL_NAMES:
            with ModelPreparation(experiment, name, plan, share) as model:
                count += model.encode_share(workers)
    return count


def _plan(experiment: Experiment, reconciled: Reconciled, workers: Workers, *, redo: bool) -> Plan:
    """Who goes where, under which label id: the same for all models."""
    store, layout, progress = experiment.store, experiment.layout, experiment.progress
    directory, settings, scratch = experiment.directory, experiment.settings, experiment.scratch
    check_model_folders(settings.train.MODEL_NAMES)
    artifacts = load_kept_artifacts(store)
    previous = None if redo else previous_ledger(store, layout, settings)
    frozen = None if redo else read_frozen_label_map(store, layout)
    labels_before = (previous and previous.labels_seen) or frozen or ()
    labelled = apply_knobs(artifacts, settings, labels_before)
    if gone := describe_gone_labels(labelled):
        progress.warn(gone)
    asked = settings.prepare
    names, most = asked.MODEL_INPUT_FILES, asked.MAX_INSTANCE_BYTES
    inputs = Inputs(store, directory, scratch, names, most)
    documents = inputs.documents(labelled.artifacts)
    check_group_by(labelled.artifacts, settings)
    before = merge_earlier_draws(settings, progress, previous)
    now = {one.label for one in (*artifacts, *labelled.artifacts)}
    seen = labels_seen(previous.labels_seen if previous else None, frozen, now)

    ledger_hash = reconciled.ledger_hash

    def draw_with(workers: Workers) -> Splits:
        reader = Reader(inputs, workers, labelled.artifacts, documents, asked, progress)
        return draw_splits(store, ledger_hash, reader, labelled, before, settings)

    def draw_alone() -> Splits:
        # These workers know nothing of functions.py: they are small.
        with workers_of(directory, settings, scratch, to_encode=False) as few:
            return draw_with(few)

    draw: Callable[[], Splits] = cache(draw_alone)
    used = None if before else select_used_by_label(labelled, settings)
    if used is None:
        drawn = draw_with(workers)
        used, draw = list_used_artifacts(drawn.ledger), lambda: drawn
    documents_of = {document.id: document for document in documents}
    return Plan(
        used,
        label_map(labelled.labels, frozen)
        if asked.KEEP_LABEL_IDS
        else dense_label_map((one.label for one in used), seen),
        frozen,
        {one.artifact_id: documents_of[one.artifact_id] for one in used},
        inputs,
        ledger_hash,
        seen,
        draw,
    )


def _warn_about_draw(progress: Progress, ledger: Ledger, label2id: Mapping[str, int]) -> None:
    """Warn of what a person should know about the draw."""
    rare = ledger.rare_labels()
    if rare:
        shown = "; ".join(
            f"{printable(label, LETTERS)} "
            f"({', '.join(f'{split} {count}' for split, count in counts.items())})"
            for label, counts in list(rare.items())[:10]
        )
        more = f"; and {len(rare) - 10} more" if len(rare) > 10 else ""
        progress.warn(f"labels that are too rare for every split: {shown}{more}")
    unused = set(label2id) - {row.label for row in ledger.used()}
    if unused:
        names = ", ".join(printable(label, LETTERS) for label in sorted(unused))
        progress.warn(f"labels that keep their id although no artifact has them: {names}")


def _record(
    made_from: Fingerprint,
    ledger: Ledger,
    label2id: Mapping[str, int],
    encoded: Mapping[str, EncodedModel],
) -> Prepared:
    return Prepared(
        made_from=made_from,
        finished_at=current_moment(),
        label2id=label2id,
        rows={model_folder(model): dict(one.rows) for model, one in encoded.items()},
        quarantined={model_folder(model): one.quarantined for model, one in encoded.items()},
        left_out={model_folder(model): one.left_out for model, one in encoded.items()},
        data_hash={model_folder(model): one.data_hash for model, one in encoded.items()},
        splits_hash=ledger.hash(),
    )
