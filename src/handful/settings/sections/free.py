"""Keys without a declaration: those of `[user]`, and the ranges of `[tune]`."""

from __future__ import annotations

import re

from handful.settings.reading.ini import Entry
from handful.settings.reading.state import COMMENT_REMEDY, Reading, shown
from handful.settings.reading.unknown import nearest, section_key_spellings
from handful.settings.values.parse import Parser, free
from handful.settings.values.ranges import NOT_TUNABLE, parse_range, tunable_keys


def read_user(reading: Reading, entry: Entry) -> None:
    """A key of `[user]`."""
    reading.places["user", entry.key] = entry
    if not entry.key.isidentifier() or entry.key.startswith("_") or entry.key == "values":
        remedy = "use letters, digits and `_`, beginning with a letter (`values` is taken)"
        reading.fault(entry, f"{entry.key!r} cannot be read as settings.user.KEY", remedy)
        return
    # Free text may hold a `#`; a number with something behind a `#` was surely meant as a number.
    before = re.split(r"\s[#;]", entry.text, maxsplit=1)
    if len(before) > 1 and not isinstance(free.parse(before[0].strip()), str):
        reading.fault(entry, f"{shown(entry)} holds a comment after the value", COMMENT_REMEDY)
        return
    fine, value = reading.value(entry, free)
    if fine:
        reading.of("user")[entry.key] = value
        if "${" in entry.text:
            reading.as_written[f"[user] {entry.key}"] = entry.text


def read_range(reading: Reading, entry: Entry) -> None:
    """A range of `[tune]`."""
    known = tunable_keys()
    of_user = entry.key.startswith("user.") and entry.key.removeprefix("user.").isidentifier()
    if entry.key in NOT_TUNABLE:
        reading.fault(entry, "cannot be tuned", "set it in [train]")
    elif entry.key not in known and not of_user:
        remedy = nearest(entry.key, [*known, *section_key_spellings("tune")])
        what = "is neither a key of [train] nor user.KEY"
        reading.fault(entry, what, remedy or "`handful settings` shows every key")
    else:
        reading.places["tune", entry.key] = entry
        parser = Parser(lambda text: parse_range(entry.key, text), "", "scalar")
        fine, found = reading.value(entry, parser)
        if fine:
            reading.ranges.append(found)
