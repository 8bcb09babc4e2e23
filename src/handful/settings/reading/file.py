"""settings.ini and `--set` → `Settings`; every fault of a file is told at once.

    lines → entries (ini) → values, key by key (here) → between keys (checks) → sections

Every later stage works on what the earlier ones could read, so that one fault hides no other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handful.errors import Fault, SettingsError
from handful.settings import checks
from handful.settings.declare import Key, keys_of
from handful.settings.reading import unknown
from handful.settings.reading.ini import FILE, Entry, override, read_text, scan
from handful.settings.reading.state import OVERRIDES, Reading
from handful.settings.reading.unknown import section_key_spellings
from handful.settings.secrets import conceal_entry_secrets, secrets_of_entry, takes_secrets
from handful.settings.sections.all import SECTIONS, Settings
from handful.settings.sections.free import read_range, read_user
from handful.settings.values.types import FrozenMap, User

NOT_FOR_ONE_MODEL = frozenset({"MODEL_NAMES", "SEEDS", "METRIC", "METRIC_GOAL"})
"""Models are compared by one metric over the same seeds, so `[train:<model>]` cannot set these."""


def read_settings(directory: Path, overrides: tuple[str, ...] = ()) -> Settings:
    """The settings of the experiment in `directory`.

    `overrides` are the `--set section.KEY=value` of the command line; the last one of a key wins.
    Raises `SettingsError` with all faults, from the top of the file down.
    """
    directory = Path(directory).absolute()
    found = scan(read_text(directory))
    reading = Reading(found.sections, list(found.faults))
    unknown.check_sections(reading)
    for entry in _overridden(reading, found.entries, overrides):
        _read_settings_entry(reading, entry)
    checks.check(reading, directory)
    if reading.faults:
        reading.faults.sort(key=lambda pair: pair[0])
        raise SettingsError([fault for _, fault in reading.faults])
    return _settings(reading)


def _overridden(
    reading: Reading, entries: Sequence[Entry], overrides: Sequence[str]
) -> list[Entry]:
    """The file's entries, but for those that an override replaces, and the overrides."""
    given: dict[tuple[str, str], Entry] = {}
    for text in overrides:
        entry = override(text)
        if isinstance(entry, Fault):
            reading.faults.append((OVERRIDES, _with_section(entry, text)))
        else:
            given[_canonical_entry_key(entry)] = entry
    return [
        *(entry for entry in entries if _canonical_entry_key(entry) not in given),
        *given.values(),
    ]


def _canonical_entry_key(entry: Entry) -> tuple[str, str]:
    """Section and key, whichever way the key was spelt."""
    keys = section_key_spellings(entry.section)
    return entry.section, keys[entry.key].name if entry.key in keys else entry.key


def _with_section(fault: Fault, text: str) -> Fault:
    """`--set EPOCHS=2`: say where that key belongs."""
    name = text.partition("=")[0].strip()
    homes = unknown.homes(name)
    remedy = f"write --set {homes[0]}.{name}=value" if homes else fault.remedy
    return Fault(fault.where, fault.what, remedy)


def _read_settings_entry(reading: Reading, entry: Entry) -> None:
    if entry.key.upper() == "S3_PARENT_DIR":
        remedy = "write STORE = s3://bucket/prefix and NAME = … in [experiment]"
        reading.fault(entry, "is no key here: STORE and NAME say where an experiment lies", remedy)
    elif entry.section == "user":
        read_user(reading, entry)
    elif not unknown.is_section(entry.section):
        unknown.nowhere(reading, entry)
    elif entry.key in section_key_spellings(entry.section):
        _read_key(reading, entry, section_key_spellings(entry.section)[entry.key])
    elif entry.section == "tune":
        read_range(reading, entry)
    else:
        unknown.unknown_key(reading, entry)


def _read_key(reading: Reading, entry: Entry, key: Key) -> None:
    other = reading.places.get((entry.section, key.name))
    if other:
        what = f"means the same as {other.key}, which is set too"
        reading.fault(entry, what, "keep one of the two")
        return
    reading.places[entry.section, key.name] = entry
    _check_indented_lines(reading, entry, key)
    if entry.section.startswith("train:") and key.name in NOT_FOR_ONE_MODEL:
        reading.fault(entry, "is the same for all models", "set it in [train]")
    elif not entry.text and key.parser.kind not in ("list", "mapping"):
        _empty(reading, entry, key)
    else:
        fine, value = reading.value(entry, key.parser)
        if fine:
            reading.of(entry.section)[key.name] = value


def _empty(reading: Reading, entry: Entry, key: Key) -> None:
    """Nothing after the `=`: unset, for keys that may be; else a fault."""
    if key.required or key.default is not None:
        default = f", or remove the line (its default is {key.default})" if key.default else ""
        reading.fault(entry, "has no value", f"give it one{default}")


def _check_indented_lines(reading: Reading, entry: Entry, key: Key) -> None:
    """An indented `KEY = …` or `[section]` would silently become a part of the value above it."""
    if key.parser.kind == "mapping":
        return
    for number, line in entry.continued:
        name = line.partition("=")[0].strip()
        header = line.startswith("[") and unknown.is_section(line.strip("[]"))
        if header or ("=" in line and name in section_key_spellings(entry.section)):
            where = f"{FILE}:{number} [{entry.section}] {name}"
            what = f"is indented, so it is read as a part of {entry.key}"
            reading.faults.append((number, Fault(where, what, "begin it at the left margin")))


def _settings(reading: Reading) -> Settings:
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        given = reading.of(name)
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
    hidden, secrets = _secrets(reading)
    return Settings(
        **sections,
        user=User(FrozenMap(reading.of("user"))),
        for_models=FrozenMap(for_models),
        as_written=FrozenMap(reading.as_written),
        concealed=FrozenMap(hidden),
        secrets=frozenset(secrets),
    )


def _secrets(reading: Reading) -> tuple[dict[str, str], set[str]]:
    """How each value that holds a secret is shown, and what to blot out of other words."""
    public = frozenset(reading.of("experiment").get("PUBLIC_VARIABLES", ()))
    hidden, secrets = {}, set[str]()
    for (section, key), entry in reading.places.items():
        # What [tune] chooses stands in its tables, whatever it is called.
        if not takes_secrets(section, key) or ("tune", f"{section}.{key}") in reading.places:
            continue
        told = conceal_entry_secrets(section, key, entry.text, public, os.environ)
        if told is not None:
            hidden[f"[{section}] {key}"] = told
            value = reading.of(section).get(key, "")
            secrets |= secrets_of_entry(section, key, entry.text, value, public, os.environ)
    return hidden, secrets
