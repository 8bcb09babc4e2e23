"""Draws the splits of an experiment: what ties artifacts together, then who goes where."""

from __future__ import annotations

from collections.abc import Mapping

from handful.settings import Settings
from handful.steps.prepare.labels import Labelled
from handful.steps.prepare.plan import Splits
from handful.steps.prepare.selection import build_selection_ledger
from handful.steps.prepare.similarity.near_duplicate_index import Reader
from handful.steps.prepare.splitting.group_edges import links_between
from handful.steps.prepare.splitting.splits import Drawn, draw
from handful.storage.base import Store
from handful.system.machine import pause_garbage_collection


def draw_splits(
    store: Store,
    ledger_hash: str,
    reader: Reader,
    labelled: Labelled,
    before: Mapping[str, Drawn],
    settings: Settings,
) -> Splits:
    """Who goes where; `reader` may look into every document.

    `ledger_hash`: of reconcile's ledger; `before`: artifact id → where an earlier draw has put it.
    """
    asked, found = settings.prepare, None
    with pause_garbage_collection():  # what is known of each document, and there are many
        if asked.NEAR_DUPLICATES == "group":
            found = reader.likeness(store, ledger_hash)
        links = links_between(labelled.artifacts, settings, reader, found)
    drawn = draw(labelled.artifacts, links, before, asked.SPLIT, settings.experiment.SEED)
    ledger = build_selection_ledger(labelled, drawn, settings)
    return Splits(ledger, found.pairs if found else None)
