"""Encodes what the store does not have yet of one model: a sample first, then shard by shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from handful import layout
from handful.experiment import Experiment
from handful.steps.prepare import quarantine, schema
from handful.steps.prepare.encoding import EncodeShard, Shard
from handful.steps.prepare.inputs import Document
from handful.steps.prepare.plan import Plan, Share
from handful.steps.prepare.quarantine import Quarantined
from handful.steps.prepare.sampling import EncodeSample
from handful.steps.prepare.shards import ShardStore, cut
from handful.steps.prepare.workers import Workers

_SAMPLE = 12
"""Instances that are encoded before the long run."""


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
        works = [work for work in self._works() if self.share.has(work.number)]
        todo = [work for work in works if work.number not in finished]
        if not todo:
            return finished
        if finished:
            done = len(works) - len(todo)
            told = f"{self.name}: {done} of {len(works)} shards were encoded before"
            self.experiment.progress.note(told)
        bad = [one for one in self.plan.documents.values() if one.fault]
        self._check([q for work in works for q in work.set_aside.values()] if bad else [])
        numbers = {work.number for work in todo}
        wanted = [
            self.plan.documents[instance.id]
            for work in works
            if work.number in numbers
            for instance in work.instances
        ]
        self.plan.inputs.bring(wanted)
        features, guilty = self._features(workers)
        todo = [
            replace(
                work,
                features=features,
                set_aside={
                    **work.set_aside,
                    **{i.id: guilty[i.id] for i in work.instances if i.id in guilty},
                },
            )
            for work in todo
        ]
        return self._encode(workers, works, todo, finished)

    def _works(self) -> list[EncodeShard]:
        """All shards; their features are filled in later."""
        return [
            EncodeShard(
                model=self.model,
                label2id=self.plan.label2id,
                instances=tuple(
                    self.plan.inputs.instance(self.plan.documents[row.artifact_id], row.label)
                    for row in rows
                ),
                patience=self.experiment.settings.prepare.ENCODE_TIMEOUT,
                set_aside={
                    row.artifact_id: Quarantined(row.artifact_id, row.label, fault, "")
                    for row in rows
                    if (fault := self.plan.documents[row.artifact_id].fault)
                },
                number=number,
                features={},
                path=self.shards.path(number),
            )
            for number, rows in enumerate(cut(self.plan.ledger.used()))
        ]

    def _features(self, workers: Workers) -> tuple[Mapping[str, Any], Mapping[str, Quarantined]]:
        """The features that a sample was held against, and who in it hung or killed a worker."""
        kept = self.shards.features()
        if kept is not None:
            return kept, {}
        settings = self.experiment.settings.prepare
        work = EncodeSample(
            model=self.model,
            label2id=self.plan.label2id,
            instances=tuple(
                self.plan.inputs.instance(document, label) for document, label in sampled(self.plan)
            ),
            patience=settings.ENCODE_TIMEOUT,
        )
        ((work, result),) = workers.run([work])
        schema.refuse(result.checks)
        self.shards.keep_features(result.features)
        return result.features, work.set_aside

    def _encode(
        self,
        workers: Workers,
        works: Sequence[EncodeShard],
        todo: Sequence[EncodeShard],
        finished: dict[int, Shard],
    ) -> dict[int, Shard]:
        total = sum(len(work.instances) for work in works)
        done = total - sum(len(work.instances) for work in todo)
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

        for work, shard in workers.run(todo, watch=watch, lost=lost):
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
        quarantine.check_limit(quarantined, len(self.plan.ledger.used()), limit, self.name)


def sampled(plan: Plan) -> list[tuple[Document, str]]:
    """A few documents across labels and sizes, with their labels; none that has a fault."""
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
    return [good[place] for place in sorted(chosen)]
