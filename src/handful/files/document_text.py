"""The first words that a person would read in a document, whatever kind of file it is.

Plain text in any of the usual encodings, JSON and JSON lines (the strings in them), HTML and XML
(without the tags), e-mail, packed files (gzip, bzip2, xz) and archives (zip, and with it the office
formats and EPUB). What holds no such text (a PDF, a picture) has none here. Documents are foreign:
however one is broken, the answer is a text, and no more than `MOST` bytes are unpacked.
"""

from __future__ import annotations

import bz2
import email
import email.errors
import email.header
import email.message
import email.policy
import html
import io
import json
import lzma
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from handful.errors.exceptions import shortage_at_work

MOST = 4 << 20
"""Bytes of a text, or of a file that is packed in another, that are looked at."""
_MEMBERS = 20
"""Files of an archive that are looked into."""
_DEEPEST = 3
"""So many times may something be packed in something."""
_CONTROLS = 0.01
"""A share of control characters above this is no text."""
_FIRST_MEMBERS = (
    "word/document.xml",
    "content.xml",
    "xl/sharedStrings.xml",
    "ppt/slides/slide1.xml",
)
"""Where office formats keep their text."""
_MAIL = re.compile(
    r"(From|Return-Path|Received|Delivered-To|MIME-Version|Subject|Date|To): .*\r?\n[\w-]+:", re.I
)
"""Two headers, one of which every mail has."""
_DOCUMENT_READ_LIMIT = 1 << 18
"""Letters of a page that are read; of a mail half as many bytes."""
_PARTS, _HEADER = 100, 1000
"""Of a mail: more boundaries are no mail's; and letters of its subject."""
_PLAIN_DOCUMENT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".csv", ".tsv", ".tex", ".log")
"""What is called so is read as it is, whatever stands in it."""
_DOCUMENT_MARKUP_TAG = re.compile(r"<([A-Za-z/!?][^<>]*)>")
_UNREAD_TAGS = frozenset({"script", "style", "template"})


def first_text(data: bytes, name: str, most: int) -> str:
    """At most `most` letters of the text in `data`, in one line; empty if there is none.

    `name`: the file's, which helps to tell what it is.
    """
    try:
        text = _extract_document_text(data, name.lower(), 0)
    except Exception as error:  # a foreign document: whatever its parser says, it has no text
        short = shortage_at_work(error, others_went_well=True)
        if short:
            raise short from error
        return ""
    words = " ".join((text or "").split())
    clean = "".join(c if c.isprintable() else "\ufffd" for c in words[: most + 1])
    return clean if len(clean) <= most else f"{clean[: most - 1].rstrip()}…"


def _extract_document_text(data: bytes, name: str, depth: int) -> str | None:
    for magic, unpack in _PACKED.items():
        if data.startswith(magic) and depth < _DEEPEST:
            return _extract_document_text(
                unpack(data), re.sub(r"\.(gz|bz2|xz)$", "", name), depth + 1
            )
    if data.startswith(b"PK\x03\x04"):
        return _of_archive(data, depth) if depth < _DEEPEST else None
    decoded = None if data.startswith(b"%PDF-") else decode_document(data[:MOST])
    if decoded is None or name.endswith(_PLAIN_DOCUMENT_SUFFIXES):
        return decoded
    start = decoded.lstrip()
    if name.endswith((".json", ".jsonl", ".ndjson")) or start[:1] in ("{", "["):
        return _of_json(decoded)
    if name.endswith(".eml") or _MAIL.match(start):
        return _of_mail(data) or decoded
    if re.match(r"<[A-Za-z/!?]", start) and ">" in start:
        return _of_markup(decoded)
    return decoded


# --- what is packed ------------------------------------------------------------------------------


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, MOST)


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _gunzip,
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data, MOST),
    b"\xfd7zXZ\x00": lambda data: lzma.LZMADecompressor(memlimit=64 << 20).decompress(data, MOST),
}


def _of_archive(data: bytes, depth: int) -> str | None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        there = [one for one in archive.infolist() if not one.is_dir()]
        first = [one for one in there if one.filename in _FIRST_MEMBERS]
        plain = [one for one in there if not _is_packing(one.filename)]
        for one in [*first, *plain][:_MEMBERS]:
            with archive.open(one) as member:
                text = _extract_document_text(member.read(MOST), one.filename.lower(), depth + 1)
            if text and text.strip():
                return text
    return None


def _is_packing(name: str) -> bool:
    """What an archive says of itself, and no text of its own."""
    return name == "mimetype" or name.startswith(("META-INF/", "_rels/", "[Content_Types]"))


# --- from bytes to letters -----------------------------------------------------------------------


def decode_document(data: bytes) -> str | None:
    """The text in any of the usual encodings, at most `MOST` bytes of it; None if it is none."""
    for mark, encoding in (
        (b"\xff\xfe\x00\x00", "utf-32"),
        (b"\x00\x00\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"\0" in data[:4096]:
        return _wide(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut_by_us = len(data) == MOST and error.start > len(data) - 4
        text = data.decode("utf-8-sig" if cut_by_us else "cp1252", "replace")
    return text if _is_text(text) else None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark, as Windows writes it: every other byte of Latin letters is zero."""
    start = data[:4096]
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if zeros and zeros.count(0) > 0.4 * len(zeros):
            text = data[: len(data) // 2 * 2].decode(encoding, "replace")
            return text if _is_text(text) else None
    return None


def _is_text(text: str) -> bool:
    start = text[:4096]
    strange = sum(
        c == "\ufffd" or (unicodedata.category(c) == "Cc" and not c.isspace()) for c in start
    )
    return strange <= _CONTROLS * len(start)


# --- from letters to what a person reads ---------------------------------------------------------


def _of_json(text: str) -> str:
    """The strings in it; as it is if there are none, or it is not what its name says."""
    try:
        found = _strings(json.loads(text))
    except (ValueError, RecursionError):
        lines = text.splitlines()
        try:
            found = _strings([json.loads(line) for line in lines[:_MEMBERS] if line.strip()])
        except (ValueError, RecursionError):
            return text
    return " ".join(found) or text


def _strings(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
        elif isinstance(value, list):
            stack.extend(reversed(value))


def _of_markup(text: str) -> str:
    """What stands between the tags; the text itself if nothing does.

    Read by hand, in time that grows with its length: `html.parser` takes minutes for some pages.
    """
    page = text[:_DOCUMENT_READ_LIMIT].replace("<![CDATA[", "").replace("]]>", "")
    found, unread = [], ""
    # Text and tag take turns.
    for number, piece in enumerate(_DOCUMENT_MARKUP_TAG.split(_without_comments(page))):
        if number % 2 == 0:
            found += [] if unread else [html.unescape(piece)]
            continue
        tag = (piece.lower().split() or [""])[0].rstrip("/")
        if unread:
            unread = "" if tag == f"/{unread}" else unread
        elif tag in _UNREAD_TAGS and not piece.endswith("/"):
            unread = tag
    return " ".join(found) if any(one.strip() for one in found) else text


def _without_comments(page: str) -> str:
    kept, place = [], 0
    while (begins := page.find("<!--", place)) >= 0:
        kept.append(page[place:begins])
        ends = page.find("-->", begins)
        if ends < 0:
            return " ".join(kept)
        place = ends + len("-->")
    return " ".join([*kept, page[place:]])


def _of_mail(data: bytes) -> str | None:
    """Its subject and its body, the plain one before the one in HTML.

    By the old policy, which takes no header apart before it is asked for: the new one takes minutes
    for some, and fails at an unknown character set.
    """
    data = data[: _DOCUMENT_READ_LIMIT // 2]
    if data.lower().count(b"boundary=") > _PARTS:
        return None
    message = email.message_from_bytes(data, policy=email.policy.compat32)
    parts = [
        one
        for one in message.walk()
        if one.get_content_maintype() == "text" and one.get_content_disposition() != "attachment"
    ]
    for kind in ("plain", "html"):
        for one in parts:
            text = _of_part(one) if one.get_content_subtype() == kind else ""
            if text.strip():
                return f"{_subject(message)} {_of_markup(text) if kind == 'html' else text}"
    return None


def _of_part(part: email.message.Message) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    try:
        return data.decode(part.get_content_charset() or "ascii")
    except (UnicodeDecodeError, LookupError):  # none is named, a wrong one, or nobody's
        return decode_document(data) or ""


def _subject(message: email.message.Message) -> str:
    raw = str(message.get("subject", ""))[:_HEADER]
    try:
        return str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError, email.errors.MessageError):
        return raw
