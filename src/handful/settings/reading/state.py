"""What has been read so far, and how one value is read: nothing secret gets into a fault."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

from handful.errors import Fault
from handful.errors.redaction import HIDDEN
from handful.settings.reading.ini import FILE, Entry
from handful.settings.secrets import hide_urls, is_left_out, is_secret
from handful.settings.values.parse import Parser, Wrong
from handful.settings.values.types import Range

OVERRIDES = 1_000_000_000
"""Where faults of overrides are told: after all lines of the file."""
ABSENCES = OVERRIDES - 1
"""Where faults of what is not in the file are told."""
COMMENT_REMEDY = "a comment needs a line of its own, beginning with `#` or `;`"

_VARIABLE = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_VARIABLE_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VALUE_COMMENT_PATTERNS = {
    "scalar": re.compile(r"(?:^|\s)[#;]"),
    "text": re.compile(r"(?:^|\s)[#;]"),
    "list": re.compile(r"\s[#;](?:\s|$)"),
}
_MAX_SHOWN_VALUE_CHARS = 100


@dataclass
class Reading:
    """Sections, keys and values, as far as they could be read, and all faults."""

    sections: dict[str, int]
    """Section → the line of its header."""
    faults: list[tuple[int, Fault]]
    """With the line by which they are ordered."""
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Section (`train:<model>` too) → key → value. A key with a fault is not in it."""
    places: dict[tuple[str, str], Entry] = field(default_factory=dict)
    """(section, key) → where it was set, with a fault or without."""
    ranges: list[Range] = field(default_factory=list)
    as_written: dict[str, str] = field(default_factory=dict)

    def fault(self, entry: Entry, what: str, remedy: str = "") -> None:
        self.faults.append((entry.line or OVERRIDES, Fault(entry.where, what, remedy)))

    def fault_of(self, section: str, key: str, what: str, remedy: str = "") -> None:
        """A fault of a key: at its line if it is set, else at its section."""
        entry = self.places.get((section, key))
        if entry:
            self.fault(entry, what, remedy)
        else:
            self.faults.append((ABSENCES, Fault(f"{FILE} [{section}] {key}", what, remedy)))

    def of(self, section: str) -> dict[str, Any]:
        """The values of a section."""
        return self.values.setdefault(section, {})

    def has_text(self, section: str, key: str) -> bool:
        """Was the key given a value, be it a faulty one?"""
        entry = self.places.get((section, key))
        return bool(entry and entry.text)

    def value(self, entry: Entry, parser: Parser) -> tuple[bool, Any]:
        """(True, the value of `entry`), or (False, None) after a fault."""
        comment = _VALUE_COMMENT_PATTERNS.get(parser.kind)
        if comment and comment.search(entry.text):
            self.fault(entry, f"{shown(entry)} holds a comment after the value", COMMENT_REMEDY)
            return False, None
        if is_left_out(entry.section, entry.key, entry.text):
            name = entry.key if _VARIABLE_NAME_PATTERN.fullmatch(entry.key) else "NAME"
            what = f"holds {HIDDEN}: this is a copy of settings.ini, and its secrets were left out"
            self.fault(entry, what, f"write {entry.key} = ${{{name}}}, and export {name}=…")
            return False, None
        try:
            return True, parser.parse(_expand_value_variables(entry.text))
        except Wrong as wrong:
            what = wrong.what.replace("{}", shown(entry, wrong.piece), 1)
            self.fault(entry, what, wrong.remedy)
            return False, None


def shown(entry: Entry, piece: str | None = None) -> str:
    """The value as written, or a piece of it: nothing from the environment, no password."""
    if is_secret(entry.section, entry.key, entry.text):
        return "the value"
    # A piece of an expanded value may have come from the environment.
    text = piece if piece is not None and "${" not in entry.text else entry.text
    text = hide_urls(text)
    return repr(
        text if len(text) <= _MAX_SHOWN_VALUE_CHARS else f"{text[:_MAX_SHOWN_VALUE_CHARS]}…"
    )


def _expand_value_variables(text: str) -> str:
    """`${NAME}` from the environment; `$${` is a literal `${`. `Wrong` names what is not set."""

    def variable(match: re.Match[str]) -> str:
        escaped, name, end = match.groups()
        if escaped:
            return match[0][1:]
        if not end or not _VARIABLE_NAME_PATTERN.fullmatch(name):
            raise Wrong("{} holds a `${` that is no `${NAME}`", remedy="write $${ for a literal ${")
        if name not in os.environ:
            what = f"the environment variable {name} is not set"
            raise Wrong(what, remedy=f"export {name}=…, or write $${{ for a literal ${{")
        return os.environ[name]

    return _VARIABLE.sub(variable, text).strip()
