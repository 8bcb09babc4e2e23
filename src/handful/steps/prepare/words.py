"""The words of a document, as numbers: what near-duplicates are found by.

A document's text is that of all its input files: text files as they are, of JSON files the strings
and numbers in them (not the keys, which all documents share). Words are runs of letters and digits,
in lower case; three in a row are a shingle, and its 32-bit hash stands for it. Other files, and
what lies beyond the first 4 MiB of a text, count by their exact content only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3
"""Words in a row."""
TEXT_LIMIT = 4 << 20
"""Bytes of one file that are looked at as text."""
_BLOCK = 1 << 20
_SNIFFED = 1 << 16
_WORD = re.compile(r"\w+")
_TEXT_SUFFIXES = frozenset({".txt", ".md", ".rst", ".html", ".htm", ".xml", ".csv", ".tsv", ".tex"})
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: spreads neighbouring numbers (Knuth's multiplicative hashing)."""

Hashes = NDArray[np.uint32]


class _WordHashes(dict[bytes, int]):
    """Word → its hash, remembered: most words come again and again."""

    _MOST = 1 << 20

    def __missing__(self, word: bytes) -> int:
        if len(self) >= self._MOST:
            self.clear()
        number = self[word] = zlib.crc32(word)
        return number


_hash_of = _WordHashes().__getitem__
_ASCII = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalnum() or code == ord("_")) else 32
    for code in range(256)
)
"""What `\\w+` and `lower` do to plain text, as a table: letters and digits, else a space."""


@dataclass(frozen=True)
class Words:
    """What is known of one document."""

    content: str | None
    """sha256 over its files, whatever they are; None if they could not be read."""
    words: Hashes
    """The hash of each of its words, in their order; empty if it has no text."""


def words_of(paths: Sequence[str]) -> Words:
    """Read a document. Raises OSError if a file cannot be read."""
    digest = hashlib.sha256()
    words: list[bytes] = []
    for path in paths:
        start = _read_into(digest, path)
        text = _text(start, path[path.rfind(".") :].lower())
        if text is not None:
            words += split(text)
    return Words(digest.hexdigest(), hashed(words))


def split(text: str) -> list[bytes]:
    """Its words in lower case, as UTF-8."""
    if text.isascii():
        return text.encode().translate(_ASCII).split()
    return [word.encode("utf-8", "surrogatepass") for word in _WORD.findall(text.lower())]


def hashed(words: Sequence[bytes]) -> Hashes:
    return np.fromiter(map(_hash_of, words), np.uint32, len(words))


def shingles(documents: Sequence[Hashes]) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of all runs of `SHINGLE` words, of all documents at once.

    `documents`: the hashes of the words of each; one with fewer words is one run. Returns the
    hashes of the runs, one document after the other, each sorted and each once; and where each
    document begins [n + 1].
    """
    lengths = np.array([len(words) for words in documents], np.int64)
    runs = np.where(lengths > 0, np.maximum(lengths - SHINGLE + 1, 1), 0)
    words = np.concatenate([np.empty(0, np.uint32), *documents]).astype(np.uint64)
    document = np.repeat(np.arange(len(documents), dtype=np.uint64), runs)
    first = np.repeat(np.cumsum(lengths) - lengths - (np.cumsum(runs) - runs), runs)
    first += np.arange(len(first))
    size = np.repeat(np.minimum(lengths, SHINGLE), runs)
    mixed = size.astype(np.uint64)
    for offset in range(SHINGLE):
        there = offset < size
        places = np.where(there, first + offset, 0)
        step = (mixed ^ words[places]) * MIX if len(words) else mixed
        mixed = np.where(there, step ^ (step >> np.uint64(29)), mixed)
    keys = np.sort((document << np.uint64(32)) | (mixed >> np.uint64(32)))
    keys = keys[np.diff(keys, prepend=keys[:1] ^ np.uint64(1)) != 0]
    starts = np.searchsorted(keys, np.arange(len(documents) + 1, dtype=np.uint64) << np.uint64(32))
    return keys.astype(np.uint32), starts.astype(np.int64)


def _read_into(digest: Any, path: str) -> bytes:
    """Hash the whole file; its beginning, up to TEXT_LIMIT bytes."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib takes longer than reading
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "big"))
        start = file.read(min(size, TEXT_LIMIT))
        digest.update(start)
        while len(start) < size and (block := file.read(_BLOCK)):
            digest.update(block)
    return start


def _text(data: bytes, suffix: str) -> str | None:
    """What a person would read in it; None if that is nothing."""
    decoded = _decoded(data, suffix)
    if decoded is not None and (suffix == ".json" or decoded[:1] in "{["):
        try:
            return " ".join(_leaves(json.loads(decoded)))
        except (ValueError, RecursionError):
            return decoded
    return decoded


def _decoded(data: bytes, suffix: str) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:_SNIFFED]:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A cut in the middle of a letter is our own; other faults tell that it is no UTF-8.
        if error.start > len(data) - 4 or suffix in _TEXT_SUFFIXES:
            return data.decode("utf-8-sig", "replace")
        return None


def _leaves(value: Any) -> Iterator[str]:
    """The strings and numbers in a JSON value, in their order."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
        elif isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield repr(value)
