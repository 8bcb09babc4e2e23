"""Sections and keys that nobody knows: where they belong, or the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from handful.errors import Fault
from handful.settings.declare import Key, spellings_of
from handful.settings.reading.ini import FILE, Entry
from handful.settings.reading.state import Reading
from handful.settings.sections.all import SECTIONS


def section_key_spellings(section: str) -> Mapping[str, Key]:
    """Every spelling of the keys of a section; nothing for an unknown one."""
    kind = SECTIONS.get("train" if section.startswith("train:") else section)
    return spellings_of(kind) if kind else {}


def homes(key: str) -> list[str]:
    """The sections that have a key of this name."""
    return [name for name in SECTIONS if key in section_key_spellings(name)]


def is_section(name: str) -> bool:
    """Is there such a section? `train:<model>` is one, whichever the model."""
    return name in SECTIONS or name == "user" or (name.startswith("train:") and len(name) > 6)


def check_sections(reading: Reading) -> None:
    """A fault for each unknown section; its keys are passed over."""
    for name, line in reading.sections.items():
        if is_section(name):
            continue
        remedy = _near_section(name)
        if name == "DEFAULT":
            remedy = "no section has defaults for the others: move its keys to where they belong"
        where = f"{FILE}:{line} [{name}]"
        reading.faults.append((line, Fault(where, "there is no such section", remedy)))


def nowhere(reading: Reading, entry: Entry) -> None:
    """A key of no section that is known."""
    if entry.section and not entry.line:
        what = f"there is no section [{entry.section}]"
        reading.fault(entry, what, _near_section(entry.section))
    elif not entry.section:
        places = " or ".join(f"[{name}]" for name in homes(entry.key)) or "its section"
        reading.fault(entry, "stands before the first [section]", f"move it to {places}")


def unknown_key(reading: Reading, entry: Entry) -> None:
    """A key that its section does not have."""
    what = f"is no key of [{entry.section}]"
    elsewhere = homes(entry.key)
    if elsewhere:
        places = " and ".join(f"[{name}]" for name in elsewhere)
        reading.fault(entry, what, f"it belongs to {places}")
        return
    remedy = nearest(entry.key, section_key_spellings(entry.section))
    if not remedy:
        others = [f"{key} of [{name}]" for name in SECTIONS for key in section_key_spellings(name)]
        near = nearest(entry.key, {one.partition(" ")[0] for one in others}, 0.75)
        found = [one for one in others if _format_name_suggestion(one.partition(" ")[0]) == near]
        remedy = (
            _format_name_suggestion(" or ".join(found))
            if found
            else "`handful settings` shows every key"
        )
    reading.fault(entry, what, remedy)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """ "did you mean …?" with the nearest known word, in whatever case; "" if none is near."""
    import difflib  # only an error needs it

    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=cutoff)
    return _format_name_suggestion(by_lower[near[0]]) if near else ""


def _format_name_suggestion(word: str) -> str:
    return f"did you mean {word}?"


def _near_section(name: str) -> str:
    known = [*SECTIONS, "user", "train:<model>"]
    return nearest(name, known) or f"they are {', '.join(known)}"
