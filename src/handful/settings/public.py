"""The settings.ini that is kept in the store: what ran, secrets left out."""

from __future__ import annotations

from pathlib import Path

from handful.errors import Fault
from handful.settings.ini import Entry, lines_of, override, read_text, scan
from handful.settings.secrets import HIDDEN, hide_passwords, is_secret, is_variable

BY_OVERRIDE = "# by --set:"
"""The line above a key that came from the command line."""


def public_text(directory: Path, overrides: tuple[str, ...] = ()) -> str:
    """The file as written, `${NAME}` not expanded, with the overrides put in their places.

    Passwords inside URLs, and the values of free keys whose name says that they are secret, are
    `***`. Raises `SettingsError` if the file cannot be read.
    """
    text = read_text(directory)
    found = scan(text)
    lines = lines_of(text.rstrip())
    there = {(entry.section, entry.key): entry for entry in found.entries}
    given = {(e.section, e.key): e for e in map(override, overrides) if not isinstance(e, Fault)}
    # New text by line: (first line, line after the last) → lines. Replaced from the bottom up, so
    # that the numbers of those still to come stay right.
    patches: dict[tuple[int, int], list[str]] = {}
    for place, entry in there.items():
        if place in given or is_secret(entry.section, entry.key):
            patches[entry.line - 1, entry.last_line] = _lines(
                given.get(place, entry), place in given
            )
    fresh: dict[str, list[str]] = {}
    for place, entry in given.items():
        if place not in there:
            fresh.setdefault(entry.section, []).extend(_lines(entry, True))
    for section, extra in fresh.items():
        if section in found.sections:
            patches[found.sections[section], found.sections[section]] = extra
        else:
            lines += ["", f"[{section}]", *extra]
    for (first, after), new in sorted(patches.items(), reverse=True):
        lines[first:after] = new
    return hide_passwords("\n".join(lines)) + "\n"


def _lines(entry: Entry, is_override: bool) -> list[str]:
    """`KEY = value` as lines of the file; an override says that it is one."""
    hidden = is_secret(entry.section, entry.key) and not is_variable(entry.text)
    text = HIDDEN if hidden else entry.text
    first, *more = text.split("\n")
    said = [BY_OVERRIDE] if is_override else []
    return [*said, f"{entry.key} = {first}".rstrip(), *(f"    {line}".rstrip() for line in more)]
