"""Short texts that are the same but for one word.

Below twenty words one other word changes so many of the runs of three that nothing is left of a
likeness. There, two texts are near-duplicates, too, if they are the same when one word is taken
from one of them, or one from each, and if the words that both then have are at least 0.8 of all
words: from four on one word more, from nine on one other word. They are found exactly: each text
without each of its words in turn is a key, and who shares a key is compared (deletion
neighbourhoods; Bocek, Hunt and Stiller, 2007, "Fast similarity search in large dictionaries").

A key of many different texts is a form with a blank (`your code is …`): filled in by everybody, it
ties nobody. Without that, forms would grow into groups that fit into no split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from handful.steps.prepare.similarity.shingles import MIX, Hashes

FEW = 20
"""Words from which on runs of three tell the likeness of two texts."""
THRESHOLD = 0.8
FORM = 10
"""Different texts of one key from which on it is a form."""
_BASE = np.uint64(0xD1342543DE82EF95)
"""Odd, so that it has an inverse modulo 2^64."""
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_SHORT_TEXTS_PER_BATCH = 1 << 16
"""Texts whose keys are made together."""


@dataclass(frozen=True)
class ShortTexts:
    """The words of many documents' texts, of those that are short; of others nothing."""

    words: Hashes
    starts: NDArray[np.int64]
    """[n + 1]: document i has `words[starts[i]:starts[i + 1]]`."""

    def __getitem__(self, document: int) -> Hashes:
        return self.words[self.starts[document] : self.starts[document + 1]]

    @classmethod
    def of(cls, documents: Sequence[Hashes]) -> ShortTexts:
        """From the hashes of the words of each document. One of twenty may lack one of another."""
        short = [words if len(words) <= FEW else words[:0] for words in documents]
        starts = np.cumsum([0, *map(len, short)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.uint32), *short]), starts)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Documents that are the same but for one word; of `copies` the first stands for all."""
        keys, documents = self._keys()
        edges = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1], [True])))
        sizes = np.diff(edges)
        for run in np.flatnonzero((sizes > 1) & (sizes < FORM)).tolist():
            bucket = documents[edges[run] : edges[run + 1]].tolist()
            for place, one in enumerate(bucket):
                for other in bucket[place + 1 :]:
                    if self.likeness(one, other):
                        yield one, other

    def copies(self, document: int) -> list[int]:
        """All documents with the text of this one, which is the first of them."""
        return self._copies[document]

    def likeness(self, one: int, other: int) -> float:
        """The words that both have over all words; 0 unless they differ in one word and are alike.

        The same text is no concern of this rule.
        """
        short, long = sorted((self[one], self[other]), key=len)
        if not 0 < len(short) < FEW or len(long) - len(short) > 1:
            return 0.0
        if not _same_but_one(short.tolist(), long.tolist()):
            return 0.0
        both = len(long) - 1
        share = both / (len(short) + len(long) - both)
        return share if share >= THRESHOLD else 0.0

    def _keys(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Sorted keys, and whose they are; each once for one of those with the same text."""
        texts, which, _ = self._different
        keys, documents = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for first in range(0, len(which), _SHORT_TEXTS_PER_BATCH):
            some = which[first : first + _SHORT_TEXTS_PER_BATCH]
            found, rows = _without_one(*self._pad_terms(some))
            keys += [texts[first : first + _SHORT_TEXTS_PER_BATCH], found]
            documents += [some, some[rows]]
        both = np.concatenate(keys), np.concatenate(documents)
        order = np.lexsort((both[1], both[0]))
        key, document = both[0][order], both[1][order]
        first_time = np.ones(len(key), np.bool_)
        first_time[1:] = (key[1:] != key[:-1]) | (document[1:] != document[:-1])
        return key[first_time], document[first_time]

    @cached_property
    def _different(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """The keys of whole texts, each once; the first document with each; each one's text."""
        keys = [np.empty(0, np.uint64)]
        for first in range(0, len(self._with_words), _SHORT_TEXTS_PER_BATCH):
            words, lengths = self._pad_terms(
                self._with_words[first : first + _SHORT_TEXTS_PER_BATCH]
            )
            keys.append(_short_text_keys(words.sum(axis=1, dtype=np.uint64), lengths))
        texts, places, texts_of = np.unique(
            np.concatenate(keys), return_index=True, return_inverse=True
        )
        return texts, self._with_words[places], texts_of

    @cached_property
    def _with_words(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.diff(self.starts))

    @cached_property
    def _copies(self) -> dict[int, list[int]]:
        """The first document with a text → all of them."""
        _, firsts, texts_of = self._different
        found: dict[int, list[int]] = defaultdict(list)
        for document, text in zip(self._with_words.tolist(), texts_of.tolist(), strict=True):
            found[int(firsts[text])].append(document)
        return found

    def _pad_terms(
        self, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """[n, FEW] the terms whose sum stands for a text, one a word, then zeros; [n] lengths."""
        lengths = self.starts[documents + 1] - self.starts[documents]
        there = np.arange(FEW) < lengths[:, None]
        places = np.where(there, self.starts[documents][:, None] + np.arange(FEW), 0)
        words = (self.words[places].astype(np.uint64) + np.uint64(1)) * MIX
        words ^= words >> np.uint64(29)
        powers = np.cumprod(np.full(FEW, _BASE, np.uint64), dtype=np.uint64)
        return np.where(there, words * powers, np.uint64(0)), lengths


def _same_but_one(short: list[int], long: list[int]) -> bool:
    """Are they different, and the same without one word of `long`, and one of an equal `short`?"""
    first = next((n for n, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), None)
    if first is None:
        return len(short) < len(long)
    short, long = short[first:], long[first:]
    while short and short[-1] == long[-1]:
        short, long = short[:-1], long[:-1]
    if len(short) < len(long):
        return not short
    return len(short) == 1 or short[1:] == long[:-1] or short[:-1] == long[1:]


def _without_one(
    terms: NDArray[np.uint64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The keys of texts without one word, and the rows that they come from."""
    before = np.cumsum(terms, axis=1, dtype=np.uint64)
    after = before[:, -1:] - before
    keys = _short_text_keys(before - terms + after * _INVERSE, lengths[:, None] - 1)
    rows, places = np.nonzero((np.arange(FEW) < lengths[:, None]) & (lengths[:, None] > 1))
    return keys[rows, places], rows


def _short_text_keys(sums: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    keys = (sums ^ lengths.astype(np.uint64)) * MIX
    return keys ^ (keys >> np.uint64(31))
