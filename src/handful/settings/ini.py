"""The INI file itself: sections and keys with their lines, and what is wrong with its form.

`configparser` reads the values; a scan of our own finds the lines, and the keys and sections that
stand there twice, so that all faults are told at once.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handful.errors import Fault, SettingsError

FILE = "settings.ini"
_SECTION = re.compile(r"^\[(?P<name>[^\]]*)\]")
_KEY = re.compile(r"^(?P<name>[^\s=#;\[][^=]*?)\s*=")
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[^}]*)\})")


@dataclass(frozen=True)
class Item:
    """One value as written, and where: `settings.ini:12 [train] EPOCHS`."""

    raw: str
    where: str


Sections = dict[str, dict[str, Item]]


def read_ini(directory: Path) -> tuple[Sections, list[Fault]]:
    """All sections of the experiment's settings.ini, and the faults of its form.

    Raises `SettingsError` when there is nothing that can be read at all.
    """
    path = directory / FILE
    text = _text(path)
    parser = configparser.ConfigParser(
        delimiters=("=",),
        comment_prefixes=("#", ";"),
        strict=False,
        interpolation=None,
        empty_lines_in_values=True,
        default_section="\0",
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys keep their case
    try:
        parser.read_string(text, source=FILE)
    except configparser.MissingSectionHeaderError as error:
        what = f"stands before the first [section]: {error.line.strip()}"
        raise SettingsError([Fault(f"{FILE}:{error.lineno}", what)]) from error
    except configparser.ParsingError as error:
        raise SettingsError(
            [
                Fault(f"{FILE}:{line}", f"neither `KEY = value` nor a section: {found}")
                for line, found in error.errors
            ]
        ) from error
    lines, faults = _scan(text)
    sections = {
        section: {
            key: Item(value.strip(), f"{FILE}:{lines.get((section, key), 0)} [{section}] {key}")
            for key, value in parser.items(section)
        }
        for section in parser.sections()
    }
    return sections, faults


def _text(path: Path) -> str:
    remedy = "`handful init NAME` makes an experiment with one"
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        what = "there is no such file" if path.parent.is_dir() else "there is no such directory"
        where = path if path.parent.is_dir() else path.parent
        raise SettingsError([Fault(str(where), what, remedy)]) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            [Fault(str(path), "it is not UTF-8 text", "save it as UTF-8")]
        ) from error
    except OSError as error:
        raise SettingsError([Fault(str(path), f"cannot be read: {error.strerror}")]) from error


def _scan(text: str) -> tuple[Mapping[tuple[str, str], int], list[Fault]]:
    """The line of every key, and what stands there twice."""
    lines: dict[tuple[str, str], int] = {}
    seen: dict[str, int] = {}
    faults: list[Fault] = []
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SECTION.match(line):
            section = match["name"]
            if section in seen:
                faults.append(_twice(f"[{section}]", number, seen[section]))
            seen.setdefault(section, number)
        elif match := _KEY.match(line):
            key = (section, match["name"].strip())
            if key in lines:
                faults.append(_twice(f"[{section}] {key[1]}", number, lines[key]))
            lines.setdefault(key, number)
    return lines, faults


def _twice(what: str, line: int, first: int) -> Fault:
    remedy = "keep one of the two"
    return Fault(f"{FILE}:{line} {what}", f"stands in line {first} already", remedy)


def expanded(raw: str) -> str:
    """`raw` with `${NAME}` taken from the environment, and `$$` as a dollar sign.

    Raises ValueError that names the variable, never its value.
    """

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        if name not in os.environ:
            raise ValueError(f"the environment variable {name} is not set")
        return os.environ[name]

    return _VARIABLE.sub(value, raw)
