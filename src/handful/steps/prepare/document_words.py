"""Which words tell a document: those of the files that hold its text, without its own values.

What process_func writes beside production's files (a label, a hash, a date) says nothing of the
text, and makes any two short texts look different. So production's own files are read, and those
that process_func made only where they alone hold text:

    production's own      what counts
    text                  its words; where it has no running text, and the made files have twenty
                          words of that, theirs; theirs too, if it has no words at all
    a PDF, a picture, …   the made files with running text, unless production's own is a fourth
                          of that; then this. A short text counts together with the bytes of the
                          picture beside it, and so do the names and numbers of a document without
                          running text.

Running text is more than the names, dates and numbers that a record holds beside a document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from handful.steps.prepare.file_text import FileText, Piece, read_file, running_words
from handful.steps.prepare.own_values import (
    NO_VALUES,
    OwnValues,
    occurring,
    without_fields,
    without_lines,
    without_marks,
)
from handful.steps.prepare.short_texts import FEW
from handful.steps.prepare.words import Hashes, hashed, normalize

_AS_MUCH = 4
"""What was made of a picture or a PDF is its text if it has so many times the words that
production gives beside it."""


@dataclass(frozen=True, slots=True)
class DocumentFiles:
    """The files of one document that near-duplicates are looked for in."""

    own: tuple[str, ...] = ()
    """The paths of production's, sorted; of all those that NEAR_DUPLICATE_FILES names."""
    made: tuple[str, ...] = ()
    """The paths of those that process_func wrote, sorted."""
    has_binary: bool = False
    """Has production a file that is no text, and that is not among these?"""
    values: OwnValues = NO_VALUES


class Words(NamedTuple):
    """What is known of one document."""

    content: str | None
    """sha256 over the files that count, whatever they are; None if they could not be read."""
    words: Hashes
    """The hash of each word of its text, in their order; empty if it has none."""


NOT_READ = Words(None, np.empty(0, np.uint32))


class _Text(NamedTuple):
    """What is left of some files when the document's own values are taken out of them."""

    words: list[bytes]
    running: int
    """How many of them are running text."""


def words_of(files: DocumentFiles) -> Words:
    """Read a document. Raises OSError if a file cannot be read."""
    own = [read_file(path) for path in files.own]
    text = _text(own, files.values)
    binary = [one for one in own if one.pieces is None]
    has_binary = files.has_binary or bool(binary)
    if text.running and not has_binary:
        return Words(_content(own), hashed(text.words))
    counted, made = own, _with_text([read_file(path) for path in files.made], files.values)
    of_made = _text(made, files.values)
    is_text = of_made.running > _AS_MUCH * text.running and (has_binary or of_made.running >= FEW)
    if is_text or not (text.words or has_binary):
        counted, text = [*own, *made], of_made
    pictures = [one for one in binary if not one.has_pages]
    if text.running >= FEW or (text.running and not pictures):
        return Words(_content(counted), hashed(text.words))
    if binary:
        content = _content(counted if text.running else binary)
        return Words(content, hashed(_beside(text.words, pictures or binary)))
    if has_binary or not text.words:
        text = _text([*own, *made], NO_VALUES)
        return Words(_content([*own, *made]), hashed(text.words))
    return Words(_content(counted), hashed(text.words))


def _with_text(files: Sequence[FileText], values: OwnValues) -> Sequence[FileText]:
    """Those of the made files that hold running text, if any does: a record beside it (pages, a
    date, how sure the reading was) is no part of the text."""
    if len(files) < 2:
        return files
    return [one for one in files if _text([one], values).running] or files


def _beside(words: list[bytes], pictures: Sequence[FileText]) -> list[bytes]:
    """The words of a short text, and half as many that stand for the pictures' bytes."""
    if not words:
        return []
    content = _content(pictures)
    return words + [f"{content} {n}".encode() for n in range(2 + len(words) // 2)]


def _text(files: Iterable[FileText], values: OwnValues) -> _Text:
    """Without the document's own values; but with the row's columns if they are most of it."""
    files = [one for one in files if one.pieces]
    text = _joined(files, values, with_columns=True)
    if values.columns and not text.running:
        whole = _joined(files, values, with_columns=False)
        if len(whole.words) > 2 * len(text.words):
            return whole
    return text


def _joined(files: Sequence[FileText], values: OwnValues, *, with_columns: bool) -> _Text:
    words: list[bytes] = []
    running = 0
    alone = values.alone(with_columns=with_columns)
    marks: list[bytes] = []
    for one in files:
        pieces, normal = _without(one, alone)
        found = normal.split()
        running += running_words(one, pieces, len(found))
        words += found
        # Its last word tells it best: `document 000042`.
        marks += [mark for mark in values.marks if mark.rpartition(b" ")[2] in normal]
    if marks:
        words = without_marks(words, [mark for mark in values.marks if mark in marks])
    return _Text(words, min(running, len(words)))


def _without(file: FileText, values: frozenset[bytes]) -> tuple[Sequence[Piece], bytes]:
    """What is left of a file, and the same as `normalize` gives it."""
    pieces: Sequence[Piece] = file.pieces or ()
    if not file.is_plain:
        pieces = without_fields(pieces, values)
        texts = [piece.text for piece in pieces]
        return pieces, normalize(texts[0] if len(texts) == 1 else " ".join(texts))
    normal = normalize(pieces[0].text)
    if there := occurring(values, normal):
        pieces = [Piece(without_lines(pieces[0].text, there), is_field=False)]
        normal = normalize(pieces[0].text)
    return pieces, normal


def _content(files: Iterable[FileText]) -> str:
    return hashlib.sha256(b"".join([one.digest for one in files])).hexdigest()
