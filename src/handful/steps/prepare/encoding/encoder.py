"""Encodes what the store does not have yet of one model: a sample first, then shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from handful import layout
from handful.progress import Progress
from handful.settings.sections.data import PrepareSection
from handful.steps.prepare import quarantine
from handful.steps.prepare.encoding import schema
from handful.steps.prepare.encoding.encode import EncodeShard, Shard
from handful.steps.prepare.encoding.inputs import Wait
from handful.steps.prepare.encoding.instance import Instances
from handful.steps.prepare.encoding.sampling import EncodeSample
from handful.steps.prepare.encoding.shards import ShardStore, cut
from handful.steps.prepare.plan import Plan, Share
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.selection import Used
from handful.user_functions.workers.pool import Workers

_SAMPLE = 12
"""Instances that are encoded before the long run."""


@dataclass(frozen=True)
class _Piece:
    """One shard, as it is cut."""

    number: int
    rows: tuple[Used, ...]


@dataclass
class ModelEncoder:
    """Encodes what the store does not have yet of the shards of `share`."""

    model: str
    plan: Plan
    shards: ShardStore
    settings: PrepareSection
    progress: Progress
    share: Share

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
            self.progress.note(told)
        documents = self.plan.documents
        bad = [row for piece in mine for row in piece.rows if documents[row.artifact_id].fault]
        self.check([self._faulty(row) for row in bad])
        counts = sum(len(p.rows) for p in mine), sum(len(p.rows) for p in todo)
        kept = self.shards.features()
        sample = [] if kept is not None else select_encode_sample(self.plan)
        early = {row.artifact_id for row in sample}
        later = (row for piece in todo for row in piece.rows if row.artifact_id not in early)
        in_order = (documents[row.artifact_id] for row in chain(sample, later))
        with self.plan.inputs.bringing(in_order, self.progress) as wait_for:
            wait_for([documents[row.artifact_id] for row in sample])
            features, guilty = (
                (kept, {}) if kept is not None else self._encode_sample(workers, sample)
            )
            works = (self._work(piece, features, guilty, wait_for) for piece in todo)
            return self._encode(workers, works, counts, finished)

    def _pieces(self) -> list[_Piece]:
        """All shards, as they are cut. Their works are made when a worker is free for them."""
        pieces = cut(self.plan.used, lambda row: self.plan.documents[row.artifact_id].bytes)
        return [_Piece(*piece) for piece in enumerate(pieces)]

    def _work(
        self,
        piece: _Piece,
        features: Mapping[str, Any],
        guilty: Mapping[str, Quarantined],
        wait_for: Wait,
    ) -> EncodeShard:
        documents = [self.plan.documents[row.artifact_id] for row in piece.rows]
        wait_for(documents)
        rows = zip(piece.rows, documents, strict=True)
        aside = {row.artifact_id: self._faulty(row) for row, document in rows if document.fault}
        if guilty:
            aside |= {one.id: guilty[one.id] for one in documents if one.id in guilty}
        return EncodeShard(
            model=self.model,
            label2id=self.plan.label2id,
            instances=self._instances(piece.rows),
            patience=self.settings.ENCODE_TIMEOUT,
            set_aside=aside,
            number=piece.number,
            features=features,
            path=self.shards.path(piece.number),
            contents=self.plan.inputs.contents(documents),
            remedy=self.plan.inputs.remedy,
        )

    def _instances(self, rows: Sequence[Used]) -> Instances:
        documents = [self.plan.documents[row.artifact_id] for row in rows]
        return self.plan.inputs.instances(documents, [row.label for row in rows])

    def _faulty(self, row: Used) -> Quarantined:
        fault = self.plan.documents[row.artifact_id].fault
        return Quarantined(row.artifact_id, row.label, fault, "")

    def _encode_sample(
        self, workers: Workers, sample: Sequence[Used]
    ) -> tuple[Mapping[str, Any], Mapping[str, Quarantined]]:
        """The features that the sample was held against, and who hung or killed a worker."""
        work = EncodeSample(
            model=self.model,
            label2id=self.plan.label2id,
            instances=self._instances(sample),
            patience=self.settings.ENCODE_TIMEOUT,
        )
        ((work, result),) = workers.run([work])
        schema.refuse(schema.functions_at_fault(result.checks))
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
            # The end is told once all is known: who is quarantined comes with a whole shard.
            reached = min(done + in_flight, total - 1) if in_flight else done
            self.progress.advance(
                f"encoding for {self.name}",
                reached,
                total,
                "instances",
                {"quarantined": len(quarantined)},
            )

        def quarantine_lost_work(retry: EncodeShard) -> None:
            quarantined.update(retry.set_aside)
            self.check(list(quarantined.values()))

        for work, shard in workers.run(works, watch=watch, lost=quarantine_lost_work):
            self.shards.keep(work.number, shard)
            finished[work.number] = shard
            done += len(work.instances)
            quarantined.update((q.artifact_id, q) for q in shard.quarantined)
            self.check(list(quarantined.values()))
        watch(0)
        self.shards.settle()
        return finished

    def check(self, quarantined: Sequence[Quarantined]) -> None:
        """`DataError` if MAX_QUARANTINED does not allow so many."""
        limit = self.settings.MAX_QUARANTINED
        quarantine.check_limit(quarantined, len(self.plan.used), limit, self.name)


def select_encode_sample(plan: Plan) -> list[Used]:
    """A few across labels and sizes; none whose document has a fault."""
    good = [
        (document.bytes, row.artifact_id, row)
        for row in plan.used
        for document in (plan.documents[row.artifact_id],)
        if not document.fault
    ]
    good.sort(key=itemgetter(0, 1))
    chosen = {0, len(good) // 2, len(good) - 1} if good else set()
    first_of = {row.label: place for place, (*_, row) in reversed(list(enumerate(good)))}
    for place in sorted(first_of.values()):
        if len(chosen) < _SAMPLE:
            chosen.add(place)
    return [good[place][2] for place in sorted(chosen)]
