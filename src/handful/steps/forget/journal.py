"""The one journal of a forgetting: who, and what has been rewritten from what to what.

It is written before anything is touched, and before each file that is replaced; it goes last. So
whoever is killed finds in it the ids, and for every file that a record names both checksums: of
what stood there, and of what stands there now or is made again. Nothing else names the ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from handful import layout
from handful.errors import Absent, DataError
from handful.files import checksums
from handful.files.checksums import Checksum
from handful.storage.base import Store


@dataclass
class ForgetJournal:
    """`journal.json`."""

    ids: list[str]
    """In every spelling."""
    keys: list[str]
    """Of their files in production."""
    event: dict[str, Any] = field(default_factory=dict)
    """What the list of forgotten documents is told of it."""
    ledger_hash: str = ""
    """As reconcile left it, if what stands here leads to it; else empty."""
    splits: dict[str, str] = field(default_factory=dict)
    """splits.parquet → its ledger's hash before."""
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Folder of a model's encoded data → `hash` before; `rows_only`: of the rows alone."""
    files: dict[str, list[Any]] = field(default_factory=dict)
    """Key → size and SHA-256 before, and after."""
    records: dict[str, list[str]] = field(default_factory=dict)
    """Key of a step's record → the hash that the report has of it, before and after."""
    numbers: list[int | None] | None = None
    """Label row → its new number, where tables name rows so."""
    removed: list[str] = field(default_factory=list)
    """Keys that are deleted."""

    def write(self, store: Store) -> None:
        text = json.dumps(asdict(self), ensure_ascii=True).encode()
        store.write(layout.FORGET_JOURNAL, checksums.seal(text))

    def note(self, store: Store, key: str, before: Checksum, after: Checksum) -> None:
        """Say what becomes of the file at `key`, before it does."""
        was = self.files.get(key)
        old = Checksum(*was[:2]) if was else before
        self.files[key] = [*old, *after]
        self.write(store)

    def sums(self) -> Mapping[str, tuple[Checksum, Checksum]]:
        """Key → before and after, of what differs."""
        both = {key: (Checksum(*one[:2]), Checksum(*one[2:])) for key, one in self.files.items()}
        return {key: one for key, one in both.items() if one[0] != one[1]}


def load_forget_journal(store: Store) -> ForgetJournal | None:
    """What is half done; None if nothing is."""
    try:
        data = store.read(layout.FORGET_JOURNAL)
    except Absent:
        return None
    try:
        if fault := checksums.fault_of_json(data):
            raise ValueError(fault)
        told = json.loads(data)
        told.pop(checksums.MEMBER, None)
        return ForgetJournal(**told)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the journal of a forgetting is damaged: {error}",
            where=f"{store.url}/{layout.FORGET_JOURNAL}",
            remedy="restore it from a copy; it alone knows what is half done",
        ) from error
