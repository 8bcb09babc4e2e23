"""Words as numbers: what near-duplicates are found by.

Words are runs of letters and digits, in lower case; three in a row are a shingle, and its 32-bit
hash stands for it. Chinese and Japanese put no blanks between words: there each letter is a word,
as a run would be a whole clause, of which one letter that differs leaves nothing. (Thai, Khmer and
their kin need no such rule: `\\w+` breaks at their vowel signs, every few letters.)
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3
"""Words in a row."""
LETTERS_ALONE = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""For a pattern: the letters of Chinese and Japanese, each of which is a word."""
_ALONE = re.compile(f"[{LETTERS_ALONE}]")
_WORD = re.compile(r"\w+")
_WORD_OR_LETTER = re.compile(rf"[{LETTERS_ALONE}]|[^\W{LETTERS_ALONE}]+")
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


def normalize(text: str) -> bytes:
    """Its words in lower case, as UTF-8, with blanks between them."""
    if text.isascii():
        return text.encode().translate(_ASCII)
    text = composed(text.lower())
    pattern = _WORD_OR_LETTER if _ALONE.search(text) else _WORD
    return " ".join(pattern.findall(text)).encode("utf-8", "surrogatepass")


def split(text: str) -> list[bytes]:
    """Its words in lower case, as UTF-8."""
    return normalize(text).split()


def is_alone(word: str) -> bool:
    """Is it a letter that needs no blank beside it to be a word?"""
    return _ALONE.fullmatch(word) is not None


def letters_alone(text: str) -> int:
    """How many such letters it has."""
    return 0 if text.isascii() else len(_ALONE.findall(text))


def composed(text: str) -> str:
    """Each letter with its accent as one: some systems write them as two (NFC instead of NFD)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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
