"""Whether every encoded row fits the model, and to what length it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from handful.errors import Absent, UserError
from handful.experiment.positions import positions
from handful.layout import TRUNCATION
from handful.storage.base import Store
from handful.training.data.batches import Indices

_NO_LIMIT = 10**6
"""Tokenizers without a limit of their own say 1e30."""
_PILE = 3
"""So many rows of the greatest length are no chance."""
_NEAR = 0.9


@dataclass(frozen=True)
class EncodedLengths:
    """What truncation.json says of a model's rows."""

    longest: Mapping[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Split → (artifact id, positions) of its longest rows; empty if that was not noted."""
    cut: bool = False
    """Were documents cut to fit? Then the longest row is as long as one may be."""
    measured: bool = False
    """Was it told how long documents were before (`handful.Encoded`)?"""

    @property
    def most(self) -> int:
        """Positions of the longest row of all; 0 if that was not noted."""
        return max((length for rows in self.longest.values() for _, length in rows), default=0)


def read_encoded_lengths(store: Store, folder: str) -> EncodedLengths:
    """Of the encoded rows in `folder`, the held-out ones too: of these the lengths alone."""
    try:
        found = json.loads(store.read(f"{folder}/{TRUNCATION}"))
        longest = {
            split: [(str(artifact_id), int(length)) for artifact_id, length in rows]
            for split, rows in found.get("longest", {}).items()
        }
        overall = found["overall"]
        return EncodedLengths(longest, bool(overall["truncated"]), bool(overall["measured"]))
    except (Absent, ValueError, KeyError, TypeError, AttributeError):
        return EncodedLengths()  # an earlier prepare did not note them


def check_lengths(model: torch.nn.Module, lengths: EncodedLengths) -> None:
    """`UserError` if a row is longer than the model has positions: it would end train or test."""
    limit = positions_of(model)
    long = [
        f"{artifact_id} ({length:,} tokens, {split})"
        for split, rows in lengths.longest.items()
        for artifact_id, length in rows
        if limit is not None and length > limit
    ]
    if long:
        raise UserError(
            f"documents are longer than the {limit:,} positions of {type(model).__name__}: "
            f"{', '.join(long[:5])}",
            where="encode_data in functions.py",
            remedy=f"cut them there (max_length={limit}), or take a model for longer texts",
        )


def positions_of(model: torch.nn.Module) -> int | None:
    """How many positions a model has, by its config; None if that has no end, or is not known."""
    config: Any = getattr(model, "config", None)
    return positions(config.to_dict()) if hasattr(config, "to_dict") else None


def find_text_token_limit(
    model: torch.nn.Module, tokenizer: Any | None, encoded: EncodedLengths, lengths: Indices
) -> int:
    """To how many tokens a text is cut by who uses the model; 0: it is not known.

    The longest row, where documents were cut: `encode_data` cuts all to that. Else what the model
    has positions for, or its tokenizer says. `lengths`: [N] of the training rows, which show
    whether documents were cut where `encode_data` does not tell it.
    """
    cut = encoded.cut or (not encoded.measured and look_cut(lengths))
    longest = encoded.most or int(lengths.max(initial=0))
    if cut and longest:
        return longest
    own = getattr(tokenizer, "model_max_length", None) or _NO_LIMIT
    known = [int(n) for n in (own, positions_of(model)) if n is not None and n < _NO_LIMIT]
    return min(known, default=0)


def look_cut(lengths: Indices) -> bool:
    """Do rows of these `lengths` [N] pile up at the longest, as those that were cut do?

    Documents left whole become fewer towards the longest; cut ones are all at one length, more than
    in the whole tenth below it.
    """
    longest = int(lengths.max(initial=0))
    at_end = int((lengths == longest).sum())
    near = int(((lengths >= _NEAR * longest) & (lengths < longest)).sum())
    return at_end >= _PILE and at_end > near
