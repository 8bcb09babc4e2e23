"""The declaration of a key: the field of a section's dataclass carries all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from handful.settings.values.parse import Parser

STEPS = ("reconcile", "prepare", "tune", "train", "test", "compare", "report")


@dataclass(frozen=True)
class Key:
    """What is known about one key."""

    name: str
    parser: Parser
    default: str | None
    """As it would be written; None where unset means None, or where the reader works it out."""
    said: str
    """The default as a person says it."""
    meaning: str
    required: bool
    counts_for: frozenset[str]
    """The steps whose result depends on this key."""
    also: tuple[str, ...]
    """Other spellings."""

    def default_value(self) -> Any:
        """The default as a value; None where the reader works it out."""
        return None if self.default is None else self.parser.parse(self.default)


def key(
    parser: Parser,
    default: str | None,
    meaning: str,
    *,
    said: str = "",
    counts: str = "",
    required: bool = False,
    secret: bool = False,
    also: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that declares a key.

    `said` is the default in words, `counts` the steps with blanks between them. A `secret` is left
    out of the section's repr.
    """
    words = said or (default if default is not None else "required" if required else "none")
    steps = frozenset(counts.split())
    if not steps <= set(STEPS):
        raise ValueError(f"no such step: {sorted(steps - set(STEPS))}")
    declared = Key("", parser, default, words, meaning, required, steps, also)
    return field(kw_only=True, repr=not secret, metadata={"key": declared})


@cache
def keys_of(section: type) -> Mapping[str, Key]:
    """Every declared key of a section's dataclass, by name."""
    return MappingProxyType(
        {
            one.name: replace(one.metadata["key"], name=one.name)
            for one in fields(section)
            if "key" in one.metadata
        }
    )


@cache
def spellings_of(section: type) -> Mapping[str, Key]:
    """Every way to write a key of the section → the key."""
    keys = keys_of(section).values()
    return MappingProxyType({word: one for one in keys for word in (one.name, *one.also)})
