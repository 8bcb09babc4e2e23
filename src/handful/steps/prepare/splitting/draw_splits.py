"""Draws the splits of an experiment: what ties artifacts together, then who goes where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from handful.experiment.context import Experiment
from handful.records import Reconciled
from handful.steps.prepare.encoding.inputs import Document, Inputs
from handful.steps.prepare.labels import Labelled
from handful.steps.prepare.plan import Splits
from handful.steps.prepare.selection import build_selection_ledger
from handful.steps.prepare.splitting.group_edges import links_between
from handful.steps.prepare.splitting.splits import Drawn, draw
from handful.steps.prepare.workers import workers_of
from handful.system.machine import pause_garbage_collection
from handful.user_functions.workers.pool import Workers


@dataclass(frozen=True)
class Drawing:
    """Everything that a draw needs; it may look into every document."""

    experiment: Experiment
    reconciled: Reconciled
    labelled: Labelled
    documents: Sequence[Document]
    """In the order of the artifacts."""
    inputs: Inputs
    before: Mapping[str, Drawn]
    """Artifact id → where an earlier draw has put it."""
    labels_seen: tuple[str, ...]
    """As the ledger keeps them."""

    def draw(self, workers: Workers) -> Splits:
        artifacts, settings = self.labelled.artifacts, self.experiment.settings
        with pause_garbage_collection():  # what is known of each document, and there are many
            links, pairs = links_between(
                self.experiment, self.reconciled, artifacts, self.documents, self.inputs, workers
            )
        shares, seed = settings.prepare.SPLIT, settings.experiment.SEED
        drawn = draw(artifacts, links, self.before, shares, seed)
        ledger = build_selection_ledger(self.labelled, drawn, settings)
        return Splits(replace(ledger, labels_seen=self.labels_seen), pairs)

    def alone(self) -> Splits:
        """The same with workers of its own, which know nothing of functions.py: they are small."""
        with workers_of(self.experiment, to_encode=False) as workers:
            return self.draw(workers)
