"""Which documents were forgotten, by an HMAC of their ids: no id stands here, and none comes back.

data/forgotten/key              a random key, made once
data/forgotten/forgotten.json   the HMACs, and how many documents of which split went when
data/forgotten/journal.json     what is being forgotten right now; the only one that names ids
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handful import layout
from handful.errors import Absent, DataError, StepError
from handful.files import checksums
from handful.records.moments import current_moment
from handful.storage.base import Store

_KEY_BYTES = 32


@dataclass(frozen=True)
class ForgottenList:
    """The forgotten documents of one experiment."""

    key: bytes
    names: frozenset[str] = frozenset()
    """HMAC-SHA256 of each id, in hex."""
    events: tuple[Mapping[str, Any], ...] = ()
    """`when`, `documents`, and `datasets`: ENCODED_DATA_DIR → split → documents."""
    fold: Callable[[str], str] = field(default=str)
    """How an id is written where it is matched (ID_FORMAT)."""

    def name_of(self, artifact_id: str) -> str:
        """What stands for the id."""
        return hmac.new(self.key, self.fold(artifact_id).encode(), hashlib.sha256).hexdigest()

    def __contains__(self, artifact_id: object) -> bool:
        return isinstance(artifact_id, str) and self.name_of(artifact_id) in self.names

    def of(self, ids: Iterable[str | None]) -> list[str]:
        """Those of the ids that were forgotten, each once."""
        return sorted({one for one in ids if one is not None and one in self})


def load_forgotten(store: Store, fold: Callable[[str], str] = str) -> ForgottenList | None:
    """The list; None where nothing was ever forgotten. `DataError` if it is damaged."""
    try:
        data = store.read(layout.FORGOTTEN_LIST)
    except Absent:
        return None
    try:
        if fault := checksums.fault_of_json(data):
            raise ValueError(fault)
        told = json.loads(data)
        key = bytes.fromhex(store.read(layout.FORGOTTEN_KEY).decode())
        return ForgottenList(key, frozenset(told["names"]), tuple(told["events"]), fold)
    except (Absent, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the list of forgotten documents is damaged: {error}",
            where=f"{store.url}/{layout.FORGOTTEN}",
            remedy="restore its files from a copy: without them a forgotten document may come back",
        ) from error


def begin_forgotten(store: Store, fold: Callable[[str], str] = str) -> ForgottenList:
    """The list, or an empty one with a new key, which is kept at once."""
    kept = load_forgotten(store, fold)
    if kept is not None:
        return kept
    store.create(layout.FORGOTTEN_KEY, secrets.token_hex(_KEY_BYTES).encode())
    key = bytes.fromhex(store.read(layout.FORGOTTEN_KEY).decode())
    return ForgottenList(key, fold=fold)


def keep_forgotten(store: Store, names: Iterable[str], events: Sequence[Mapping[str, Any]]) -> None:
    """Write the list."""
    told = {"format": 1, "names": sorted(names), "events": list(events)}
    store.write(layout.FORGOTTEN_LIST, checksums.seal(json.dumps(told, indent=2).encode()))


def new_event(
    number: str, documents: int, datasets: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    """What one call took away; `number` tells calls apart."""
    told = {name: dict(splits) for name, splits in datasets.items()}
    return {"call": number, "when": current_moment(), "documents": documents, "datasets": told}


def forgotten_words(events: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """What figures of a dataset should be read with; empty if they lack nothing."""
    splits: dict[str, int] = {}
    for event in events:
        for split, count in event["datasets"].get(dataset, {}).items():
            splits[split] = splits.get(split, 0) + int(count)
    total = sum(splits.values())
    if not total:
        return ""
    parts = ", ".join(f"{count:,} of {split}" for split, count in splits.items() if count)
    what = "document was" if total == 1 else "documents were"
    return (
        f"Since these figures were made {total:,} {what} forgotten ({parts}); "
        "the figures stand as they were, and the weights do not change."
    )


def words_since(store: Store, moment: str, dataset: str) -> str:
    """`forgotten_words` of what went after `moment` (ISO 8601, UTC)."""
    forgotten = load_forgotten(store)
    events = forgotten.events if forgotten else ()
    return forgotten_words([one for one in events if one["when"] >= moment], dataset)


def since_then(store: Store) -> str:
    """How many documents were forgotten, for `status`; empty if none was."""
    forgotten = load_forgotten(store)
    if forgotten is None or not forgotten.names:
        return ""
    last = forgotten.events[-1]["when"] if forgotten.events else "an unknown day"
    count = len(forgotten.names)
    return f"{count:,} {'document is' if count == 1 else 'documents are'} forgotten, last on {last}"


def refuse_half_forgotten(store: Store, directory: object) -> None:
    """`StepError` while documents are forgotten only half."""
    try:
        store.head(layout.FORGET_JOURNAL)
    except Absent:
        return
    raise StepError(
        "documents are half forgotten: `handful forget` was cut off, or is at work",
        where=f"{store.url}/{layout.FORGET_JOURNAL}",
        remedy=f"finish it first: `handful forget {directory} --yes`",
    )
