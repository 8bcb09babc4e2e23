"""Which artifacts are alike, found once per experiment in the files' own content.

The answer is kept in the store, for it depends on no model and on no split. Workers read the
documents; the bands are compared here.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from handful import layout
from handful.errors import Absent
from handful.experiment import Experiment
from handful.records import Reconciled
from handful.steps.prepare import near_duplicates
from handful.steps.prepare.inputs import Document, Inputs
from handful.steps.prepare.near_duplicates import Shingled
from handful.steps.prepare.words import SHINGLE, TEXT_LIMIT, words_of
from handful.steps.prepare.work import Desk
from handful.steps.prepare.workers import Workers

_DOCUMENTS_PER_WORK = 512
_PATIENCE = 300.0
"""Seconds for one document; it is at most a few MiB of text."""
_METADATA = b"made_from"


@dataclass(frozen=True)
class Likeness:
    """What an artifact shares with others."""

    content: str | None
    """sha256 over its input files; None if they could not be read."""
    family: str | None
    """The smallest artifact id of its family of near-duplicates; None if it has no family."""


@dataclass(frozen=True)
class ReadWords:
    """Read some documents: their content's hash, shingles and signatures. Satisfies `Work`."""

    documents: tuple[tuple[Path, ...], ...]
    path: Path
    """Where the numbers are written (NumPy's npz)."""
    unreadable: frozenset[int] = frozenset()
    losses: int = 0
    patience: float = _PATIENCE

    def do(self, desk: Desk) -> list[str | None]:
        """The content's hash of each document; None where it could not be read."""
        contents: list[str | None] = []
        found = []
        for number, paths in enumerate(self.documents):
            desk.gauge.begin(number, number + 1)
            content, shingles = None, np.empty(0, np.uint32)
            if number not in self.unreadable and paths:
                try:
                    words = words_of(paths)
                except OSError:
                    pass  # it is alike to nobody; encoding will say what is wrong with it
                else:
                    content, shingles = words.content, words.shingles
            contents.append(content)
            found.append(shingles)
        shingled = Shingled.of(found)
        signed = near_duplicates.signatures(shingled)
        with self.path.open("wb") as file:
            np.savez(file, hashes=shingled.hashes, starts=shingled.starts, signed=signed)
        return contents

    def without(self, in_hand: range, why: str) -> Self:  # noqa: ARG002 - the protocol's
        if not in_hand:
            return replace(self, losses=self.losses + 1)
        return replace(self, unreadable=self.unreadable | set(in_hand))


class Reader:
    """Reads documents' words with the workers."""

    def __init__(self, experiment: Experiment, inputs: Inputs, workers: Workers) -> None:
        self._scratch = experiment.scratch / "words"
        self._progress = experiment.progress
        self._inputs = inputs
        self._workers = workers

    def families(self, documents: Sequence[Document]) -> list[Likeness]:
        """Each document's likeness to the others."""
        contents, shingled, signed = self._read(documents, told=True)
        found = near_duplicates.families(shingled, signed)
        return [
            Likeness(content, None if root is None else documents[root].id)
            for content, root in zip(contents, found, strict=True)
        ]

    def alike_pairs(self, documents: Sequence[Document]) -> list[tuple[int, int]]:
        """All pairs of near-duplicates among a few documents."""
        _, shingled, signed = self._read(documents, told=False)
        return list(near_duplicates.alike_pairs(shingled, signed))

    def _read(
        self, documents: Sequence[Document], *, told: bool
    ) -> tuple[list[Any], Shingled, Any]:
        self._inputs.bring(documents)
        self._scratch.mkdir(parents=True, exist_ok=True)
        works = [
            ReadWords(
                tuple(self._paths(one) for one in documents[first : first + _DOCUMENTS_PER_WORK]),
                self._scratch / f"{first}.npz",
            )
            for first in range(0, len(documents), _DOCUMENTS_PER_WORK)
        ]
        contents: dict[Path, list[str | None]] = {}
        done = 0
        for work, result in self._workers.run(works):
            contents[work.path] = result
            done += len(result)
            if told:
                self._progress.advance("reading documents", done, len(documents), "documents")
        loaded = [np.load(work.path) for work in works]
        shingles = [
            hashes for one in loaded for hashes in np.split(one["hashes"], one["starts"][1:-1])
        ]
        signed = np.concatenate([one["signed"] for one in loaded])
        for work in works:
            work.path.unlink()
        return [c for work in works for c in contents[work.path]], Shingled.of(shingles), signed

    def _paths(self, document: Document) -> tuple[Path, ...]:
        """What is read of a document: nothing if it cannot be encoded anyway."""
        return () if document.fault else tuple(self._inputs.paths(document))


def likeness(
    experiment: Experiment,
    reconciled: Reconciled,
    documents: Sequence[Document],
    read: Callable[[Sequence[Document]], Sequence[Likeness]],
) -> Mapping[str, Likeness]:
    """Artifact id → its likeness: from the store if nothing changed, else found and kept there."""
    made_from = _made_from(experiment, reconciled, documents)
    kept = _kept(experiment, made_from)
    if kept is not None:
        return kept
    found = dict(zip((one.id for one in documents), read(documents), strict=True))
    _keep(experiment, made_from, found)
    return found


def _made_from(
    experiment: Experiment, reconciled: Reconciled, documents: Iterable[Document]
) -> str:
    told = [
        reconciled.ledger_hash,
        list(experiment.settings.prepare.MODEL_INPUT_FILES),
        [SHINGLE, TEXT_LIMIT, near_duplicates.THRESHOLD, near_duplicates.PERMUTATIONS],
        [(one.id, one.fault, sorted(one.sizes.items())) for one in documents],
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _kept(experiment: Experiment, made_from: str) -> dict[str, Likeness] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(experiment.store.read(layout.NEAR_DUPLICATES)))
    except (Absent, pa.ArrowException):
        return None  # not there, or no longer readable: it is found again
    if (table.schema.metadata or {}).get(_METADATA) != made_from.encode():
        return None
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return {artifact_id: Likeness(content, family) for artifact_id, content, family in rows}


def _keep(experiment: Experiment, made_from: str, found: Mapping[str, Likeness]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "artifact_id": pa.array(found, pa.string()),
            "content": pa.array([one.content for one in found.values()], pa.string()),
            "family": pa.array([one.family for one in found.values()], pa.string()),
        }
    ).replace_schema_metadata({_METADATA: made_from.encode()})
    file = io.BytesIO()
    pq.write_table(table, file)
    experiment.store.write(layout.NEAR_DUPLICATES, file.getvalue())
