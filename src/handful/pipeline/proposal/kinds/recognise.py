"""What kind of files the documents are, from some of them."""

from __future__ import annotations

import importlib.util
import io
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from handful.errors.exceptions import shortage_at_work
from handful.files.document_text import decode_document, first_text
from handful.pipeline.proposal.findings import KindProposal
from handful.pipeline.proposal.kinds.file_kinds import EMPTY, UNKNOWN, FileKind, kind_of_file
from handful.pipeline.proposal.kinds.json_text import (
    find_text_path,
    load_values,
    spell_path,
    texts_at,
)
from handful.pipeline.proposal.kinds.language import language_of

_LETTERS_READ = 5_000
"""Of each document, for its language."""
_PDF_PAGES, _PDFS_READ = 2, 12
"""Pages of a PDF, and how many of the PDFs, that are read for the language."""


def recognise_kind(documents: Mapping[str, bytes]) -> KindProposal:
    """What most of `documents` are: name (the last part of the key) → content.

    A content of a megabyte or more may be cut off. `kind` is empty if there is nothing to go by:
    no documents, or most of them are what no functions are written for; `reasons` say what.

    `details`: of `json`, `text_path` (keys, joined by dots; a dot of a key is `\\.`) and, where
    each line is a value of its own, `lines` = `true`. Of `text`, `encoding` = `other` if some are
    not UTF-8.
    """
    kinds = {name: kind_of_file(name, data) for name, data in documents.items()}
    counts = Counter(one.kind for one in kinds.values() if one.kind != EMPTY)
    if not counts:
        empty = f"all {len(kinds)} documents are empty" if kinds else "no document was read"
        return KindProposal(UNKNOWN, "", (empty,))
    kind = counts.most_common(1)[0][0]
    alike = {name: documents[name] for name, one in kinds.items() if one.kind == kind}
    reasons = _describe_kinds(kinds, kind)
    if kind == UNKNOWN:
        return KindProposal(UNKNOWN, "", reasons)
    details, texts, more = _look_into(kind, alike, [kinds[name] for name in alike])
    language = language_of(texts)
    return KindProposal(
        kind, language, (*reasons, *more, *_describe_language(kind, language)), details
    )


def _describe_kinds(kinds: Mapping[str, FileKind], chosen: str) -> tuple[str, ...]:
    counts = Counter(kind.what for kind in kinds.values() if kind.kind == chosen)
    others = Counter(kind.what for kind in kinds.values() if kind.kind != chosen)
    told = [f"{count} of {len(kinds)} are {what}" for what, count in counts.most_common()]
    if chosen == UNKNOWN:
        told.append("no functions are written for these: encode_data has to read them itself")
    if others:
        some = ", ".join(f"{count} {what}" for what, count in others.most_common(4))
        told.append(f"the others: {some}")
    return tuple(told)


def _look_into(
    kind: str, documents: Mapping[str, bytes], kinds: Sequence[FileKind]
) -> tuple[dict[str, str], list[str], tuple[str, ...]]:
    """Details, texts for the language, and more reasons."""
    if kind == "json":
        return _look_into_json(documents, lines=sum(one.lines for one in kinds) * 2 > len(kinds))
    if kind == "images":
        return {}, [], ()
    if kind == "pdf":
        return {}, _texts_of_pdfs(documents), ()
    texts = [first_text(data, name, _LETTERS_READ) for name, data in documents.items()]
    foreign = sum(one.other_encoding for one in kinds)
    if kind == "text" and foreign:
        told = f"{foreign} of {len(kinds)} are not in UTF-8"
        return {"encoding": "other"}, texts, (told,)
    return {}, texts, ()


def _look_into_json(
    documents: Mapping[str, bytes], *, lines: bool
) -> tuple[dict[str, str], list[str], tuple[str, ...]]:
    decoded = [decode_document(data) or "" for data in documents.values()]
    values = [list(load_values(text, lines=lines)) for text in decoded]
    path = find_text_path(value for value in values if value)
    if path is None:
        return {}, [], ("no string in them is in most of the documents",)
    details = {"text_path": spell_path(path), **({"lines": "true"} if lines else {})}
    texts = [" ".join(texts_at(value, path))[:_LETTERS_READ] for value in values]
    where = f"the longest text is at {spell_path(path)}" if path else "the text is a JSON string"
    return details, texts, (where,)


def _texts_of_pdfs(documents: Mapping[str, bytes]) -> list[str]:
    """Their first words; none without pypdf, or of a PDF that is broken or a scan."""
    if importlib.util.find_spec("pypdf") is None:
        return []
    return [_text_of_pdf(data) for data in list(documents.values())[:_PDFS_READ]]


def _text_of_pdf(data: bytes) -> str:
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of faults at length
    try:
        pages = pypdf.PdfReader(io.BytesIO(data)).pages
        return " ".join(pages[place].extract_text() for place in range(min(_PDF_PAGES, len(pages))))
    except Exception as error:  # a foreign document: whatever its parser says, it has no text
        short = shortage_at_work(error, others_went_well=True)
        if short:
            raise short from error
        return ""


def _describe_language(kind: str, language: str) -> tuple[str, ...]:
    if kind == "images":
        return ()
    return (f"most are in the language {language}" if language else "the language was not found",)
