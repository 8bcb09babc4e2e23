"""What is known of likeness, kept in the store: which documents are alike, and by what.

It depends on no model and on no split, so it is found once per experiment.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handful import layout
from handful.errors import Absent
from handful.steps.prepare.similarity.near_duplicates import Pairs
from handful.storage.base import Store

_METADATA = b"made_from"
_UNCOUNTED = b"uncounted"


@dataclass(frozen=True)
class Likeness:
    """What an artifact shares with others."""

    content: str | None
    """sha256 over the files that count; None if they could not be read."""
    family: str | None
    """The smallest artifact id of its family of near-duplicates; None if it has no family."""


@dataclass(frozen=True)
class Alike:
    """Which documents are alike."""

    each: tuple[Likeness, ...]
    """In the order of the documents."""
    pairs: Pairs


def read_stored_likeness(store: Store, made_from: str) -> Alike | None:
    """What stands in the store, if it was made from that."""
    rows = _read_likeness_table(store, layout.NEAR_DUPLICATES, made_from)
    pairs = _read_likeness_table(store, layout.NEAR_DUPLICATE_PAIRS, made_from)
    if rows is None or pairs is None:
        return None
    each = zip(rows["content"].to_pylist(), rows["family"].to_pylist(), strict=True)
    return Alike(
        tuple(Likeness(content, family) for content, family in each),
        Pairs(
            pairs["one"].to_numpy(),
            pairs["other"].to_numpy(),
            pairs["likeness"].to_numpy(),
            int((pairs.schema.metadata or {})[_UNCOUNTED]),
        ),
    )


def _read_likeness_table(store: Store, key: str, made_from: str) -> Any:
    """The table at `key`, if it was made from that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = io.BytesIO(store.read(key))
        table = pq.read_table(data, page_checksum_verification=True)
    except (Absent, OSError, pa.ArrowException):
        return None  # not there, or no longer readable: it is found again
    same = (table.schema.metadata or {}).get(_METADATA) == made_from.encode()
    return table if same else None


def keep_likeness(store: Store, made_from: str, ids: Sequence[str], found: Alike) -> None:
    import pyarrow as pa

    each = pa.table(
        {
            "artifact_id": pa.array(ids, pa.string()),
            "content": pa.array([one.content for one in found.each], pa.string()),
            "family": pa.array([one.family for one in found.each], pa.string()),
        }
    ).replace_schema_metadata({_METADATA: made_from.encode()})
    pairs = pa.table(
        {"one": found.pairs.one, "other": found.pairs.other, "likeness": found.pairs.likeness}
    ).replace_schema_metadata(
        {_METADATA: made_from.encode(), _UNCOUNTED: str(found.pairs.uncounted).encode()}
    )
    for key, table in ((layout.NEAR_DUPLICATE_PAIRS, pairs), (layout.NEAR_DUPLICATES, each)):
        store.write(key, _encode_likeness_parquet(table))


def _encode_likeness_parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file, write_page_checksum=True)
    return file.getvalue()
