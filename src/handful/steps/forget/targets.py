"""Who is to be forgotten, and how their ids are found: as values, and within texts."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

INSTEAD = "(forgotten)"
"""What stands where a text named a forgotten document."""
_DISTINCT = 8
"""Letters from which on an id is looked for within texts, and not only as a whole value."""
_SHOWN = 43
"""Letters of a longer id that a report shows."""


@dataclass(frozen=True)
class Targets:
    """The documents that are forgotten."""

    ids: frozenset[str]
    """In every spelling."""
    keys: frozenset[str] = field(default_factory=frozenset)
    """Of their files in production."""

    @cached_property
    def mentions(self) -> re.Pattern[str]:
        """An id within a text. A short one only in quotes, since `12` may be anything."""
        long = [one for one in self._longest_first() if len(one) >= _DISTINCT]
        short = [one for one in self._longest_first() if len(one) < _DISTINCT]
        ways = []
        if long:
            ways.append(rf"(?<![0-9A-Za-z_-])(?:{_any_of(long)})(?![0-9A-Za-z_-])")
        if short:
            ways.append(rf"(?<=['\"`])(?:{_any_of(short)})(?=['\"`])")
        return re.compile("|".join(ways) or r"(?!)")

    @cached_property
    def raw(self) -> re.Pattern[bytes]:
        """A long id, or a key of production, within any bytes."""
        found = [one for one in (*self._longest_first(), *sorted(self.keys)) if _is_distinct(one)]
        texts = "|".join(re.escape(one) for one in found)
        edged = rf"(?<![0-9A-Za-z_-])(?:{texts})(?![0-9A-Za-z_-])" if texts else r"(?!)"
        return re.compile(edged.encode())

    @cached_property
    def shown(self) -> re.Pattern[str]:
        """An id as an element of the report holds it, alone or within a longer text."""
        whole = "|".join(
            re.escape(html.escape(one, quote=True).replace("&#x27;", "&#39;"))
            for one in {*self.ids, *(f"{one[:_SHOWN]}…" for one in self.ids if len(one) > _SHOWN)}
        )
        return re.compile(rf">\s*(?:{whole})\s*<|(?:{self.mentions.pattern})")

    def without(self, text: str) -> str:
        """`text` without the ids in it."""
        return self.mentions.sub(INSTEAD, text)

    def _longest_first(self) -> list[str]:
        return sorted(self.ids, key=lambda one: (-len(one), one))


def _any_of(texts: Collection[str]) -> str:
    return "|".join(re.escape(one) for one in texts)


def _is_distinct(text: str) -> bool:
    return len(text) >= _DISTINCT
