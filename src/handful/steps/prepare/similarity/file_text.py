"""The text of a file, as a person would read it.

Text files are taken as they are, of JSON and lines of JSON the strings and numbers in them (not the
keys, which all documents share). Other files, and what lies beyond the first 4 MiB of a text, count
by their exact content only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from handful.steps.prepare.similarity.shingles import letters_alone

TEXT_LIMIT = 4 << 20
"""Bytes of one file that are looked at as text."""
_TEXT_FILE_BLOCK_BYTES = 1 << 20
_SNIFFED = 1 << 16
_TEXTS = ".txt .md .rst .html .htm .xml .csv .tsv .tex .json .jsonl .ndjson .eml .log .yaml .yml"
_SUFFIXES = frozenset(_TEXTS.split())
"""Kinds of file that are text, even where a letter of theirs is no UTF-8."""
_DOCUMENTS = ".pdf .ps .doc .docx .xls .xlsx .ppt .pptx .odt .ods .odp .msg .epub"
_PICTURES = ".png .jpg .jpeg .gif .bmp .tif .tiff .webp .heic .jp2 .dcm"
_SOUNDS = ".mp3 .wav .flac .ogg .m4a .aac .mp4 .mov .avi .mkv .webm"
_BINARY_DATA_SUFFIXES = (
    ".npy .npz .pt .safetensors .parquet .arrow .feather .h5 .zip .gz .bz2 .xz .7z .tar"
)
_PAGES = frozenset(_DOCUMENTS.split())
_NO_TEXT = _PAGES | frozenset(f"{_PICTURES} {_SOUNDS} {_BINARY_DATA_SUFFIXES}".split())
"""Kinds of file that are no text, even where their bytes could be read as one."""
_PDF = b"%PDF-"
_SENTENCE = 5
"""Words of a string from which on it is running text, not a name or a date."""
_HEAD = 200
_decode = json.JSONDecoder().decode
_JSON_SCALAR_TYPES = frozenset({str, int, float, bool, type(None)})
_RECORDS = 3
"""What a longer list holds is text, such as the words on a page, and no record's fields."""
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{10}")
"""Ten letters of a script that puts no blanks between words."""


class Piece(NamedTuple):
    """A part of a file's text."""

    text: str
    is_field: bool
    """Is it the value of one key, as in a record, and not part of a list or of a plain text?"""


class FileText(NamedTuple):
    """What is known of one file."""

    digest: bytes
    """sha256 of all of it."""
    pieces: tuple[Piece, ...] | None
    """None if it is no text: a picture, a PDF."""
    is_plain: bool
    """Is it one plain text, in which a line may be a field? Else it is JSON."""
    has_pages: bool = False
    """Is it no text, but a kind of file that is little else, such as a PDF?"""


def read_file(path: str) -> FileText:
    """Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    start = _read_into(digest, path)
    suffix = suffix_of(path)
    text = _decode_file_text(start, suffix) if suffix not in _NO_TEXT else None
    if text is None:
        has_pages = suffix in _PAGES or start.startswith(_PDF)
        return FileText(digest.digest(), None, is_plain=False, has_pages=has_pages)
    value = _parse_file_json(text) if suffix == ".json" or text[:1] in "{[" else None
    if value is None:
        return FileText(digest.digest(), (Piece(text, is_field=False),), is_plain=True)
    return FileText(digest.digest(), tuple(_iterate_json_pieces(value)), is_plain=False)


def suffix_of(name: str) -> str:
    """With its dot, in lower case; empty if it has none."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")  # there are many
    return f".{suffix.lower()}" if dot and stem.strip(".") else ""


def may_be_text(name: str) -> bool:
    """What its suffix says of a file."""
    return suffix_of(name) not in _NO_TEXT


def running_words(file: FileText, pieces: Sequence[Piece], words: int) -> int:
    """How many of the `words` of `pieces`, what is left of the file, are running text (nearly).

    A name, a date or a number in a record is none; sentences are, and lists of words.
    """
    if is_all_running(file, pieces):
        return words
    listed = sum(
        _count_text_words(text) for text, is_field in pieces if not is_field and _says(text)
    )
    fields = sum(
        _count_text_words(text) for text, is_field in pieces if is_field and is_running(text)
    )
    return min(words, fields + (listed if listed >= _SENTENCE else 0))


def is_all_running(file: FileText, pieces: Sequence[Piece]) -> bool:
    """Is all that is left of a file running text, if it is anything?"""
    return file.is_plain or (len(pieces) == 1 and is_running(pieces[0].text))


def is_running(text: str) -> bool:
    """Is it at least five words?"""
    start = text[:_HEAD]  # which tells it already, of nearly every text
    for some in (start, text) if len(text) > _HEAD else (start,):
        if len(some.split(None, _SENTENCE - 1)) == _SENTENCE and _says(some):
            return True
    return not text.isascii() and _UNSPACED.search(text) is not None


def _count_text_words(text: str) -> int:
    """How many words it has, nearly."""
    return text.count(" ") + text.count("\n") + letters_alone(text) + 1 if text else 0


def _says(text: str) -> bool:
    """Does it hold letters at all?"""
    return text[:1].isalpha() or any(map(str.isalpha, text))


def _read_into(digest: Any, path: str) -> bytes:
    """Hash the whole file; its beginning, up to TEXT_LIMIT bytes."""
    file = os.open(path, os.O_RDONLY)  # a file object takes longer than the reading
    try:
        size = os.fstat(file).st_size
        start = os.read(file, min(size, TEXT_LIMIT))
        digest.update(start)
        while len(start) < size and (block := os.read(file, _TEXT_FILE_BLOCK_BYTES)):
            digest.update(block)
    finally:
        os.close(file)
    return start


def _decode_file_text(data: bytes, suffix: str) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:_SNIFFED] or data.startswith(_PDF):
        return None
    data = data.removeprefix(BOM_UTF8)  # the codec that does this takes longer than the decoding
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        # A cut in the middle of a letter is our own; other faults tell that it is no UTF-8.
        if error.start <= len(data) - 4 and suffix not in _SUFFIXES:
            return None
    text = data.decode("utf-8", "replace")
    is_utf8 = any(letter > "\x7f" and letter != "\ufffd" for letter in text)
    # Without a single letter of UTF-8 beyond ASCII it is of an older encoding: one letter a byte.
    return text if is_utf8 or "\ufffd" not in text[:-4] else data.decode("latin-1")


def _parse_file_json(text: str) -> Any:
    """The JSON value, or the values of its lines; None if it is neither."""
    try:
        found = _decode(text)
        return [] if found is None else found
    except RecursionError:
        return None
    except ValueError:
        lines = [line for line in text.split("\n") if line.strip()]
    try:
        return [_decode(line) for line in lines]
    except (ValueError, RecursionError):
        return None


def _iterate_json_pieces(value: Any) -> Iterator[Piece]:
    """The strings and numbers in a JSON value, in their order."""
    stack = [(value, False, False)]
    while stack:
        value, is_field, in_list = stack.pop()
        if isinstance(value, dict):
            stack.extend((one, not in_list, in_list) for one in reversed(value.values()))
        elif (
            isinstance(value, list)
            and len(value) > 1
            and _JSON_SCALAR_TYPES.issuperset(map(type, value))
        ):
            yield Piece(" ".join(map(_format_json_scalar, value)), is_field=False)
        elif isinstance(value, list):
            is_long = in_list or len(value) > _RECORDS
            stack.extend((one, is_field and len(value) == 1, is_long) for one in reversed(value))
        elif told := _format_json_scalar(value):
            yield Piece(told, is_field)


def _format_json_scalar(value: str | float | None) -> str:
    """A string or a number; nothing of `true`, `false` and `null`."""
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, bool) else repr(value)
