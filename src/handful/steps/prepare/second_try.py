"""Which of the quarantined artifacts are worth a second try: their cause may be gone.

A file that was damaged or missing may have been repaired since; then its size is another than
quarantine.parquet says. What could not be read (a disk, a share, too many open files) is tried once
more at the next run; when it fails in the same way again, it stays until something changes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handful.errors import Absent, StoreError
from handful.files.paths import is_glob
from handful.layout import QUARANTINE, Layout, artifact_file
from handful.records import Prepared
from handful.storage.base import Store

_MISSING = "missing input: "
_UNREAD = re.compile(
    r"(OSError|IOError|PermissionError|FileNotFoundError|TimeoutError|InterruptedError"
    r"|BlockingIOError|ConnectionError|Connection\w+Error|MemoryError)\b"
)
_LOOKED_AT = 100
"""Artifacts whose files are asked for, at most."""
METADATA = b"handful.tried_again"
"""In the schema of quarantine.parquet: the artifacts that could not be read twice, one a line."""


@dataclass(frozen=True)
class _QuarantineRow:
    artifact_id: str
    error: str
    sizes: Mapping[str, int]
    """File name → bytes, as it was tried."""

    @property
    def is_unread(self) -> bool:
        """Was it reading that failed, and not the content that was at fault?"""
        return _UNREAD.match(self.error) is not None


def worth_a_second_try(store: Store, encoded: str) -> list[str]:
    """Artifact ids of the quarantine in `encoded`, a model's folder in the store."""
    rows, tried_again = _read_quarantine_rows(store, encoded)
    unread = [
        row.artifact_id for row in rows if row.is_unread and row.artifact_id not in tried_again
    ]
    others = [row for row in rows if row.artifact_id not in unread][:_LOOKED_AT]
    return [*unread, *(row.artifact_id for row in others if _has_changed(store, row))]


def list_unread_twice(store: Store, encoded: str, errors: Mapping[str, str]) -> list[str]:
    """Those of `errors` (artifact id → error) that could not be read the last time, either."""
    rows, _ = _read_quarantine_rows(store, encoded)
    before = {row.artifact_id for row in rows if row.is_unread}
    return sorted(one for one, error in errors.items() if one in before and _UNREAD.match(error))


def reasons(store: Store, layout: Layout, prepared: Prepared) -> list[str]:
    """Why prepare has to run again although nothing that it is made of changed."""
    found = []
    for model, count in prepared.quarantined.items():
        ids = worth_a_second_try(store, layout.encoded(model)) if count else []
        if ids:
            what = "instance is" if len(ids) == 1 else "instances are"
            found.append(f"{len(ids)} quarantined {what} tried again for {model} ({ids[0]})")
    return found


def _read_quarantine_rows(store: Store, encoded: str) -> tuple[list[_QuarantineRow], set[str]]:
    """The rows of quarantine.parquet, and who was tried twice; nothing of one that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["artifact_id", "error", "files", "file_sizes"]
    try:
        table = pq.read_table(io.BytesIO(store.read(f"{encoded}/{QUARANTINE}")), columns=columns)
        told = [table.column(name).to_pylist() for name in columns]
    except (StoreError, OSError, pa.ArrowException):
        return [], set()
    tried = (table.schema.metadata or {}).get(METADATA)
    rows = [
        _QuarantineRow(one, error, dict(zip(files, sizes, strict=True)))
        for one, error, files, sizes in zip(*told, strict=True)
    ]
    if tried is None:  # of a build that noted nothing: only what changed counts
        return rows, {row.artifact_id for row in rows}
    return rows, set(tried.decode().splitlines())


def _has_changed(store: Store, row: _QuarantineRow) -> bool:
    """Is a file now of another size than when it was tried, or there, or gone?"""
    missing = row.error.removeprefix(_MISSING).split(", ") if row.error.startswith(_MISSING) else ()
    names = [*row.sizes, *(name for name in missing if not is_glob(name))]
    now = dict(_sizes(store, row.artifact_id, names))
    return now != row.sizes


def _sizes(store: Store, artifact_id: str, names: Iterable[str]) -> Iterable[tuple[str, int]]:
    for name in dict.fromkeys(names):
        try:
            yield name, store.head(artifact_file(artifact_id, name)).size
        except Absent:
            continue
