"""prepare: artifacts become encoded Arrow datasets, on one split ledger for all models.

    ledger → labels → groups → splits → for each model: sample, shards, datasets

Read `prepare` from top to bottom; every line of it is a module beside this one. What is kept:
label2id.json and id2label.json (frozen), splits.parquet and split_metadata.json, and for each model
{train,validation,test}/, quarantine.parquet, truncation.json, and encoded.json, which comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from handful.experiment import Experiment
from handful.layout import ENCODED_RECORD, SHARDS, check_model_folders, model_folder
from handful.machine import cores
from handful.records import Fingerprint, Prepared, Reconciled
from handful.steps.prepare.artifacts import kept_artifacts
from handful.steps.prepare.borrowed import borrowed
from handful.steps.prepare.inputs import Inputs
from handful.steps.prepare.instance import Instance
from handful.steps.prepare.labels import apply_knobs, frozen_label_map, keep_label_map, label_map
from handful.steps.prepare.ledger import Ledger, keep_ledger, previous_ledger
from handful.steps.prepare.links import links_between
from handful.steps.prepare.model import encode_model, prepare_model
from handful.steps.prepare.plan import EncodedModel, Plan, Share
from handful.steps.prepare.sampling import check_sample, features_of
from handful.steps.prepare.schema import FieldCheck, table_rows
from handful.steps.prepare.selection import chosen
from handful.steps.prepare.splits import draw
from handful.steps.prepare.workers import Workers

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
    models = experiment.settings.train.MODEL_NAMES
    with _workers(experiment) as workers:
        plan = _plan(experiment, reconciled, workers, redo=redo)
        _tell(experiment, plan.ledger, plan.label2id)
        encoded = {
            model: prepare_model(experiment, model, plan, workers, redo=redo) for model in models
        }
    # Only now: a first run that fails freezes nothing, and a later one draws the same again.
    keep_label_map(experiment, plan.label2id)
    keep_ledger(experiment, plan.ledger)
    return _record(made_from, plan.ledger, plan.label2id, encoded)


def start_over(experiment: Experiment) -> None:
    """Forget draw, label ids and encoded data, so that the next `prepare` begins anew."""
    mine, store = experiment.layout, experiment.store
    # The record first: from here on nobody takes the step for done.
    store.delete([mine.prepared_record, mine.splits, mine.split_metadata])
    store.delete([mine.label2id, mine.id2label])
    for model in experiment.settings.train.MODEL_NAMES:
        store.delete([f"{mine.encoded(model)}/{ENCODED_RECORD}"])
        store.delete_tree(f"{mine.encoded(model)}/{SHARDS}")


def encode_share(experiment: Experiment, reconciled: Reconciled, share: Share) -> int:
    """Encode this machine's share of the shards into the store; how many it encoded.

    Every machine draws the same plan from the same store, so that none waits for another. What is
    encoded becomes datasets when `prepare` is called once all machines are through. Raises what
    `prepare` raises.
    """
    with _workers(experiment) as workers:
        plan = _plan(experiment, reconciled, workers, redo=False)
        models = experiment.settings.train.MODEL_NAMES
        return sum(encode_model(experiment, model, plan, workers, share) for model in models)


def _workers(experiment: Experiment) -> Workers:
    settings = experiment.settings
    most = settings.prepare.NUM_PROCESSES or cores()
    return Workers(experiment.directory, settings, experiment.scratch / "workers", most)


def _plan(experiment: Experiment, reconciled: Reconciled, workers: Workers, *, redo: bool) -> Plan:
    """Who goes where, under which label id: the same for all models."""
    settings = experiment.settings
    check_model_folders(settings.train.MODEL_NAMES)
    labelled = apply_knobs(kept_artifacts(experiment), settings)
    previous = None if redo else previous_ledger(experiment)
    frozen = None if redo else frozen_label_map(experiment)
    inputs = Inputs(experiment)
    documents = inputs.documents(labelled.artifacts)
    links = links_between(experiment, reconciled, labelled.artifacts, documents, inputs, workers)
    drawn = draw(
        labelled.artifacts,
        links,
        {**borrowed(experiment), **(previous.drawn() if previous else {})},
        settings.prepare.SPLIT,
        settings.experiment.SEED,
    )
    ledger = chosen(labelled, drawn, settings)
    label2id = label_map(labelled.labels, frozen)
    used = {row.artifact_id for row in ledger.used()}
    by_id = {document.id: document for document in documents if document.id in used}
    return Plan(ledger, label2id, by_id, inputs, reconciled.ledger_hash)


def _tell(experiment: Experiment, ledger: Ledger, label2id: Mapping[str, int]) -> None:
    """Warn of what a person should know about the draw."""
    rare = ledger.rare_labels()
    if rare:
        shown = "; ".join(
            f"{label} ({', '.join(f'{split} {count}' for split, count in counts.items())})"
            for label, counts in list(rare.items())[:10]
        )
        more = f"; and {len(rare) - 10} more" if len(rare) > 10 else ""
        experiment.progress.warn(f"labels that are too rare for every split: {shown}{more}")
    unused = set(label2id) - {row.label for row in ledger.used()}
    if unused:
        names = ", ".join(sorted(unused))
        experiment.progress.warn(
            f"labels that keep their id although no artifact has them: {names}"
        )


def _record(
    made_from: Fingerprint,
    ledger: Ledger,
    label2id: Mapping[str, int],
    encoded: Mapping[str, EncodedModel],
) -> Prepared:
    return Prepared(
        made_from=made_from,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        label2id=label2id,
        rows={model_folder(model): dict(one.rows) for model, one in encoded.items()},
        quarantined={model_folder(model): one.quarantined for model, one in encoded.items()},
        left_out={model_folder(model): one.left_out for model, one in encoded.items()},
        data_hash={model_folder(model): one.data_hash for model, one in encoded.items()},
        splits_hash=ledger.hash(),
    )
