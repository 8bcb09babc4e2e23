"""What a person reads of a mail."""

from __future__ import annotations

import email
import html
import re
from email.header import decode_header, make_header
from email.message import Message


def legible(raw: bytes) -> str:
    """Its subject, and its parts of text one after the other, without the marks of HTML."""
    message = email.message_from_bytes(raw)
    parts = [_decoded(part) for part in message.walk() if part.get_content_maintype() == "text"]
    return "\n".join([_subject(message), *parts]).strip()


def _subject(message: Message) -> str:
    subject = message.get("Subject", "")
    try:
        return str(make_header(decode_header(subject)))
    except (LookupError, UnicodeError, ValueError):
        return str(subject)


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        text = payload.decode(part.get_content_charset("utf-8"), errors="replace")
    except (LookupError, UnicodeError):
        text = payload.decode("latin-1")
    if part.get_content_subtype() == "html":
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->|<[^>]*>", " ", text)
    return html.unescape(text)
