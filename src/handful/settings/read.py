"""settings.ini and `--set` → `Settings`; every fault of a file is told at once.

    lines → entries (ini) → values, key by key → checks between keys → sections

Every later stage works on what the earlier ones could read, so that one fault hides no other.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.errors import Fault, SettingsError
from handful.settings import checks, tuning
from handful.settings.declare import Key, keys_of, spellings
from handful.settings.ini import FILE, Entry, Scan, override, read_text, scan
from handful.settings.sections import SECTIONS, Settings
from handful.settings.secrets import hide_passwords, is_secret
from handful.settings.types import FrozenMap, Range, User
from handful.settings.values import Parser, Wrong, free

NOT_FOR_ONE_MODEL = frozenset({"MODEL_NAMES", "SEEDS", "METRIC", "METRIC_GOAL"})
"""Models are compared by one metric over the same seeds, so `[train:<model>]` cannot set these."""

_VARIABLE = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = {
    "scalar": re.compile(r"(?:^|\s)[#;]"),
    "text": re.compile(r"(?:^|\s)[#;]"),
    "list": re.compile(r"\s[#;](?:\s|$)"),
}


@dataclass
class Reading:
    """What has been read so far."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Section (`train:<model>` too) → key → value. A key with a fault is not in it."""
    places: dict[tuple[str, str], Entry] = field(default_factory=dict)
    """(section, key) → where it was set, with a fault or without."""
    ranges: list[Range] = field(default_factory=list)
    as_written: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[int, Fault]] = field(default_factory=list)

    def fault(self, entry: Entry, what: str, remedy: str = "") -> None:
        self.faults.append((entry.order, Fault(entry.where, what, remedy)))


def read_settings(directory: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """The settings of the experiment in `directory`.

    `overrides` are the `--set section.KEY=value` of the command line; the last one of a key wins.
    Raises `SettingsError` with all faults, from the top of the file down.
    """
    directory = Path(directory).absolute()
    found = scan(read_text(directory))
    reading = Reading(faults=list(found.faults))
    entries = {(entry.section, entry.key): entry for entry in found.entries}
    for text in overrides:
        entry = override(text)
        if isinstance(entry, Fault):
            reading.faults.append((1_000_000_000, entry))
        else:
            entries[_spelt(entry)] = entry
    _unknown_sections(reading, found)
    for entry in entries.values():
        _read(reading, entry, found)
    checks.check(reading, directory)
    if reading.faults:
        reading.faults.sort(key=lambda pair: pair[0])
        raise SettingsError([fault for _, fault in reading.faults])
    return _settings(reading)


def _spelt(entry: Entry) -> tuple[str, str]:
    """Under its own name, so that an override by another spelling replaces the file's line."""
    keys = _keys(entry.section)
    return entry.section, keys[entry.key].name if entry.key in keys else entry.key


# --- one entry -----------------------------------------------------------------------------------


def _keys(section: str) -> dict[str, Key]:
    """Every spelling of the keys of a section; nothing for an unknown one."""
    kind = SECTIONS.get("train" if section.startswith("train:") else section)
    return spellings(keys_of(kind).values()) if kind else {}


def _read(reading: Reading, entry: Entry, found: Scan) -> None:
    if entry.key.upper() == "S3_PARENT_DIR":
        remedy = "write STORE = s3://bucket/prefix and NAME = … in [experiment]"
        reading.fault(entry, "is the original's word for what STORE and NAME say now", remedy)
    elif entry.section == "user":
        _read_user(reading, entry)
    elif entry.section not in SECTIONS and not entry.section.startswith("train:"):
        if not entry.section or not entry.line:
            _nowhere(reading, entry)  # the section itself has been told for all others
    elif entry.section == "tune" and entry.key not in _keys("tune"):
        _read_range(reading, entry)
    elif entry.key not in _keys(entry.section):
        _unknown_key(reading, entry)
    else:
        _read_key(reading, entry, _keys(entry.section)[entry.key])


def _read_key(reading: Reading, entry: Entry, key: Key) -> None:
    place = (entry.section, key.name)
    if place in reading.places:
        what = f"means the same as {reading.places[place].key}, which is set too"
        reading.fault(entry, what, "keep one of the two")
        return
    reading.places[place] = entry
    if entry.section.startswith("train:") and key.name in NOT_FOR_ONE_MODEL:
        reading.fault(entry, "is the same for all models", "set it in [train]")
        return
    _swallowed(reading, entry, key)
    if not entry.text and key.parser.kind in ("scalar", "text", "free"):
        _empty(reading, entry, key)
        return
    ok, value = _value(reading, entry, key.parser)
    if ok and key.works is not None and value not in key.works:
        built = " or ".join(_as_text(works) for works in key.works)
        what = (
            f"{_shown(entry)} is known but not built yet"
            if len(key.works) > 1 or (key.built)
            else "is known but not built yet"
        )
        reading.fault(entry, what, f"remove the line, or leave it at {built}")
    elif ok:
        reading.values.setdefault(entry.section, {})[key.name] = value


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value in (None, (), {}) else f"{value}"


def _empty(reading: Reading, entry: Entry, key: Key) -> None:
    """Nothing after the `=`: unset, for keys that may be; else a fault."""
    if not key.required and key.default is None:
        return
    default = f", or remove the line (its default is {key.default})" if key.default else ""
    reading.fault(entry, "has no value", f"give it one{default}")


def _swallowed(reading: Reading, entry: Entry, key: Key) -> None:
    """An indented `KEY = …` would silently become a part of the value above it."""
    if key.parser.kind == "mapping":
        return
    for number, line in entry.continued:
        name = line.partition("=")[0].strip()
        if "=" in line and name in _keys(entry.section):
            where = f"{FILE}:{number} [{entry.section}] {name}"
            what = f"is indented, so it is read as a part of {entry.key}"
            reading.faults.append((number, Fault(where, what, "begin it at the left margin")))


def _value(reading: Reading, entry: Entry, parser: Parser) -> tuple[bool, Any]:
    """(True, the value), or (False, None) after a fault."""
    comment = _COMMENT.get(parser.kind)
    if comment and comment.search(entry.text):
        remedy = "a comment needs a line of its own, beginning with `#` or `;`"
        reading.fault(entry, f"{_shown(entry)} holds a comment after the value", remedy)
        return False, None
    try:
        return True, parser.parse(_expanded(entry.text))
    except Wrong as wrong:
        reading.fault(entry, wrong.what.replace("{}", _shown(entry, wrong.piece), 1), wrong.remedy)
        return False, None


def _expanded(text: str) -> str:
    """`${NAME}` from the environment; `$${` is a literal `${`. `Wrong` names what is not set."""

    def variable(match: re.Match[str]) -> str:
        escaped, name, end = match.groups()
        if escaped:
            return match[0][1:]
        if not end or not _NAME.fullmatch(name):
            raise Wrong("{} holds a `${` without a `NAME}`", remedy="write $${ for a literal ${")
        if name not in os.environ:
            what = f"the environment variable {name} is not set"
            raise Wrong(what, remedy=f"export {name}=…, or write $${{ for a literal ${{")
        return os.environ[name]

    return _VARIABLE.sub(variable, text)


def _shown(entry: Entry, piece: str | None = None) -> str:
    """The value as written, or its wrong piece: nothing from the environment, no password."""
    if is_secret(entry.key):
        return "the value"
    # A piece of an expanded value may have come from the environment.
    text = piece if piece is not None and "${" not in entry.text else entry.text
    return repr(hide_passwords(text))


# --- keys without a declaration ------------------------------------------------------------------


def _read_user(reading: Reading, entry: Entry) -> None:
    reading.places["user", entry.key] = entry
    if not entry.key.isidentifier() or entry.key.startswith("_") or entry.key == "values":
        remedy = "use letters, digits and `_`, beginning with a letter (`values` is taken)"
        reading.fault(entry, f"{entry.key!r} cannot be read as settings.user.KEY", remedy)
        return
    before = re.split(r"\s[#;]", entry.text, maxsplit=1)
    if len(before) > 1 and not isinstance(free.parse(before[0].strip()), str):
        remedy = "a comment needs a line of its own, beginning with `#` or `;`"
        reading.fault(entry, f"{_shown(entry)} holds a comment after the value", remedy)
        return
    ok, value = _value(reading, entry, free)
    if ok:
        reading.values.setdefault("user", {})[entry.key] = value
        if "${" in entry.text:
            reading.as_written[f"[user] {entry.key}"] = entry.text


def _read_range(reading: Reading, entry: Entry) -> None:
    known = tuning.tunable_keys()
    name = entry.key.removeprefix("user.")
    if entry.key not in known and not (entry.key.startswith("user.") and name.isidentifier()):
        if entry.key in tuning.NOT_TUNABLE:
            reading.fault(entry, "cannot be tuned", "set it in [train]")
        else:
            remedy = nearest(entry.key, [*known, *_keys("tune")])
            reading.fault(entry, "is no key of [train], nor user.KEY", remedy)
        return
    reading.places["tune", entry.key] = entry
    parser = Parser(lambda text: tuning.parse_range(entry.key, text), "", "scalar")
    ok, value = _value(reading, entry, parser)
    if ok:
        reading.ranges.append(value)
        reading.fault(entry, "tuning is known but not built yet", "remove the line")


def _unknown_key(reading: Reading, entry: Entry) -> None:
    homes = [name for name in SECTIONS if entry.key in _keys(name)]
    if homes:
        sections = " and ".join(f"[{name}]" for name in homes)
        reading.fault(entry, f"is no key of [{entry.section}]", f"it belongs to {sections}")
        return
    remedy = nearest(entry.key, list(_keys(entry.section)))
    reading.fault(entry, f"is no key of [{entry.section}]", remedy)


def _nowhere(reading: Reading, entry: Entry) -> None:
    """A key before the first section, or an override of an unknown section."""
    homes = " or ".join(f"[{name}]" for name in SECTIONS if entry.key in _keys(name))
    if entry.section:
        reading.fault(entry, f"there is no section [{entry.section}]", _near_section(entry.section))
    else:
        reading.fault(entry, "stands before the first [section]", f"move it to {homes or '[user]'}")


def _unknown_sections(reading: Reading, found: Scan) -> None:
    for name, line in found.sections.items():
        model = name.removeprefix("train:")
        if name in SECTIONS or name == "user" or (name.startswith("train:") and model):
            continue
        what, remedy = "there is no such section", _near_section(name)
        if name == "DEFAULT":
            remedy = "no section has defaults for the others: move its keys to where they belong"
        reading.faults.append((line, Fault(f"{FILE}:{line} [{name}]", what, remedy)))


def _near_section(name: str) -> str:
    return nearest(name, [*SECTIONS, "user", "train:<model>"], "sections")


def nearest(word: str, known: Iterable[str], what: str = "keys") -> str:
    """A remedy that names the nearest known word, in whatever case it was written."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_lower[near[0]]}?"
    return f"`handful settings` shows the known {what}"


# --- the end of it -------------------------------------------------------------------------------


def _settings(reading: Reading) -> Settings:
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        given = reading.values.get(name, {})
        values = {
            key: given[key] if key in given else declared.default_value()
            for key, declared in keys_of(kind).items()
        }
        if name == "tune":
            values["ranges"] = tuple(reading.ranges)
        sections[name] = kind(**values)
    for_models: Mapping[str, Mapping[str, Any]] = {
        name.removeprefix("train:"): FrozenMap(values)
        for name, values in reading.values.items()
        if name.startswith("train:")
    }
    return Settings(
        **sections,
        user=User(FrozenMap(reading.values.get("user", {}))),
        for_models=FrozenMap(for_models),
        as_written=FrozenMap(reading.as_written),
    )
