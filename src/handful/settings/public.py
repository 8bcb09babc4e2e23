"""The settings.ini that is kept in the store: what ran, secrets left out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from handful.errors import Fault
from handful.errors.redaction import blotter
from handful.settings.reading.ini import Entry, lines_of, override, read_text, scan
from handful.settings.secrets import hide_urls, is_secret, never_counts, secrets_of_entry, shown

_COMMENT_LINE_PATTERN = re.compile(r"(\s*[#;]+\s*)(.*)")
_COMMENTED_OUT = re.compile(r"([A-Za-z_]\w*)(\s*=\s*)(.*)")

BY_OVERRIDE = "# by --set:"
"""The line above a key that came from the command line."""


def public_text(directory: Path, overrides: tuple[str, ...] = ()) -> str:
    """The file as written, `${NAME}` not expanded, with the overrides put in their places.

    What `handful.settings.secrets` counts as one is `***`, in comments too. Raises `SettingsError`
    if the file cannot be read.
    """
    return rewritten(directory, overrides, lambda one: shown(one.section, one.key, one.text))


def rewritten(directory: Path, overrides: tuple[str, ...], told: Callable[[Entry], str]) -> str:
    """The file with the overrides in their places, each value as `told` has it."""
    text = read_text(directory)
    found = scan(text)
    lines = lines_of(text.rstrip())
    there = {(entry.section, entry.key): entry for entry in found.entries}
    given = {(e.section, e.key): e for e in map(override, overrides) if not isinstance(e, Fault)}
    hide = _comments_hidden([*there.values(), *given.values()])
    lines = [hide(line) for line in lines]
    # New text by line: (first line, line after the last) → lines. Replaced from the bottom up, so
    # that the numbers of those still to come stay right.
    patches: dict[tuple[int, int], list[str]] = {}
    for place, entry in there.items():
        meant = given.get(place, entry)
        as_told = told(meant)
        changed = as_told != meant.text or (entry.section == "user" and never_counts(entry.key))
        if place in given or changed:
            patches[entry.line - 1, entry.last_line] = _lines(meant, as_told, place in given)
    fresh: dict[str, list[str]] = {}
    for place, entry in given.items():
        if place not in there:
            fresh.setdefault(entry.section, []).extend(_lines(entry, told(entry), True))
    for section, extra in fresh.items():
        if section in found.sections:
            patches[found.sections[section], found.sections[section]] = extra
        else:
            lines += ["", f"[{section}]", *extra]
    for (first, after), new in sorted(patches.items(), reverse=True):
        lines[first:after] = new
    return "\n".join(lines) + "\n"


def _lines(entry: Entry, text: str, is_override: bool) -> list[str]:
    """`KEY = value` as lines of the file; an override says that it is one."""
    first, *more = text.split("\n")
    said = [BY_OVERRIDE] if is_override else []
    return [*said, f"{entry.key} = {first}".rstrip(), *(f"    {line}".rstrip() for line in more)]


def _comments_hidden(entries: Iterable[Entry]) -> Callable[[str], str]:
    """A line, without secrets if it is a comment: an old password, a key that is commented out."""
    known: set[str] = set()
    for entry in entries:
        known |= secrets_of_entry(
            entry.section, entry.key, entry.text, entry.text, frozenset(), os.environ
        )
    blot = blotter(known)

    def hidden(line: str) -> str:
        comment = _COMMENT_LINE_PATTERN.fullmatch(line)
        if not comment:
            return line
        mark, words = comment.groups()
        key = _COMMENTED_OUT.fullmatch(words)
        if key and key[3] and is_secret("user", key[1], key[3]):
            return f"{mark}{key[1]}{key[2]}{shown('user', key[1], key[3].strip())}"
        return blot(mark + hide_urls(words))

    return hidden
