"""Turns a model's shards into what the next steps read, and puts that into the store."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from handful import layout
from handful.errors import Absent, Damaged, DataError
from handful.layout import Layout
from handful.progress import Progress, printable
from handful.records import Prepared
from handful.steps.prepare import quarantine
from handful.steps.prepare.encoding import merge_shards, truncation
from handful.steps.prepare.encoding.encode import Shard
from handful.steps.prepare.encoding.lengths import longest_rows_by_split, too_long
from handful.steps.prepare.encoding.shards import ShardStore
from handful.steps.prepare.encoding.truncation import Tallies
from handful.steps.prepare.labels import LETTERS
from handful.steps.prepare.plan import EncodedModel, Plan
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.second_try import list_unread_twice
from handful.steps.prepare.splitting.splits import SPLITS
from handful.storage.base import Store


@dataclass
class ModelJoiner:
    """Turns a model's shards into what the next steps read."""

    model: str
    plan: Plan
    shards: ShardStore
    store: Store
    layout: Layout
    progress: Progress

    @property
    def name(self) -> str:
        """The model, as people are told of it."""
        return layout.model_folder(self.model)

    def run(
        self, found: Mapping[int, Shard], quarantined: Sequence[Quarantined], made_from: str
    ) -> EncodedModel:
        left_out = sum(len(shard.left_out) for shard in found.values())
        features = self.shards.features()
        if features is None:
            raise DataError(
                "the features of the shards are gone",
                where=f"{self.store.url}/{self.layout.encoded(self.model)}",
                remedy="prepare again with `--redo prepare`",
            )
        folders = merge_shards.join(
            (self.shards.local(number) for number in sorted(found)),
            features,
            {row.artifact_id: row.split for row in self.plan.draw().ledger.used()},
            Path(tempfile.mkdtemp(prefix="joined-", dir=self.shards.scratch)),
        )
        self._check_rows(folders, quarantined, left_out)
        self._send(folders, quarantined, found)
        hashes = "".join(folders[split].hash() for split in SPLITS)
        return EncodedModel(
            made_from,
            self.plan.draw().ledger.hash(),
            {split: folders[split].rows for split in SPLITS},
            len(quarantined),
            left_out,
            self._data_hash(hashlib.sha256(hashes.encode()).hexdigest()),
        )

    def _data_hash(self, rows: str) -> str:
        """Of the rows (their hash is given) and of what their label ids mean.

        A label map may change and leave every id in the rows as it was: a label got another name.
        Earlier builds hashed the rows alone; that stands as long as the label map does.
        """
        label2id = dict(self.plan.label2id)
        kept = self._read_prepared_record()
        if kept and kept.label2id == label2id and kept.data_hash.get(self.name) == rows:
            return rows
        return hashlib.sha256(f"{rows}\0{json.dumps(label2id)}".encode()).hexdigest()

    def _read_prepared_record(self) -> Prepared | None:
        try:
            data = self.store.read(self.layout.prepared_record)
            return Prepared.from_json(data)
        except (Absent, Damaged, ValueError, TypeError):
            return None

    def _check_rows(
        self,
        folders: Mapping[str, merge_shards.SplitFolder],
        quarantined: Sequence[Quarantined],
        left_out: int,
    ) -> None:
        if not folders["train"].rows:
            raise DataError(
                f"no row is left to train {self.name} on: {len(quarantined)} instances could not "
                f"be encoded, and encode_data left out {left_out}",
                where="[prepare]",
                remedy="look at SPLIT, the label knobs, and encode_data",
            )
        for split in SPLITS:
            if not folders[split].rows:
                self.progress.warn(f"{self.name}: the {split} split has no row")

    def _send(
        self,
        folders: Mapping[str, merge_shards.SplitFolder],
        quarantined: Sequence[Quarantined],
        found: Mapping[int, Shard],
    ) -> None:
        store, place = self.store, self.layout.encoded(self.model)
        for split in SPLITS:
            key = self.layout.encoded_split(self.model, split)
            store.send_tree(folders[split].path, key, last=merge_shards.MARKER)
        tallies: Tallies = {}
        for number in sorted(found):
            truncation.join(tallies, found[number].tallies)
        self._tell_lost(tallies)
        sized = [self._with_sizes(one) for one in quarantined]
        errors = {one.artifact_id: one.error for one in quarantined}
        twice = list_unread_twice(store, place, errors) if errors else []
        store.write(f"{place}/{layout.QUARANTINE}", quarantine.as_parquet(sized, twice))
        lengths = {split: folders[split].lengths for split in SPLITS}
        told = truncation.report(tallies, longest_rows_by_split(lengths))
        store.write(f"{place}/{layout.TRUNCATION}", told)
        warning = too_long(self.model, lengths)
        if warning:
            self.progress.warn(f"{self.name}: {warning}")

    def _tell_lost(self, tallies: Tallies) -> None:
        lost = sorted({row.label for row in self.plan.used} - tallies.keys())
        if lost:
            names = ", ".join(printable(label, LETTERS) for label in lost)
            told = f"{self.name}: no instance of these labels could be encoded: {names}"
            self.progress.warn(told)

    def _with_sizes(self, one: Quarantined) -> Quarantined:
        sizes = sorted(self.plan.documents[one.artifact_id].sizes.items())
        return replace(
            one,
            files=tuple(name for name, _ in sizes),
            file_sizes=tuple(size for _, size in sizes),
        )
