"""Prepares one model: its shards, its datasets, and what could not be encoded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version

from handful import layout
from handful.errors import Absent
from handful.experiment import Experiment
from handful.fingerprint import ENCODING_LIBRARIES
from handful.model_files import encoding_identity
from handful.settings import counted
from handful.sources import function_hashes
from handful.steps.prepare import joining
from handful.steps.prepare.encoder import ModelEncoder
from handful.steps.prepare.joiner import ModelJoiner
from handful.steps.prepare.plan import EncodedModel, Plan, Share
from handful.steps.prepare.shards import ShardStore
from handful.steps.prepare.splits import SPLITS
from handful.steps.prepare.workers import Workers

_CHOOSE_ARTIFACTS = frozenset(
    f"[prepare] {key}"
    for key in (
        "MAX_ARTIFACTS",
        "LABEL_ALIASES",
        "IGNORED_LABELS",
        "NUM_LABELS_THRESHOLD",
        "SPLIT",
        "SPLIT_FROM",
        "GROUP_BY",
        "NEAR_DUPLICATES",
    )
)
"""They decide who is encoded, and that counts by itself."""
_OTHER_MODELS = "[train] MODEL_NAMES"


def prepare_model(
    experiment: Experiment, model: str, plan: Plan, workers: Workers, *, redo: bool
) -> EncodedModel:
    """Bring one model's datasets up to date.

    Raises `DataError` when the rows do not fit the features, too many instances fail, or no row is
    left to train on; `FunctionsError` when functions.py is at fault.
    """
    made_from = _made_from(experiment, model, plan)
    kept = None if redo else _kept(experiment, model)
    if kept and (kept.encoding, kept.splits) == (made_from, plan.ledger.hash()):
        name = layout.model_folder(model)
        experiment.progress.note(f"{name}: nothing that its encoded data are made of changed")
        # A run that was killed right after its marker has left its shards behind.
        experiment.store.delete_tree(f"{experiment.layout.encoded(model)}/{layout.SHARDS}")
        return kept
    marker = f"{experiment.layout.encoded(model)}/{layout.ENCODED_RECORD}"
    experiment.store.delete([marker])
    shards = ShardStore(experiment, model, made_from)
    try:
        if redo:
            shards.remove()
        found = ModelEncoder(experiment, model, plan, shards).run(workers)
        done = ModelJoiner(experiment, model, plan, shards).run(found, made_from)
        experiment.store.write(marker, (json.dumps(asdict(done), indent=2) + "\n").encode())
        shards.remove()
    finally:
        shards.close()
    return done


def encode_model(
    experiment: Experiment, model: str, plan: Plan, workers: Workers, share: Share
) -> int:
    """Encode one model's shards of `share`, and leave them in the store; how many were encoded.

    Raises as `prepare_model` does.
    """
    made_from = _made_from(experiment, model, plan)
    kept = _kept(experiment, model)
    name = layout.model_folder(model)
    if kept and kept.encoding == made_from:
        experiment.progress.note(f"{name}: nothing that its encoded data are made of changed")
        return 0
    shards = ShardStore(experiment, model, made_from)
    try:
        encoder = ModelEncoder(experiment, model, plan, shards, share)
        before = shards.finished()
        found = encoder.run(workers)
    finally:
        shards.close()
    return len(found.keys() - before.keys())


def _made_from(experiment: Experiment, model: str, plan: Plan) -> str:
    settings = counted(experiment.settings, "prepare")
    functions = function_hashes(experiment.directory)
    told = {
        "model": [layout.model_folder(model), encoding_identity(model)],
        "settings": {
            name: value
            for name, value in settings.items()
            if name not in _CHOOSE_ARTIFACTS and name != _OTHER_MODELS
        },
        "functions": [functions.get(name) for name in ("get_dataset_features", "encode_data")],
        "libraries": {name: version(name) for name in ENCODING_LIBRARIES},
        "labels": dict(plan.label2id),
        "ledger": plan.ledger_hash,
        "artifacts": [(row.artifact_id, row.label) for row in plan.ledger.used()],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _kept(experiment: Experiment, model: str) -> EncodedModel | None:
    """What stands there, if it is whole."""
    folder = experiment.layout.encoded(model)
    try:
        raw = json.loads(experiment.store.read(f"{folder}/{layout.ENCODED_RECORD}"))
        for name in (layout.QUARANTINE, layout.TRUNCATION):
            experiment.store.head(f"{folder}/{name}")
        for split in SPLITS:
            key = f"{experiment.layout.encoded_split(model, split)}/{joining.MARKER}"
            experiment.store.head(key)
        return EncodedModel(**raw)
    except (Absent, ValueError, TypeError):
        return None
