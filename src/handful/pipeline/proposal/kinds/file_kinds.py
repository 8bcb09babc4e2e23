"""The kind of one file: by what stands in it, then by what it is called."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from handful.files.document_text import decode_document

CUT_AT = 1_000_000
"""A file of so many bytes may have been cut off: what is missing at its end is no fault."""
UNKNOWN = ""
EMPTY = "empty"
_IMAGE_MAGIC = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "BMP": re.compile(rb"BM....\0\0\0\0", re.DOTALL),
}
_UNREAD_MAGIC = {
    "an old Office file (.doc, .xls, .ppt, .msg)": re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "RTF": re.compile(rb"\{\\rtf"),
    "packed by gzip": re.compile(rb"\x1f\x8b"),
    "packed by bzip2": re.compile(rb"BZh[1-9]"),
    "packed by xz": re.compile(rb"\xfd7zXZ\0"),
    "PostScript": re.compile(rb"%!PS"),
    "Parquet": re.compile(rb"PAR1"),
    "sound or film": re.compile(rb"ID3|OggS|fLaC|RIFF....(WAVE|AVI )|....ftyp", re.DOTALL),
}
_OFFICE_MEMBERS = {b"word/": "docx", b"xl/": "a spreadsheet (.xlsx)", b"ppt/": "slides (.pptx)"}
"""How the names of files in an Office archive begin, which stand in it unpacked."""
_HTML_TAG = (
    "html|head|body|p|div|span|a|b|i|em|strong|br|ul|ol|li|table|tr|td|th|h[1-6]|font|pre|section"
)
_BEFORE_PAGE = re.compile(r"\s+|<!--.*?-->|<\?xml[^>]*>", re.I | re.DOTALL)
_PAGE_START = re.compile(r"<(!doctype\s+html|html)\b", re.I)
_FRAGMENT_START = re.compile(rf"\s*<({_HTML_TAG})(\s[^<>]*)?/?>", re.I)
_CLOSING_TAG = re.compile(rf"</({_HTML_TAG})\s*>|<br\s*/?>", re.I)
_CLOSING_TAGS_OF_PAGE = 5
"""Closing tags of HTML that make a page of a text that does not begin with one."""
_MBOX = re.compile(r"From \S+.*\r?\n")
_MAIL_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]?.*(?:\r?\n[ \t]+.*)*(?:\r?\n|$)")
_USUAL_HEADERS = {"from", "to", "cc", "subject", "date", "received", "message-id", "mime-version"}
_USUAL_HEADERS |= {"return-path", "delivered-to", "content-type", "reply-to", "dkim-signature"}
_JSON_START = re.compile(r"\s*(\{\s*(\"|\})|\[\s*([\[{\"\]\d-]|true|false|null))")
_BY_NAME = {"html": "html", "htm": "html", "xhtml": "html", "eml": "email"}


@dataclass(frozen=True)
class FileKind:
    """What one file is."""

    kind: str
    """text, json, html, email, pdf, docx, images; `EMPTY`; or `UNKNOWN`, to which no reader is."""
    what: str
    """For people, such as `PNG` or `JSON lines`."""
    lines: bool = False
    """JSON lines: a value on each line."""
    other_encoding: bool = False
    """Text, and not in UTF-8."""


def kind_of_file(name: str, data: bytes) -> FileKind:
    """By content, where that tells; else by the ending of `name`. `data` may be cut off."""
    if not data.strip():
        return FileKind(EMPTY, "empty")
    binary = _kind_of_binary(data)
    if binary:
        return binary
    text = decode_document(data)
    if text is None:
        return FileKind(UNKNOWN, "neither text nor anything that is known here")
    return _kind_of_text(name, data, text)


def _kind_of_binary(data: bytes) -> FileKind | None:
    if b"%PDF-" in data[:1024]:
        return FileKind("pdf", "PDF")
    for what, magic in _IMAGE_MAGIC.items():
        if magic.match(data):
            return FileKind("images", what)
    if data.startswith(b"PK\x03\x04"):
        return _kind_of_archive(data)
    for what, magic in _UNREAD_MAGIC.items():
        if magic.match(data):
            return FileKind(UNKNOWN, what)
    return None


def _kind_of_archive(data: bytes) -> FileKind:
    """By the names of the members, which an archive that was cut off has too."""
    places = {data.find(start): what for start, what in _OFFICE_MEMBERS.items() if start in data}
    what = places[min(places)] if places else "an archive (.zip or an office format)"
    return FileKind("docx", "docx") if what == "docx" else FileKind(UNKNOWN, what)


def _kind_of_text(name: str, data: bytes, text: str) -> FileKind:
    ending = name.lower().rpartition(".")[2]
    if _JSON_START.match(text) or ending in ("json", "jsonl", "ndjson"):
        found = _kind_of_json(text, is_cut=len(data) >= CUT_AT)
        if found:
            return found
    if _is_email(text):
        return FileKind("email", "e-mail")
    if _is_html(text):
        return FileKind("html", "HTML")
    if ending in _BY_NAME:
        return FileKind(_BY_NAME[ending], f".{ending}")
    return FileKind("text", "plain text", other_encoding=not _is_in_utf8(data))


def _kind_of_json(text: str, *, is_cut: bool) -> FileKind | None:
    text = text.removeprefix("\ufeff")
    try:
        json.loads(text)
        return FileKind("json", "JSON")
    except RecursionError:
        return FileKind("json", "JSON")
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(map(_is_json_value, lines[:-1] if is_cut else lines)):
        return FileKind("json", "JSON lines", lines=True)
    return FileKind("json", "JSON") if is_cut and _JSON_START.match(text) else None


def _is_json_value(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_email(text: str) -> bool:
    """Its first lines are headers, and two of them those that mails have."""
    start = _MBOX.match(text)
    place, usual = start.end() if start else 0, set()
    while header := _MAIL_HEADER.match(text, place):
        usual.add(header[1].lower())
        place = header.end()
    ends = place == len(text) or text[place] in "\r\n"
    return ends and len(usual & _USUAL_HEADERS) >= 2


def _is_html(text: str) -> bool:
    place = 0
    while before := _BEFORE_PAGE.match(text, place):
        place = before.end()
    if _PAGE_START.match(text, place):
        return True
    closing = len(_CLOSING_TAG.findall(text))
    return closing >= (1 if _FRAGMENT_START.match(text, place) else _CLOSING_TAGS_OF_PAGE)


def _is_in_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(data) >= CUT_AT and error.start > len(data) - 4
    return True
