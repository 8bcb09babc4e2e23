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
from functools import cached_property
from typing import NamedTuple

from handful.steps.prepare.similarity.file_text import (
    FileText,
    Piece,
    is_all_running,
    read_file,
    running_words,
)
from handful.steps.prepare.similarity.own_values import (
    NO_VALUES,
    OwnValues,
    occurring,
    without_fields,
    without_lines,
    without_marks,
)
from handful.steps.prepare.similarity.shingles import normalize
from handful.steps.prepare.similarity.short_texts import FEW

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
    text: bytes
    """The words of its text, as `normalize` gives them; none if it has no text."""


NOT_READ = Words(None, b"")


@dataclass(frozen=True)
class _Text:
    """What is left of some files when the document's own values are taken out of them."""

    words: bytes
    """With blanks between them."""
    parts: Sequence[tuple[FileText, Sequence[Piece], bytes]]
    """Of each file the pieces that are left, and their words."""

    def __bool__(self) -> bool:
        """Has it words?"""
        return not _is_blank(self.words)

    def __len__(self) -> int:
        return len(self.words.split())

    @property
    def is_running(self) -> bool:
        """Is any of it running text? The same as `running`, which takes longer."""
        for file, pieces, words in self.parts:
            if is_all_running(file, pieces) and not _is_blank(words):
                return bool(self)
        return self.running > 0

    @cached_property
    def running(self) -> int:
        """How many of its words are running text."""
        each = (running_words(file, pieces, len(w.split())) for file, pieces, w in self.parts)
        return min(sum(each), len(self))


def words_of(files: DocumentFiles) -> Words:
    """Read a document. Raises OSError if a file cannot be read."""
    own = [read_file(path) for path in files.own]
    text = _text(own, files.values)
    binary = [one for one in own if one.pieces is None]
    has_binary = files.has_binary or bool(binary)
    if text.is_running and not has_binary:
        return Words(_content(own), text.words)
    counted, made = own, _with_text([read_file(path) for path in files.made], files.values)
    of_made = _text(made, files.values)
    is_text = of_made.running > _AS_MUCH * text.running and (has_binary or of_made.running >= FEW)
    if is_text or not (text or has_binary):
        counted, text = [*own, *made], of_made
    pictures = [one for one in binary if not one.has_pages]
    if text.running >= FEW or (text.running and not pictures):
        return Words(_content(counted), text.words)
    if binary:
        content = _content(counted if text.running else binary)
        return Words(content, _join_picture_words(text, pictures or binary))
    if has_binary or not text:
        text = _text([*own, *made], NO_VALUES)
        return Words(_content([*own, *made]), text.words)
    return Words(_content(counted), text.words)


def _with_text(files: Sequence[FileText], values: OwnValues) -> Sequence[FileText]:
    """Those of the made files that hold running text, if any does: a record beside it (pages, a
    date, how sure the reading was) is no part of the text."""
    if len(files) < 2:
        return files
    return [one for one in files if _text([one], values).is_running] or files


def _join_picture_words(text: _Text, pictures: Sequence[FileText]) -> bytes:
    """The words of a short text, and half as many that stand for the pictures' bytes."""
    if not text:
        return b""
    content = _content(pictures)
    each = [f"{content}-{n}".encode() for n in range(2 + len(text) // 2)]
    return b" ".join([text.words, *each])


def _text(files: Iterable[FileText], values: OwnValues) -> _Text:
    """Without the document's own values; but with the row's columns if they are most of it."""
    files = [one for one in files if one.pieces]
    text = _join_document_text(files, values, with_columns=True)
    if values.columns and not text.is_running:
        whole = _join_document_text(files, values, with_columns=False)
        if len(whole) > 2 * len(text):
            return whole
    return text


def _join_document_text(
    files: Sequence[FileText], values: OwnValues, *, with_columns: bool
) -> _Text:
    alone = values.alone(with_columns=with_columns)
    parts = [(one, *_without(one, alone)) for one in files]
    words = b" ".join([words for *_, words in parts])
    # Its last word tells it best: `document 000042`.
    if marks := [mark for mark in values.marks if mark.rpartition(b" ")[2] in words]:
        words = b" ".join(without_marks(words.split(), marks))
    return _Text(words, parts)


def _is_blank(words: bytes) -> bool:
    return not words or words.isspace()


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
