"""Prepares one model: its shards, its datasets, and what could not be encoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Self

from handful import layout
from handful.errors import Absent, Damaged
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import ENCODING_FUNCTIONS, ENCODING_LIBRARIES
from handful.experiment.model_identity import encoding_identity
from handful.files import checksums
from handful.settings import ALL_OF_USER, Usage, list_counted_settings
from handful.steps.prepare.encoding import merge_shards
from handful.steps.prepare.encoding.encode import Shard
from handful.steps.prepare.encoding.encoder import ModelEncoder
from handful.steps.prepare.encoding.shard_merger import ModelJoiner
from handful.steps.prepare.encoding.shards import ShardStore, has_encoding_shards
from handful.steps.prepare.plan import EncodedModel, Plan, Share
from handful.steps.prepare.second_try import worth_a_second_try
from handful.steps.prepare.splitting.splits import SPLITS
from handful.user_functions.settings_usage import settings_usage
from handful.user_functions.source_hash import function_hashes
from handful.user_functions.workers.pool import Workers

_CHOOSE_ARTIFACTS = frozenset(
    {
        "MAX_ARTIFACTS",
        "LABEL_ALIASES",
        "IGNORED_LABELS",
        "NUM_LABELS_THRESHOLD",
        "KEEP_LABEL_IDS",
        "SPLIT",
        "SPLIT_FROM",
        "GROUP_BY",
        "NEAR_DUPLICATES",
        "NEAR_DUPLICATE_FILES",
    }
)
"""They decide who is encoded under which label id, and that counts by itself."""
_OTHER_MODELS = "MODEL_NAMES"


class ModelPreparation:
    """One model's way to its datasets: `encode`, and `join` when the splits are drawn.

    A context manager: what was sent to the store has arrived, or failed, when it is left.
    """

    def __init__(
        self, experiment: Experiment, model: str, plan: Plan, *, redo: bool = False
    ) -> None:
        self._experiment, self._model, self._plan, self._redo = experiment, model, plan, redo
        self._now, self._made_from = _encoding_fingerprints(experiment, model, plan)
        self._shards = ShardStore(experiment, model, self._made_from)
        self._found: Mapping[int, Shard] = {}
        self._kept = None if redo else self._up_to_date()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shards.close()

    def encode(self, workers: Workers) -> None:
        """Have all its shards in the store.

        Raises `DataError` when the rows do not fit the features or too many instances fail,
        `FunctionsError` when functions.py is at fault.
        """
        if self._kept:
            name = layout.model_folder(self._model)
            told = f"{name}: nothing that its encoded data are made of changed"
            self._experiment.progress.note(told)
            if self._kept.encoding != self._now:
                self._mark(replace(self._kept, encoding=self._now))
            # A run that was killed right after its marker has left its shards behind.
            self._shards.remove()
            return
        self._experiment.store.delete([self._marker])
        if self._redo:
            self._shards.remove()
        encoder = ModelEncoder(self._experiment, self._model, self._plan, self._shards)
        self._found = encoder.run(workers)

    def join(self) -> EncodedModel:
        """Bring its datasets up to date. `DataError` when no row is left to train on."""
        if self._kept:
            return self._kept
        joiner = ModelJoiner(self._experiment, self._model, self._plan, self._shards)
        done = joiner.run(self._found, self._made_from)
        self._mark(done)
        self._shards.remove()
        return done

    def _mark(self, done: EncodedModel) -> None:
        told = json.dumps(asdict(done), indent=2) + "\n"
        self._experiment.store.write(self._marker, told.encode())

    @property
    def _marker(self) -> str:
        return f"{self._experiment.layout.encoded(self._model)}/{layout.ENCODED_RECORD}"

    def _up_to_date(self) -> EncodedModel | None:
        """What stands there, if it is made of the same."""
        kept = _read_encoded_model(self._experiment, self._model)
        if kept is None or kept.encoding != self._made_from:
            return None
        if kept.quarantined and worth_a_second_try(self._experiment, self._model):
            return None
        return kept if kept.splits == self._plan.ledger.hash() else None


def encode_model(
    experiment: Experiment, model: str, plan: Plan, workers: Workers, share: Share
) -> int:
    """Encode one model's shards of `share`, and leave them in the store; how many were encoded.

    Raises as `ModelPreparation.encode` does.
    """
    _, made_from = _encoding_fingerprints(experiment, model, plan)
    kept = _read_encoded_model(experiment, model)
    name = layout.model_folder(model)
    again = kept and kept.quarantined and worth_a_second_try(experiment, model)
    if kept and kept.encoding == made_from and not again:
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


def _encoding_fingerprints(experiment: Experiment, model: str, plan: Plan) -> tuple[str, str]:
    """What it is made from; and, while what stands is of a build that counted all of [user] and
    nothing else that functions read, that build's word for it."""
    usage = settings_usage(experiment.directory, ENCODING_FUNCTIONS)
    now, before = (_hash(experiment, model, plan, one) for one in (usage, ALL_OF_USER))
    kept = _read_encoded_model(experiment, model)
    if now == before or (kept and kept.encoding == now):
        return now, now
    stands = kept is not None and kept.encoding == before
    half_done = not usage.reads_beside_user and has_encoding_shards(experiment, model, before)
    return now, before if stands or half_done else now


def _hash(experiment: Experiment, model: str, plan: Plan, usage: Usage) -> str:
    settings = list_counted_settings(experiment.settings, "prepare", for_hash=True, usage=usage)
    functions = function_hashes(experiment.directory)
    chosen = {name for name in _CHOOSE_ARTIFACTS if not usage.reads("prepare", name)}
    others = set() if usage.names("train", _OTHER_MODELS) else {f"[train] {_OTHER_MODELS}"}
    apart = {f"[prepare] {name}" for name in chosen} | others
    told = {
        "model": [layout.model_folder(model), encoding_identity(model)],
        "settings": {name: value for name, value in settings.items() if name not in apart},
        "functions": [functions.get(name) for name in ENCODING_FUNCTIONS],
        "libraries": {name: version(name) for name in ENCODING_LIBRARIES},
        "labels": dict(plan.label2id),
        "ledger": plan.ledger_hash,
        "artifacts": [(row.artifact_id, row.label) for row in plan.used],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _read_encoded_model(experiment: Experiment, model: str) -> EncodedModel | None:
    """What stands there, if it is whole."""
    folder = experiment.layout.encoded(model)
    try:
        raw = json.loads(experiment.store.read(f"{folder}/{layout.ENCODED_RECORD}"))
        for name in (layout.QUARANTINE, layout.TRUNCATION):
            experiment.store.head(f"{folder}/{name}")
        for split in SPLITS:
            key = f"{experiment.layout.encoded_split(model, split)}/{merge_shards.MARKER}"
            experiment.store.head(key)
        raw.pop(checksums.MEMBER, None)
        return EncodedModel(**raw)
    except (Absent, Damaged, ValueError, TypeError):
        return None
