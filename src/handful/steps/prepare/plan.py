"""What the preparation of every model has in common, and what comes of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from handful.steps.prepare.encoding.inputs import Document, Inputs
from handful.steps.prepare.selection import Used
from handful.steps.prepare.similarity.near_duplicates import Pairs
from handful.steps.prepare.splitting.ledger import Ledger


@dataclass(frozen=True)
class Share:
    """Which of several machines this one is; all shards belong to the only machine."""

    worker: int = 0
    """From 0."""
    of: int = 1

    def has(self, number: int) -> bool:
        """Whether the shard `number` is this machine's. Neighbours go to different machines."""
        return number % self.of == self.worker


@dataclass(frozen=True)
class Splits:
    """Who is where, and what is known of likeness since that was drawn."""

    ledger: Ledger
    pairs: Pairs | None
    """Near-duplicates, by their rows in the ledger; None if nobody looked for them."""


@dataclass(frozen=True)
class Plan:
    """What all models have in common."""

    used: tuple[Used, ...]
    """Who is encoded, sorted by artifact id."""
    label2id: Mapping[str, int]
    label2id_before: Mapping[str, int] | None
    """What stands in the store; None if there is none, or if it is not to be looked at."""
    documents: Mapping[str, Document]
    """Artifact id → its input files, for those that are used."""
    inputs: Inputs
    ledger_hash: str
    """Of reconcile's ledger: it covers the files' content."""
    labels_seen: tuple[str, ...]
    """As the ledger keeps them."""
    draw: Callable[[], Splits]
    """Draws the splits when it is first called, which takes a look into every document: encoding
    can begin without them."""


@dataclass(frozen=True)
class EncodedModel:
    """What stands in the store for one model; kept as encoded.json, which is written last."""

    encoding: str
    """sha256 of everything that the rows are made of."""
    splits: str
    """Hash of the split ledger by which they are parted."""
    rows: Mapping[str, int]
    quarantined: int
    left_out: int
    data_hash: str
