"""Small pieces of the page: texts that are cut, escaped and put into one line."""

from __future__ import annotations

from markupsafe import Markup

from handful.report.documents import Document

_QUOTE_LENGTH = 120
"""Letters of a document in a table."""


def truncate_report_text(text: str, most: int = 44) -> str:
    """At most `most` characters, and nothing that moves a cursor."""
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def probe_name(model: str, most: int = 0) -> str:
    """What a person calls the probe of a model; in at most `most` characters, unless that is 0."""
    what = ", frozen (probe)"
    return f"{truncate_report_text(model, most - len(what)) if most else model}{what}"


def moment(text: str) -> str:
    """A time as people read it: 2026-01-31 12:00:00 UTC."""
    plain = text.removesuffix("+00:00")
    return plain.replace("T", " ") + " UTC" if plain != text else text


def code(text: str, most: int = 44) -> str:
    """An id or a hash."""
    return Markup("<code>{}</code>").format(truncate_report_text(text, most)) if text else ""


def example(artifact_id: str, words: str, document: Document | None = None) -> Markup:
    """An artifact, what is to be said of it, and how its document begins."""
    quoted = quote(document)
    told = Markup("{}: {}").format(words, quoted) if quoted else words
    return Markup('<div class="example"><code>{}</code> {}</div>').format(
        truncate_report_text(artifact_id), told
    )


def quote(document: Document | None) -> str:
    """How a document begins, for a table; which file it is where it has no text."""
    if document is None:
        return ""
    if not document.text:
        return Markup('<span class="quiet">{}</span>').format(
            truncate_report_text(document.about, _QUOTE_LENGTH)
        )
    return Markup("<q>{}</q>").format(truncate_report_text(document.text, _QUOTE_LENGTH))
