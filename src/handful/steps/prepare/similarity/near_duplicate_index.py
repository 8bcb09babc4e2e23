"""Which artifacts are alike, found in the files' own content.

Workers read the documents; the bands are compared here. What was found is kept in the store.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from handful.errors.exceptions import shortage
from handful.progress import Progress
from handful.settings.sections.data import PrepareSection
from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.encoding.inputs import Document, Inputs
from handful.steps.prepare.similarity import near_duplicates, short_texts
from handful.steps.prepare.similarity.direct_links import direct_links
from handful.steps.prepare.similarity.document_words import NOT_READ, DocumentFiles, words_of
from handful.steps.prepare.similarity.file_text import TEXT_LIMIT, may_be_text
from handful.steps.prepare.similarity.known_likeness import (
    Alike,
    Likeness,
    keep_likeness,
    read_stored_likeness,
)
from handful.steps.prepare.similarity.near_duplicates import Shingled, Signatures
from handful.steps.prepare.similarity.own_values import own_values
from handful.steps.prepare.similarity.shingles import SHINGLE, hash_text_words
from handful.steps.prepare.similarity.short_texts import ShortTexts
from handful.steps.prepare.splitting.union_find import Components
from handful.storage.base import Store
from handful.user_functions.workers.messages import Desk, Loss
from handful.user_functions.workers.pool import Workers

_RULE = 3
"""Grows when other words count, or other documents are alike for them."""
_DOCUMENTS_PER_WORK = 512
_SECONDS_PER_DOCUMENT = 300.0
"""Seconds for one document; it is at most a few MiB of text."""
_LARGE = 0.2
"""Share of all documents from which on it is doubtful that a group is one of near-duplicates."""


@dataclass(frozen=True)
class ReadWords:
    """Read some documents: their content's hash, shingles and signatures. Satisfies `Work`."""

    documents: tuple[tuple[tuple[str, ...], tuple[str, ...], bool], ...]
    """The fields of each one's `DocumentFiles`; plain, for they are packed by the thousand."""
    artifacts: tuple[tuple[str, str, tuple[str, ...], str, str | None], ...]
    """The fields of each one's `Artifact`, but for its files."""
    aliases: Mapping[str, str]
    path: Path
    """Where the numbers are written (NumPy's npz)."""
    unreadable: frozenset[int] = frozenset()
    losses: int = 0
    patience: float = _SECONDS_PER_DOCUMENT

    def do(self, desk: Desk) -> list[str | None]:
        """The content's hash of each document; None where it could not be read."""
        contents: list[str | None] = []
        found = hash_text_words(self._texts(desk, contents))
        shingled, short = Shingled.of(found), ShortTexts.of(found)
        signed = near_duplicates.signatures(shingled)
        with self.path.open("wb") as file:
            np.savez(
                file,
                hashes=shingled.hashes,
                starts=shingled.starts,
                signed=signed,
                words=short.words,
                short=short.starts,
            )
        return contents

    def _texts(self, desk: Desk, contents: list[str | None]) -> Iterator[bytes]:
        """The words of each document; what the files hold is added to `contents`."""
        for number, (own, made, has_binary) in enumerate(self.documents):
            desk.gauge.begin(number, number + 1)
            read = NOT_READ
            if number not in self.unreadable and (own or made):
                values = own_values(Artifact(*self.artifacts[number]), self.aliases)
                try:
                    read = words_of(DocumentFiles(own, made, has_binary, values))
                except OSError as error:  # alike to nobody; encoding will say what is wrong with it
                    lack = shortage(error)
                    if lack:  # who is alike must not depend on that
                        raise lack from error
            contents.append(read.content)
            yield read.text

    def without(self, in_hand: range, loss: Loss) -> Self:  # noqa: ARG002 - the protocol's
        if not in_hand:
            return replace(self, losses=self.losses + 1)
        return replace(self, unreadable=self.unreadable | set(in_hand))


@dataclass(frozen=True)
class _Read:
    """What the workers found in some documents."""

    contents: list[str | None]
    shingled: Shingled
    signed: Signatures
    short: ShortTexts


class Reader:
    """Reads documents' words with the workers."""

    def __init__(
        self,
        inputs: Inputs,
        workers: Workers,
        artifacts: Sequence[Artifact],
        documents: Sequence[Document],
        settings: PrepareSection,
        progress: Progress,
    ) -> None:
        """`documents`: the input files of `artifacts`, in the same order."""
        self._settings, self._progress = settings, progress
        self._workers = workers
        self._artifacts = artifacts
        self._named = settings.NEAR_DUPLICATE_FILES
        if self._named is not None:
            inputs = inputs.of_files(self._named)
            documents = inputs.documents(artifacts)
        self._inputs, self._documents = inputs, documents
        self._kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], _Kinds] = {}

    def likeness(self, store: Store, ledger_hash: str) -> Alike:
        """Which are alike: from the store if nothing changed, else found and kept there.

        `ledger_hash`: of reconcile's ledger, which covers the files' content.
        """
        made_from = self._hash_index_inputs(ledger_hash)
        found = read_stored_likeness(store, made_from)
        if found is None:
            found = self._alike()
            keep_likeness(store, made_from, [one.id for one in self._artifacts], found)
        self._warn_of_a_large_group(found)
        return found

    def direct_links(
        self, settled: Sequence[int], arriving: Sequence[int]
    ) -> list[tuple[int, int]]:
        """See `direct_links`; artifacts are told by their numbers."""
        members = [*settled, *arriving]
        read = self._read(members, told=False)
        found = direct_links(read.shingled, read.signed, read.short, len(settled))
        return [(members[one], members[other]) for one, other in found]

    def _alike(self) -> Alike:
        read = self._read(range(len(self._artifacts)), told=True)
        found = near_duplicates.families(read.shingled, read.signed, read.short)
        each = tuple(
            Likeness(content, None if root is None else self._artifacts[root].id)
            for content, root in zip(read.contents, found, strict=True)
        )
        pairs = near_duplicates.pairs_within(
            _find_duplicate_groups(each), read.shingled, read.signed, read.short, read.contents
        )
        return Alike(each, pairs)

    def _read(self, members: Sequence[int], *, told: bool) -> _Read:
        self._inputs.bring([self._documents[member] for member in members], self._progress)
        starts = range(0, len(members), _DOCUMENTS_PER_WORK)
        paths = [self._workers.scratch / f"{first}.npz" for first in starts]
        works = (
            self._work(members[first : first + _DOCUMENTS_PER_WORK], path)
            for first, path in zip(starts, paths, strict=True)
        )
        contents: dict[Path, list[str | None]] = {}
        done = 0
        for work, result in self._workers.run(works):
            contents[work.path] = result
            done += len(result)
            if told:
                self._progress.advance("reading documents", done, len(members), "documents")
        each = [content for path in paths for content in contents[path]]
        return _Read(each, *_load_shingle_parts(paths))

    def _work(self, members: Sequence[int], path: Path) -> ReadWords:
        some = [self._artifacts[member] for member in members]
        return ReadWords(
            tuple([self._files(member) for member in members]),
            tuple([(one.id, one.label, (), one.row, one.file_hash) for one in some]),
            self._settings.LABEL_ALIASES,
            path,
        )

    def _files(self, number: int) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
        """What is read of a document: nothing if it cannot be encoded anyway."""
        artifact, document = self._artifacts[number], self._documents[number]
        if document.fault:
            return (), (), False
        paths = self._inputs.paths(document)
        if self._named is not None:
            return tuple(paths), (), False
        kinds = self._kinds_of(artifact, document)
        if not artifact.made:
            return tuple(paths), (), kinds.has_binary
        named = list(zip(sorted(document.sizes), paths, strict=True))
        own = tuple([path for name, path in named if name not in kinds.made])
        made = tuple([path for name, path in named if name in kinds.made])
        return own, made, kinds.has_binary

    def _kinds_of(self, artifact: Artifact, document: Document) -> _Kinds:
        key = artifact.files, artifact.made  # most have files of the same names
        if key not in self._kinds:
            made = frozenset(artifact.made)
            others = set(artifact.files) - made - set(document.sizes)
            self._kinds[key] = _Kinds(made, not all(map(may_be_text, others)))
        return self._kinds[key]

    def _hash_index_inputs(self, ledger_hash: str) -> str:
        settings = self._settings
        told = [
            ledger_hash,
            list(settings.MODEL_INPUT_FILES if self._named is None else self._named),
            sorted(settings.LABEL_ALIASES.items()),
            [_RULE, SHINGLE, TEXT_LIMIT, near_duplicates.THRESHOLD, near_duplicates.PERMUTATIONS],
            [short_texts.FEW, short_texts.THRESHOLD, short_texts.FORM],
            near_duplicates.LARGE_FAMILY,
            self._named is not None,
            [(one.id, one.fault, sorted(one.sizes.items())) for one in self._documents],
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _warn_of_a_large_group(self, found: Alike) -> None:
        """Words that say nothing, a form's or a cover sheet's, make everybody alike."""
        shared = [Counter(one.family for one in found.each), Counter(o.content for o in found.each)]
        largest = max((n for counts in shared for key, n in counts.items() if key), default=0)
        if largest <= max(near_duplicates.LARGE_FAMILY, _LARGE * len(found.each)):
            return
        self._progress.warn(
            f"{largest:,} of {len(found.each):,} documents hang together as near-duplicates, and "
            "go to one split; if other files tell them apart, name these in "
            "[prepare] NEAR_DUPLICATE_FILES"
        )


@dataclass(frozen=True)
class _Kinds:
    """What artifacts with files of the same names have in common."""

    made: frozenset[str]
    has_binary: bool
    """Has production a file that is no text, and no input?"""


def _load_shingle_parts(paths: Sequence[Path]) -> tuple[Shingled, Signatures, ShortTexts]:
    """What the workers wrote, joined; the files are gone then. Nothing large is held twice."""
    starts, offset = [np.zeros(1, np.int64)], 0
    words, short = [np.empty(0, np.uint32)], [np.zeros(1, np.int64)]
    for path in paths:
        with np.load(path) as part:
            starts.append(part["starts"][1:] + offset)
            short.append(part["short"][1:] + short[-1][-1])
            words.append(part["words"])
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
    return joined, signed, ShortTexts(np.concatenate(words), np.concatenate(short))


def _find_duplicate_groups(each: Sequence[Likeness]) -> list[list[int]]:
    """The documents that hang together, by likeness or by the very same content."""
    components = Components(len(each))
    for number, one in enumerate(each):
        if one.content is not None:
            components.union(number, components.node(("content", one.content)))
        if one.family is not None:
            components.union(number, components.node(("family", one.family)))
    found = components.members(range(len(each))).values()
    return [members for members in found if len(members) > 1]
