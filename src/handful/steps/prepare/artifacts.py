"""The kept artifacts, as the ledger tells them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from handful import layout
from handful.errors import Absent, DataError
from handful.files.paths import leads_outside
from handful.records import Fate
from handful.storage.base import Store

_ARTIFACT_LEDGER_COLUMNS = [
    "artifact_id",
    "label",
    "file_hash",
    "fate",
    "files",
    "files_made",
    "row",
]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One kept artifact."""

    id: str
    label: str
    """From the ledger, or after LABEL_ALIASES where that has been applied."""
    files: tuple[str, ...]
    """The names of its files in the store, sorted."""
    row: str
    """The other columns of its label row, as a JSON object."""
    file_hash: str | None = None
    made: tuple[str, ...] = ()
    """Those of its files that process_func made, sorted."""

    def column(self, name: str) -> Any:
        """Its value in the column `name` of the label rows; None if it has none."""
        return self.file_hash if name == "file_hash" else json.loads(self.row).get(name)

    def columns(self) -> tuple[str, ...]:
        """The names that `column` knows."""
        return ("file_hash", *json.loads(self.row))


def load_kept_artifacts(store: Store) -> tuple[Artifact, ...]:
    """Every kept artifact of the ledger, sorted by id. `DataError` if there is none."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    where = f"{store.url}/{layout.LEDGER}"
    try:
        data = store.read(layout.LEDGER)
    except Absent as error:
        remedy = "run `handful reconcile` first"
        raise DataError("there is no ledger yet", where=where, remedy=remedy) from error
    table = pq.read_table(io.BytesIO(data), columns=_ARTIFACT_LEDGER_COLUMNS)
    table = table.filter(pc.equal(table["fate"], Fate.KEPT.value)).sort_by("artifact_id")
    if not table.num_rows:
        remedy = "data/reconciliation/summary.json says what became of them"
        raise DataError("no artifact was kept", where=where, remedy=remedy)
    artifacts = tuple(_artifacts(table))
    _check_ids(artifacts, where)
    for name in {name for files in {a.files for a in artifacts} for name in files}:
        _check_inside(name, where)
    return artifacts


def rank(seed: int, artifact_id: str) -> str:
    """A draw that depends on nothing but the seed and the id: hex, evenly spread."""
    return hashlib.sha256(f"{seed}\0{artifact_id}".encode()).hexdigest()


def _artifacts(table: Any) -> Iterator[Artifact]:
    """The rows of the ledger's table, column by column: there may be a million."""
    copied, made = (table[name].to_pylist() for name in ("files", "files_made"))
    named: dict[tuple[str, ...], tuple[str, ...]] = {}  # most have files of the same names
    columns = [table[name].to_pylist() for name in ("artifact_id", "label", "row", "file_hash")]
    for there, new, artifact_id, label, row, file_hash in zip(copied, made, *columns, strict=True):
        both = (*(there or ()), *(new or ()))
        if both not in named:
            named[both] = tuple(sorted(set(both)))
        by_us = named.setdefault(tuple(new or ()), tuple(sorted(new or ())))
        yield Artifact(artifact_id, label, named[both], row or "{}", file_hash, by_us)


def _check_ids(artifacts: Iterable[Artifact], where: str) -> None:
    for artifact in artifacts:
        if "/" in artifact.id:
            raise _unsafe(artifact.id, where)
        _check_inside(artifact.id, where)


def _check_inside(name: str, where: str) -> None:
    """Reconcile checked them, but a ledger is a file: no name may lead out of the artifact."""
    if "\0" in name or leads_outside(name):
        raise _unsafe(name, where)


def _unsafe(name: str, where: str) -> DataError:
    return DataError(f"the ledger holds the unsafe name {name!r}", where=where)
