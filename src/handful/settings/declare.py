"""The declaration of a key: one line of `sections.py` carries all that is known about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from handful.settings.values import Parser

STEPS = frozenset({"reconcile", "prepare", "train", "test", "report"})


@dataclass(frozen=True)
class Key:
    """What is known about one key."""

    name: str
    parser: Parser
    default: str | None
    """As it would be written; None where unset means None, or where the reader works it out."""
    default_words: str
    """The default as a person says it."""
    meaning: str
    required: bool
    works: tuple[Any, ...] | None
    """The only values whose effect is built; None if all are."""
    counts: frozenset[str]
    """The steps whose result depends on this key."""
    also: tuple[str, ...]
    """Other spellings."""
    built: bool

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
    built: bool = True,
    works: tuple[Any, ...] | None = None,
    also: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that declares a key. `counts` names steps, with blanks between them."""
    words = said or (default if default is not None else "required" if required else "none")
    steps = frozenset(counts.split())
    if not steps <= STEPS:
        raise ValueError(f"no such step: {sorted(steps - STEPS)}")
    if not built:
        works = (None if default is None else parser.parse(default),)
    declared = Key("", parser, default, words, meaning, required, works, steps, also, built)
    return field(kw_only=True, metadata={"key": declared})


def keys_of(section: type) -> dict[str, Key]:
    """Every declared key of a section's dataclass, by name."""
    from dataclasses import replace

    return {
        one.name: replace(one.metadata["key"], name=one.name)
        for one in fields(section)
        if "key" in one.metadata
    }


def spellings(keys: Iterable[Key]) -> dict[str, Key]:
    """Every way to write a key → the key."""
    return {word: one for one in keys for word in (one.name, *one.also)}
