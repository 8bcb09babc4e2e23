"""Which keys of settings.ini the functions of an experiment read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from handful.settings.values.types import FrozenMap

EVERYTHING = "*"


@dataclass(frozen=True)
class Usage:
    """The keys that functions read, and what they hand on to where no reading can follow it."""

    keys: frozenset[tuple[str, str]] = frozenset()
    """(section, key): ("user", "MAX_TOKENS"), ("train", "EPOCHS")."""
    whole: Mapping[str, str] = field(default_factory=FrozenMap)
    """A section, or EVERYTHING → where it is handed on."""

    def __or__(self, other: Usage) -> Usage:
        return Usage(self.keys | other.keys, FrozenMap({**other.whole, **self.whole}))

    def names(self, section: str, key: str) -> bool:
        """Is the key read by its name?"""
        return (section, key) in self.keys

    def why(self, section: str) -> str:
        """Where all of `section` is handed on; empty if none of it is."""
        return self.whole.get(EVERYTHING) or self.whole.get(section, "")

    def reads(self, section: str, key: str) -> bool:
        """May a function read the key?"""
        return self.names(section, key) or bool(self.why(section))

    @property
    def reads_beside_user(self) -> bool:
        """Is anything read but `[user]`?"""
        return any(section != "user" for section in [*self.whole, *(s for s, _ in self.keys)])

    def to_text(self) -> str:
        """As it stands in a fingerprint."""
        keys = [f"{section}.{key}" for section, key in sorted(self.keys)]
        return json.dumps({"keys": keys, "whole": dict(sorted(self.whole.items()))})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` made. Of anything else: everything is read."""
        try:
            told = json.loads(text)
            split = [key.partition(".") for key in told["keys"]]
            return cls(
                frozenset((section, key) for section, _, key in split), FrozenMap(told["whole"])
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(whole=FrozenMap({EVERYTHING: "its record cannot be read"}))


ALL_OF_USER = Usage(whole=FrozenMap({"user": "nobody looked at who reads what"}))
"""Where what the functions read is not asked."""
