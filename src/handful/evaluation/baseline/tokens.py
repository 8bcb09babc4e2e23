"""Token ids as TF-IDF, with uni-grams and, where that is cheap, hashed bi-grams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from scipy import sparse
from sklearn.preprocessing import normalize

from handful.evaluation.baseline.arrays import BATCH, Floats, Ids, flat
from handful.evaluation.baseline.choosing import Tokens

UNIGRAMS, BIGRAMS = 2**18, 2**20
"""Columns. Token ids below the first number keep their own; bi-grams are hashed."""
MOST_TOKENS = 10_000_000
"""In the train split; beyond it bi-grams would take too long."""
MOST_TERMS = 50_000
"""The terms in the most documents are kept; a rarer one is seldom met again."""
_MIX, _SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(64 - 20)


@dataclass(frozen=True)
class TokenCounts:
    """Reads rows as counts of terms."""

    tokens: Tokens
    bigrams: bool

    def read(self, rows: Any) -> sparse.csr_matrix:
        """[N, terms] counts, batch by batch; `rows` is a Dataset in Arrow's format."""
        names = [name for name in (self.tokens.name, self.tokens.mask) if name]
        chosen = rows.select_columns(names)
        parts = [self._batch(table) for table in chosen.iter(batch_size=BATCH)]
        return sparse.vstack(parts, format="csr", dtype=np.float32)

    def _batch(self, table: Any) -> sparse.csr_matrix:
        ids, rows = flat(table.column(self.tokens.name))
        if self.tokens.mask:
            seen, seen_rows = flat(table.column(self.tokens.mask))
            if np.array_equal(rows, seen_rows):  # else it is the mask of something else
                ids, rows = ids[seen != 0], rows[seen != 0]
        terms = ids.astype(np.int64).view(np.uint64)
        columns = terms & np.uint64(UNIGRAMS - 1)
        if self.bigrams and len(terms) > 1:
            together = rows[1:] == rows[:-1]
            pairs = terms[:-1] * _MIX + terms[1:]
            hashed = ((pairs * _MIX) >> _SHIFT) + np.uint64(UNIGRAMS)
            columns = np.concatenate([columns, hashed[together]])
            rows = np.concatenate([rows, rows[1:][together]])
        ones = np.ones(len(columns), dtype=np.float32)
        shape = (table.num_rows, UNIGRAMS + BIGRAMS)
        return sparse.csr_matrix((ones, (rows, columns.astype(np.int64))), shape=shape)


def token_counts(tokens: Tokens, train: Any) -> TokenCounts:
    """The reader for all splits; how long the first rows are decides about bi-grams."""
    first = train.select_columns([tokens.name])[:BATCH]
    mean = pc.mean(pc.list_value_length(first.column(tokens.name))).as_py() or 0.0
    return TokenCounts(tokens, mean * len(train) <= MOST_TOKENS)


@dataclass(frozen=True)
class Tfidf:
    """Weights learned from one set of documents: log term frequency, smoothed idf, unit rows."""

    columns: Ids
    idf: Floats

    @classmethod
    def fit(cls, counts: sparse.csr_matrix) -> Tfidf:
        """`counts` [N, terms]. Terms in one document only are left out, if there are others."""
        found = np.bincount(counts.indices, minlength=counts.shape[1])
        columns = np.flatnonzero(found >= 2)
        if not len(columns):
            columns = np.flatnonzero(found)
        if len(columns) > MOST_TERMS:
            most = np.argsort(-found[columns], kind="stable")[:MOST_TERMS]
            columns = np.sort(columns[most])
        idf = np.log((1 + counts.shape[0]) / (1 + found[columns])) + 1.0
        return cls(columns.astype(np.int64), idf)

    def transform(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """[N, kept terms]"""
        kept = counts[:, self.columns].astype(np.float64)
        kept.data = 1.0 + np.log(kept.data)
        return normalize(kept.multiply(self.idf).tocsr(), copy=False)
