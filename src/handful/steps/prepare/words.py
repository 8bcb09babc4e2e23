"""The words of a document, as numbers: what near-duplicates are found by.

A document's text is that of all its input files: text files as they are, of JSON files the strings
and numbers in them (not the keys, which all documents share). Words are runs of letters and digits,
in lower case; three in a row are a shingle, and its 32-bit hash stands for it. Other files, and
what lies beyond the first 4 MiB of a text, count by their exact content only.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
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
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: spreads neighbouring numbers (Knuth's multiplicative hashing)."""

Hashes = NDArray[np.uint32]


class _WordHashes(dict[str, int]):
    """Word → its hash, remembered: most words come again and again."""

    _MOST = 1 << 20

    def __missing__(self, word: str) -> int:
        if len(self) >= self._MOST:
            self.clear()
        number = self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return number


_hash_of = _WordHashes().__getitem__


@dataclass(frozen=True)
class Words:
    """What is known of one document."""

    content: str
    """sha256 over its files, whatever they are."""
    shingles: Hashes
    """Sorted, each once; empty if it has no text."""


def words_of(paths: Sequence[Path]) -> Words:
    """Read a document. Raises OSError if a file cannot be read."""
    digest = hashlib.sha256()
    words: list[str] = []
    for path in paths:
        start = _read_into(digest, path)
        text = _text(start, path.suffix.lower())
        if text is not None:
            words += _WORD.findall(text.lower())
    return Words(digest.hexdigest(), shingles(words))


def shingles(words: Sequence[str]) -> Hashes:
    """The hashes of all runs of `SHINGLE` words; of all words together if there are fewer."""
    if not words:
        return np.empty(0, np.uint32)
    hashes = np.fromiter(map(_hash_of, words), np.uint64, len(words))
    length = min(SHINGLE, len(words))
    runs = np.full(len(words) - length + 1, np.uint64(length))
    for offset in range(length):
        runs = (runs ^ hashes[offset : offset + len(runs)]) * _MIX
        runs ^= runs >> np.uint64(29)
    return np.unique((runs >> np.uint64(32)).astype(np.uint32))


def _read_into(digest: Any, path: Path) -> bytes:
    """Hash the whole file; its beginning, up to TEXT_LIMIT bytes."""
    digest.update(path.stat().st_size.to_bytes(8, "big"))
    with path.open("rb") as file:
        start = file.read(TEXT_LIMIT)
        digest.update(start)
        while block := file.read(_BLOCK):
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
