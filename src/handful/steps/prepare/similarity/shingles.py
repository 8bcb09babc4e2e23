"""Words as numbers: what near-duplicates are found by.

Words are runs of letters and digits, in lower case; three in a row are a shingle, and its 32-bit
hash stands for it. Chinese and Japanese put no blanks between words: there each letter is a word,
as a run would be a whole clause, of which one letter that differs leaves nothing. (Thai, Khmer and
their kin need no such rule: `\\w+` breaks at their vowel signs, every few letters.)
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise

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
_SHINGLE_WORD_PATTERN = re.compile(r"\w+")
_WORD_OR_LETTER = re.compile(rf"[{LETTERS_ALONE}]|[^\W{LETTERS_ALONE}]+")
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: spreads neighbouring numbers (Knuth's multiplicative hashing)."""

Hashes = NDArray[np.uint32]
_NO_WORD_HASHES: Hashes = np.empty(0, np.uint32)
_AT_ONCE = 1 << 16
"""Bytes that are hashed together, up to the next blank."""
_BLANK = np.uint8(ord(" "))


_ASCII = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalnum() or code == ord("_")) else 32
    for code in range(256)
)
"""What `\\w+` and `lower` do to plain text, as a table: letters and digits, else a space."""


def normalize(text: str) -> bytes:
    """Its words in lower case, as UTF-8, with blanks between them."""
    if text.isascii():
        return text.encode().translate(_ASCII)
    text = normalize_accents(text.lower())
    pattern = _WORD_OR_LETTER if _ALONE.search(text) else _SHINGLE_WORD_PATTERN
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


def normalize_accents(text: str) -> str:
    """Each letter with its accent as one: some systems write them as two (NFC instead of NFD)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def hash_text_words(texts: Iterable[bytes]) -> list[Hashes]:
    """Of each text the hash of each word, in their order. Words are what blanks are between.

    A word's hash is a polynomial of its bytes (Karp and Rabin, 1987, "Efficient randomized
    pattern-matching algorithms"), so that the words of many texts are hashed in a few strides.
    """
    found: list[Hashes] = []
    some: list[bytes] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= _AT_ONCE:
            found += _hash_text_batch(some)
            some, size = [], 0
    return found + _hash_text_batch(some)


def _hash_text_batch(texts: Sequence[bytes]) -> list[Hashes]:
    text = b" ".join(texts)
    hashes, starts = [_NO_WORD_HASHES], [np.empty(0, np.int64)]
    first = 0
    while first < len(text):
        end = text.find(b" ", first + _AT_ONCE)
        last = len(text) if end < 0 else end
        longest = max(first, text.rfind(b" ", first, first + _AT_ONCE) + 1)
        if last - longest > _AT_ONCE:  # a word like no other: told by its digest
            digest = hashlib.sha256(text[longest:last]).hexdigest().encode()
            told = text[first:longest] + digest
        else:
            told = text[first:last]
        some, places = _hash_word_bytes(told)
        hashes.append(some)
        starts.append(places + first)
        first = last
    words, begins = np.concatenate(hashes), np.concatenate(starts)
    ends = np.searchsorted(begins, np.cumsum([len(one) + 1 for one in texts])).tolist()
    return [words[one:other] for one, other in pairwise([0, *ends])]


def _hash_word_bytes(text: bytes) -> tuple[Hashes, NDArray[np.int64]]:
    """The hash of each word, and where it begins."""
    letters = np.frombuffer(b" %b " % text, np.uint8) ^ _BLANK  # blanks are zeros
    starts = np.flatnonzero(np.diff(letters != 0))[::2] + 1
    if not len(starts):
        return _NO_WORD_HASHES, starts
    powers, inverse = _powers()
    mixed = np.add.reduceat(letters * powers[: len(letters)], starts) * inverse[starts]
    mixed ^= mixed >> np.uint64(29)
    mixed *= MIX
    return (mixed >> np.uint64(32)).astype(np.uint32), starts - 1


@functools.cache
def _powers() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first powers of an odd number, and of its inverse, modulo 2^64: for two blanks, and what
    is hashed together with a last word that is as long as that."""
    count = 2 * _AT_ONCE + 2
    base = 0xD1342543DE82EF95
    each = [base, pow(base, -1, 1 << 64)]
    powers, inverse = (np.cumprod(np.full(count, one, np.uint64), dtype=np.uint64) for one in each)
    return powers, inverse


def shingles(documents: Sequence[Hashes]) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of all runs of `SHINGLE` words, of all documents at once.

    `documents`: the hashes of the words of each; one with fewer words is one run. Returns the
    hashes of the runs, one document after the other, each sorted and each once; and where each
    document begins [n + 1].
    """
    lengths = np.array([len(words) for words in documents], np.int64)
    ends = np.cumsum(lengths)
    words = np.concatenate([_NO_WORD_HASHES, *documents]).astype(np.uint64)
    document = np.repeat(np.arange(len(documents), dtype=np.uint64), lengths)
    left = np.repeat(ends, lengths) - np.arange(len(words))  # words to the document's end
    is_whole = left >= SHINGLE
    mixed = np.full(len(words), SHINGLE, np.uint64)
    for offset in range(SHINGLE):
        mixed[: len(words) - offset] = _mix_word_hash(mixed[: len(words) - offset], words[offset:])
    for size in range(1, SHINGLE):  # documents of so few words
        first = ends[lengths == size] - size
        few = np.full(len(first), size, np.uint64)
        for offset in range(size):
            few = _mix_word_hash(few, words[first + offset])
        mixed[first], is_whole[first] = few, True
    keys = np.sort(((document << np.uint64(32)) | (mixed >> np.uint64(32)))[is_whole])
    keys = keys[np.diff(keys, prepend=keys[:1] ^ np.uint64(1)) != 0]
    starts = np.searchsorted(keys, np.arange(len(documents) + 1, dtype=np.uint64) << np.uint64(32))
    return keys.astype(np.uint32), starts.astype(np.int64)


def _mix_word_hash(before: NDArray[np.uint64], word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    step = (before ^ word) * MIX
    return step ^ (step >> np.uint64(29))
