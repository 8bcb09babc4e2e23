"""Which artifacts are alike, found once per experiment in the files' own content.

The answer is kept in the store, for it depends on no model and on no split. Workers read the
documents; the bands are compared here.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from handful import layout
from handful.errors import Absent
from handful.experiment import Experiment
from handful.records import Reconciled
from handful.steps.prepare import near_duplicates
from handful.steps.prepare.components import Components
from handful.steps.prepare.inputs import Document, Inputs
from handful.steps.prepare.near_duplicates import Pairs, Shingled
from handful.steps.prepare.words import SHINGLE, TEXT_LIMIT, Words, words_of
from handful.steps.prepare.work import Desk
from handful.steps.prepare.workers import Workers

_DOCUMENTS_PER_WORK = 512
_PATIENCE = 300.0
"""Seconds for one document; it is at most a few MiB of text."""
_METADATA = b"made_from"
_UNCOUNTED = b"uncounted"


@dataclass(frozen=True)
class Likeness:
    """What an artifact shares with others."""

    content: str | None
    """sha256 over its input files; None if they could not be read."""
    family: str | None
    """The smallest artifact id of its family of near-duplicates; None if it has no family."""


@dataclass(frozen=True)
class Alike:
    """Which documents are alike."""

    each: tuple[Likeness, ...]
    """In the order of the documents."""
    pairs: Pairs


@dataclass(frozen=True)
class ReadWords:
    """Read some documents: their content's hash, shingles and signatures. Satisfies `Work`."""

    documents: tuple[tuple[str, ...], ...]
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
            read = Words(None, np.empty(0, np.uint32))
            if number not in self.unreadable and paths:
                with suppress(OSError):  # alike to nobody; encoding will say what is wrong with it
                    read = words_of(paths)
            contents.append(read.content)
            found.append(read.words)
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

    def alike(self, documents: Sequence[Document]) -> Alike:
        """Each document's likeness to the others, and the pairs that are alike."""
        contents, shingled, signed = self._read(documents, told=True)
        found = near_duplicates.families(shingled, signed)
        each = tuple(
            Likeness(content, None if root is None else documents[root].id)
            for content, root in zip(contents, found, strict=True)
        )
        members = _members(contents, found)
        return Alike(each, near_duplicates.pairs_within(members, shingled, signed))

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
        shingled, signed = _loaded([work.path for work in works])
        return [content for work in works for content in contents[work.path]], shingled, signed

    def _paths(self, document: Document) -> tuple[str, ...]:
        """What is read of a document: nothing if it cannot be encoded anyway."""
        return () if document.fault else tuple(self._inputs.paths(document))


def _loaded(paths: Sequence[Path]) -> tuple[Shingled, Any]:
    """What the workers wrote, joined; the files are gone then. Nothing is held twice."""
    starts, offset = [np.zeros(1, np.int64)], 0
    for path in paths:
        with np.load(path) as part:
            starts.append(part["starts"][1:] + offset)
        offset = int(starts[-1][-1])
    joined = Shingled(np.empty(offset, np.uint32), np.concatenate(starts))
    signed = np.empty((len(joined), near_duplicates.PERMUTATIONS), np.uint32)
    document = 0
    for path, ends in zip(paths, starts[1:], strict=True):
        with np.load(path) as part:
            hashes, signatures = part["hashes"], part["signed"]
        joined.hashes[int(ends[-1]) - len(hashes) : int(ends[-1])] = hashes
        signed[document : document + len(signatures)] = signatures
        document += len(signatures)
        path.unlink()
    return joined, signed


def likeness(
    experiment: Experiment,
    reconciled: Reconciled,
    documents: Sequence[Document],
    read: Callable[[Sequence[Document]], Alike],
) -> Alike:
    """Which documents are alike: from the store if nothing changed, else found and kept there."""
    made_from = _made_from(experiment, reconciled, documents)
    kept = _kept(experiment, made_from)
    if kept is not None:
        return kept
    found = read(documents)
    _keep(experiment, made_from, documents, found)
    return found


def _members(contents: Sequence[str | None], families: Sequence[int | None]) -> list[list[int]]:
    """The documents that hang together, by likeness or by the very same content."""
    components = Components(len(contents))
    for number, (content, family) in enumerate(zip(contents, families, strict=True)):
        if content is not None:
            components.union(number, components.node(content))
        if family is not None:
            components.union(number, family)
    found = components.members(range(len(contents))).values()
    return [members for members in found if len(members) > 1]


def _made_from(
    experiment: Experiment, reconciled: Reconciled, documents: Iterable[Document]
) -> str:
    told = [
        reconciled.ledger_hash,
        list(experiment.settings.prepare.MODEL_INPUT_FILES),
        [SHINGLE, TEXT_LIMIT, near_duplicates.THRESHOLD, near_duplicates.PERMUTATIONS],
        near_duplicates.LARGE_FAMILY,
        [(one.id, one.fault, sorted(one.sizes.items())) for one in documents],
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _kept(experiment: Experiment, made_from: str) -> Alike | None:
    rows = _read(experiment, layout.NEAR_DUPLICATES, made_from)
    pairs = _read(experiment, layout.NEAR_DUPLICATE_PAIRS, made_from)
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


def _read(experiment: Experiment, key: str, made_from: str) -> Any:
    """The table at `key`, if it was made from that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(experiment.store.read(key)))
    except (Absent, pa.ArrowException):
        return None  # not there, or no longer readable: it is found again
    same = (table.schema.metadata or {}).get(_METADATA) == made_from.encode()
    return table if same else None


def _keep(
    experiment: Experiment, made_from: str, documents: Sequence[Document], found: Alike
) -> None:
    import pyarrow as pa

    each = pa.table(
        {
            "artifact_id": pa.array([one.id for one in documents], pa.string()),
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
        experiment.store.write(key, _parquet(table))


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
