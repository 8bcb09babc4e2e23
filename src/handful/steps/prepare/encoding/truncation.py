"""How much of the documents the model never sees, per label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any


@dataclass
class Tally:
    """Counts over some instances."""

    instances: int = 0
    measured: int = 0
    """Those for which `encode_data` told the full length (`handful.Encoded`)."""
    truncated: int = 0
    tokens: int = 0
    """Full lengths of the measured, summed."""
    unseen: int = 0
    """Tokens that were cut off, summed."""

    def add(self, length: int, full_length: int | None) -> None:
        self.instances += 1
        if full_length is None:
            return
        lost = max(0, full_length - length)
        self.measured += 1
        self.truncated += lost > 0
        self.tokens += full_length
        self.unseen += lost

    def join(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def told(self) -> dict[str, Any]:
        """As truncation.json has it; the shares are null where nothing was measured."""
        return {
            "instances": self.instances,
            "measured": self.measured,
            "truncated": self.truncated,
            "share_truncated": self.truncated / self.measured if self.measured else None,
            "share_of_tokens_unseen": self.unseen / self.tokens if self.tokens else None,
        }


Tallies = dict[str, Tally]
"""Label → its tally."""


def join(tallies: Tallies, others: Mapping[str, Tally]) -> None:
    """Add `others` to `tallies`."""
    for label, tally in others.items():
        tallies.setdefault(label, Tally()).join(tally)


def to_json(tallies: Mapping[str, Tally]) -> dict[str, list[int]]:
    return {label: list(astuple(tally)) for label, tally in sorted(tallies.items())}


def from_json(raw: Mapping[str, list[int]]) -> Tallies:
    return {label: Tally(*counts) for label, counts in raw.items()}


def report(tallies: Mapping[str, Tally], longest: Mapping[str, Any]) -> bytes:
    """truncation.json: over all, and per label; and the `longest` rows of each split."""
    overall = Tally()
    for tally in tallies.values():
        overall.join(tally)
    told = {
        "overall": overall.told(),
        "labels": {label: tally.told() for label, tally in sorted(tallies.items())},
        "longest": dict(longest),
    }
    return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()
