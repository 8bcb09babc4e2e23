"""Prepares one model: its shards, its datasets, and what could not be encoded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Self

from handful import layout
from handful.errors import Absent, Damaged
from handful.experiment.context import Experiment
from handful.experiment.fingerprint import ENCODING_FUNCTIONS, ENCODING_LIBRARIES
from handful.experiment.model_identity import encoding_identity
from handful.files import checksums
from handful.settings import ALL_OF_USER, Settings, Usage, list_counted_settings
from handful.steps.prepare.encoding import merge_shards
from handful.steps.prepare.encoding.encode import Shard
from handful.steps.prepare.encoding.encoder import ModelEncoder
from handful.steps.prepare.encoding.shard_merger import ModelJoiner
from handful.steps.prepare.encoding.shards import ShardStore, has_encoding_shards
from handful.steps.prepare.plan import EncodedModel, Plan, Share
from handful.steps.prepare.second_try import worth_a_second_try
from handful.steps.prepare.splitting.splits import SPLITS
from handful.storage.base import Store
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
        self, experiment: Experiment, model: str, plan: Plan, share: Share, *, redo: bool = False
    ) -> None:
        """`share`: of its shards, the ones to encode."""
        store, settings, mine = experiment.store, experiment.settings, experiment.layout
        directory, progress = experiment.directory, experiment.progress
        encoded = mine.encoded(model)
        self._plan, self._redo = plan, redo
        self._store, self._encoded, self._progress = store, encoded, progress
        self._marker = f"{encoded}/{layout.ENCODED_RECORD}"
        self._stands = kept = _read_encoded_model(store, encoded)
        usage = settings_usage(directory, ENCODING_FUNCTIONS)
        now, before = (_hash(settings, directory, model, plan, u) for u in (usage, ALL_OF_USER))
        self._now = self._made_from = now
        # What stands may be of a build that counted all of [user] and nothing else that functions
        # read: that build's word for it.
        if now != before and not (kept and kept.encoding == now):
            stands = kept is not None and kept.encoding == before
            half_done = not usage.reads_beside_user and has_encoding_shards(store, encoded, before)
            self._made_from = before if stands or half_done else now
        scratch = experiment.scratch
        self._shards = shards = ShardStore(store, encoded, self._made_from, scratch, directory)
        self._encoder = ModelEncoder(model, plan, shards, settings.prepare, progress, share)
        self._joiner = ModelJoiner(model, plan, shards, store, mine, progress)
        self._found: Mapping[int, Shard] = {}
        self._kept: EncodedModel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shards.close()

    def encode(self, workers: Workers) -> None:
        """Have all its shards in the store.

        Raises `DataError` when the rows do not fit the features or too many instances fail,
        `FunctionsError` when functions.py is at fault.
        """
        self._kept = None if self._redo else self._up_to_date()
        if self._kept:
            self._tell_unchanged()
            if self._kept.encoding != self._now:
                self._mark(replace(self._kept, encoding=self._now))
            # A run that was killed right after its marker has left its shards behind.
            self._shards.remove()
            return
        self._store.delete([self._marker])
        if self._redo:
            self._shards.remove()
        self._found = self._encoder.run(workers)

    def encode_share(self, workers: Workers) -> int:
        """Encode its shards of the share, and leave them in the store; how many were encoded.

        Raises as `encode` does.
        """
        if self._is_encoded():
            self._tell_unchanged()
            return 0
        before = self._shards.finished()
        return len(self._encoder.run(workers).keys() - before.keys())

    def join(self) -> EncodedModel:
        """Bring its datasets up to date. `DataError` when no row is left to train on."""
        if self._kept:
            return self._kept
        found = self._found
        quarantined = [one for number in sorted(found) for one in found[number].quarantined]
        self._encoder.check(quarantined)
        done = self._joiner.run(found, quarantined, self._made_from)
        self._mark(done)
        self._shards.remove()
        return done

    def _mark(self, done: EncodedModel) -> None:
        told = json.dumps(asdict(done), indent=2) + "\n"
        self._store.write(self._marker, told.encode())

    def _tell_unchanged(self) -> None:
        self._progress.note(
            f"{self._encoder.name}: nothing that its encoded data are made of changed"
        )

    def _is_encoded(self) -> bool:
        """Do its rows stand, made of the same?"""
        kept = self._stands
        if kept is None or kept.encoding != self._made_from:
            return False
        return not (kept.quarantined and worth_a_second_try(self._store, self._encoded))

    def _up_to_date(self) -> EncodedModel | None:
        """What stands there, if it is made of the same, and so are its splits."""
        kept = self._stands if self._is_encoded() else None
        return kept if kept and kept.splits == self._plan.draw().ledger.hash() else None


def _hash(settings: Settings, directory: Path, model: str, plan: Plan, usage: Usage) -> str:
    counted = list_counted_settings(settings, "prepare", for_hash=True, usage=usage)
    functions = function_hashes(directory)
    chosen = {name for name in _CHOOSE_ARTIFACTS if not usage.reads("prepare", name)}
    others = set() if usage.names("train", _OTHER_MODELS) else {f"[train] {_OTHER_MODELS}"}
    apart = {f"[prepare] {name}" for name in chosen} | others
    told = {
        "model": [layout.model_folder(model), encoding_identity(model)],
        "settings": {name: value for name, value in counted.items() if name not in apart},
        "functions": [functions.get(name) for name in ENCODING_FUNCTIONS],
        "libraries": {name: version(name) for name in ENCODING_LIBRARIES},
        "labels": dict(plan.label2id),
        "ledger": plan.ledger_hash,
        "artifacts": [(row.artifact_id, row.label) for row in plan.used],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _read_encoded_model(store: Store, folder: str) -> EncodedModel | None:
    """What stands there, if it is whole."""
    try:
        raw = json.loads(store.read(f"{folder}/{layout.ENCODED_RECORD}"))
        splits = (f"{split}/{merge_shards.MARKER}" for split in SPLITS)
        for name in (layout.QUARANTINE, layout.TRUNCATION, *splits):
            store.head(f"{folder}/{name}")
        raw.pop(checksums.MEMBER, None)
        return EncodedModel(**raw)
    except (Absent, Damaged, ValueError, TypeError):
        return None
