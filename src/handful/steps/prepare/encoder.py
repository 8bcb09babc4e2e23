"""Encodes what the store does not have yet of one model: a sample first, then shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from handful import layout
from handful.experiment import Experiment
from handful.steps.prepare import quarantine, schema
from handful.steps.prepare.encoding import EncodeShard, Shard
from handful.steps.prepare.instance import Instances
from handful.steps.prepare.ledger import Row
from handful.steps.prepare.plan import Plan, Share
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.sampling import EncodeSample
from handful.steps.prepare.shards import ShardStore, cut
from handful.steps.prepare.workers import Workers

_SAMPLE = 12
"""Instances that are encoded before the long run."""


@dataclass(frozen=True)
class _Piece:
    """One shard, as it is cut."""

    number: int
    rows: tuple[Row, ...]


@dataclass
class ModelEncoder:
    """Encodes what the store does not have yet of the shards of `share`."""

    experiment: Experiment
    model: str
    plan: Plan
    shards: ShardStore
    share: Share = field(default_factory=Share)

    @property
    def name(self) -> str:
        """The model, as people are told of it."""
        return layout.model_folder(self.model)

    def run(self, workers: Workers) -> dict[int, Shard]:
        """Every shard, by number."""
        finished = self.shards.finished()
        mine = [piece for piece in self._pieces() if self.share.has(piece.number)]
        todo = [piece for piece in mine if piece.number not in finished]
        if not todo:
            return finished
        if finished:
            done = len(mine) - len(todo)
            told = f"{self.name}: {done} of {len(mine)} shards were encoded before"
            self.experiment.progress.note(told)
        documents = self.plan.documents
        bad = [row for piece in mine for row in piece.rows if documents[row.artifact_id].fault]
        self._check([self._faulty(row) for row in bad])
        self.plan.inputs.bring([documents[row.artifact_id] for p in todo for row in p.rows])
        features, guilty = self._features(workers)
        works = (self._work(piece, features, guilty) for piece in todo)
        counts = sum(len(p.rows) for p in mine), sum(len(p.rows) for p in todo)
        return self._encode(workers, works, counts, finished)

    def _pieces(self) -> list[_Piece]:
        """All shards, as they are cut. Their works are made when a worker is free for them."""
        return [_Piece(*piece) for piece in enumerate(cut(self.plan.ledger.used(), self._bytes))]

    def _bytes(self, row: Row) -> int:
        return self.plan.documents[row.artifact_id].bytes

    def _work(
        self, piece: _Piece, features: Mapping[str, Any], guilty: Mapping[str, Quarantined]
    ) -> EncodeShard:
        documents = [self.plan.documents[row.artifact_id] for row in piece.rows]
        rows = zip(piece.rows, documents, strict=True)
        aside = {row.artifact_id: self._faulty(row) for row, document in rows if document.fault}
        if guilty:
            aside |= {one.id: guilty[one.id] for one in documents if one.id in guilty}
        return EncodeShard(
            model=self.model,
            label2id=self.plan.label2id,
            instances=self.plan.inputs.instances(documents, [row.label for row in piece.rows]),
            patience=self.experiment.settings.prepare.ENCODE_TIMEOUT,
            set_aside=aside,
            number=piece.number,
            features=features,
            path=self.shards.path(piece.number),
        )

    def _faulty(self, row: Row) -> Quarantined:
        fault = self.plan.documents[row.artifact_id].fault
        return Quarantined(row.artifact_id, row.label, fault, "")

    def _features(self, workers: Workers) -> tuple[Mapping[str, Any], Mapping[str, Quarantined]]:
        """The features that a sample was held against, and who in it hung or killed a worker."""
        kept = self.shards.features()
        if kept is not None:
            return kept, {}
        settings = self.experiment.settings.prepare
        work = EncodeSample(
            model=self.model,
            label2id=self.plan.label2id,
            instances=sampled(self.plan),
            patience=settings.ENCODE_TIMEOUT,
        )
        ((work, result),) = workers.run([work])
        schema.refuse(result.checks)
        self.shards.keep_features(result.features)
        return result.features, work.set_aside

    def _encode(
        self,
        workers: Workers,
        works: Iterable[EncodeShard],
        counts: tuple[int, int],
        finished: dict[int, Shard],
    ) -> dict[int, Shard]:
        """Encode `works`. `counts`: instances of all shards that are ours, and of `works`."""
        total, left = counts
        done = total - left
        quarantined = {q.artifact_id: q for s in finished.values() for q in s.quarantined}

        def watch(in_flight: int) -> None:
            self.experiment.progress.advance(
                f"encoding for {self.name}",
                done + in_flight,
                total,
                "instances",
                {"quarantined": len(quarantined)},
            )

        def lost(retry: EncodeShard) -> None:
            quarantined.update(retry.set_aside)
            self._check(list(quarantined.values()))

        for work, shard in workers.run(works, watch=watch, lost=lost):
            self.shards.keep(work.number, shard)
            finished[work.number] = shard
            done += len(work.instances)
            quarantined.update((q.artifact_id, q) for q in shard.quarantined)
            self._check(list(quarantined.values()))
        watch(0)
        self.shards.settle()
        return finished

    def _check(self, quarantined: Sequence[Quarantined]) -> None:
        limit = self.experiment.settings.prepare.MAX_QUARANTINED
        quarantine.check_limit(quarantined, self._total, limit, self.name)

    @cached_property
    def _total(self) -> int:
        """Instances of all shards. It is asked for after each, so it is counted once."""
        return len(self.plan.ledger.used())


def sampled(plan: Plan) -> Instances:
    """A few instances across labels and sizes; none whose document has a fault."""
    good = [
        (plan.documents[row.artifact_id], row.label)
        for row in plan.ledger.used()
        if not plan.documents[row.artifact_id].fault
    ]
    good.sort(key=lambda pair: (pair[0].bytes, pair[0].id))
    chosen = {0, len(good) // 2, len(good) - 1} if good else set()
    first_of = {label: place for place, (_, label) in reversed(list(enumerate(good)))}
    for place in sorted(first_of.values()):
        if len(chosen) < _SAMPLE:
            chosen.add(place)
    taken = [good[place] for place in sorted(chosen)]
    documents = [document for document, _ in taken]
    return plan.inputs.instances(documents, [label for _, label in taken])
