"""The settings as builds before PUBLIC_VARIABLES sent them: to know a job of theirs again.

A job that is under way is followed if its content is that of now. It is known by its hash alone, so
what those builds packed is made once more, compared, and thrown away: it may hold secrets, and is
never sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from handful.errors import Fault
from handful.errors.redaction import HIDDEN
from handful.settings.reading.ini import Entry, lines_of, override, read_text, scan
from handful.settings.secrets import DATABASE, as_counted, is_variable, never_counts
from handful.settings.travel import STAYS, VARIABLE, list_travel_overrides, with_model_names


def text_before(directory: Path, overrides: tuple[str, ...], models: Mapping[str, str]) -> str:
    """What `travelling_text` gave. `SettingsError` if the settings have faults."""
    text = _public_before(
        directory, (*overrides, *list_travel_overrides(directory, overrides, models))
    )
    lines = lines_of(text.rstrip())
    for entry in sorted(scan(text).entries, key=lambda one: -one.line):
        span = slice(entry.line - 1, entry.last_line)
        if entry.section == "sagemaker" or (entry.section, entry.key) in STAYS:
            del lines[span]
        else:
            lines[span] = [_expand_variables_before(line, entry) for line in lines[span]]
    return with_model_names(lines, models, directory)


def _is_secret(entry: Entry) -> bool:
    return entry.section == "user" and never_counts(entry.key)


def _public_before(directory: Path, overrides: tuple[str, ...]) -> str:
    text = read_text(directory)
    found = scan(text)
    lines = lines_of(text.rstrip())
    there = {(entry.section, entry.key): entry for entry in found.entries}
    given = {(e.section, e.key): e for e in map(override, overrides) if not isinstance(e, Fault)}
    patches: dict[tuple[int, int], list[str]] = {}
    for place, entry in there.items():
        if place in given or _is_secret(entry):
            new = _lines_before(given.get(place, entry), place in given)
            patches[entry.line - 1, entry.last_line] = new
    fresh: dict[str, list[str]] = {}
    for place, entry in given.items():
        if place not in there:
            fresh.setdefault(entry.section, []).extend(_lines_before(entry, True))
    for section, extra in fresh.items():
        if section in found.sections:
            patches[found.sections[section], found.sections[section]] = extra
        else:
            lines += ["", f"[{section}]", *extra]
    for (first, after), new in sorted(patches.items(), reverse=True):
        lines[first:after] = new
    return as_counted("\n".join(lines)) + "\n"


def _lines_before(entry: Entry, is_override: bool) -> list[str]:
    text = HIDDEN if _is_secret(entry) and not is_variable(entry.text) else entry.text
    first, *more = text.split("\n")
    said = ["# by --set:"] if is_override else []
    return [*said, f"{entry.key} = {first}".rstrip(), *(f"    {line}".rstrip() for line in more)]


def _expand_variables_before(line: str, entry: Entry) -> str:
    if (entry.section, entry.key) == DATABASE or _is_secret(entry):
        return line

    def variable(match: re.Match[str]) -> str:
        value = os.environ.get(match[1], match[0])
        is_plain = "\n" not in value and as_counted(value) == value
        return value.replace("${", "$${") if is_plain and value != match[0] else match[0]

    full = VARIABLE.sub(variable, line)
    return full if as_counted(full) == full else line
