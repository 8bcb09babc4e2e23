"""The kept artifacts, as the ledger tells them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from handful import layout
from handful.errors import Absent, DataError
from handful.experiment import Experiment
from handful.records import Fate

_COLUMNS = ["artifact_id", "label", "file_hash", "fate", "files", "files_made", "row"]


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

    def column(self, name: str) -> Any:
        """Its value in the column `name` of the label rows; None if it has none."""
        return self.file_hash if name == "file_hash" else json.loads(self.row).get(name)

    def columns(self) -> tuple[str, ...]:
        """The names that `column` knows."""
        return ("file_hash", *json.loads(self.row))


def kept_artifacts(experiment: Experiment) -> tuple[Artifact, ...]:
    """Every kept artifact of the ledger, sorted by id. `DataError` if there is none."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    where = f"{experiment.store.url}/{layout.LEDGER}"
    try:
        data = experiment.store.read(layout.LEDGER)
    except Absent as error:
        remedy = "run `handful reconcile` first"
        raise DataError("there is no ledger yet", where=where, remedy=remedy) from error
    table = pq.read_table(io.BytesIO(data), columns=_COLUMNS)
    table = table.filter(pc.equal(table["fate"], Fate.KEPT.value))
    artifacts = sorted(map(_artifact, table.to_pylist()), key=lambda a: a.id)
    if not artifacts:
        remedy = "data/reconciliation/summary.json says what became of them"
        raise DataError("no artifact was kept", where=where, remedy=remedy)
    for artifact in artifacts:
        _check_names(artifact, where)
    return tuple(artifacts)


def rank(seed: int, artifact_id: str) -> str:
    """A draw that depends on nothing but the seed and the id: hex, evenly spread."""
    return hashlib.sha256(f"{seed}\0{artifact_id}".encode()).hexdigest()


def _artifact(row: dict[str, Any]) -> Artifact:
    files = {*(row["files"] or ()), *(row["files_made"] or ())}
    return Artifact(
        row["artifact_id"], row["label"], tuple(sorted(files)), row["row"] or "{}", row["file_hash"]
    )


def _check_names(artifact: Artifact, where: str) -> None:
    """Reconcile checked them, but a ledger is a file: no name may lead out of the artifact."""
    for name in (artifact.id, *artifact.files):
        if not _inside(name.split("/")) or "\0" in name or (name is artifact.id and "/" in name):
            raise DataError(f"the ledger holds the unsafe name {name!r}", where=where)


def _inside(parts: Iterable[str]) -> bool:
    return not any(part in {"", ".", ".."} for part in parts)
