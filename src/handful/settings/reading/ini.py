"""The lines of settings.ini: sections, keys and values, each with its place. No meaning yet.

The form is configparser's (comments on lines of their own, longer values on indented lines), read
by one scan of our own: configparser keeps no line numbers, stops at the first fault, and lets a
key that stands twice win silently. On a file without faults both read the same; a test holds that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from handful.errors import Fault, SettingsError

FILE = "settings.ini"
_MAKE_ONE = "`handful init NAME` makes an experiment with a settings.ini to fill in"


@dataclass(frozen=True)
class Entry:
    """One key as written."""

    section: str
    key: str
    text: str
    """The value, its lines joined by newlines; `${NAME}` not expanded."""
    where: str
    """`settings.ini:12 [train] EPOCHS` or `--set train.EPOCHS`."""
    line: int = 0
    """Its first line, from 1; 0 for an override."""
    last_line: int = 0
    continued: tuple[tuple[int, str], ...] = ()
    """The indented lines that follow, with their numbers."""


@dataclass
class Scan:
    """What the scan found."""

    entries: list[Entry] = field(default_factory=list)
    sections: dict[str, int] = field(default_factory=dict)
    """Section → the line of its header."""
    faults: list[tuple[int, Fault]] = field(default_factory=list)

    def fault(self, line: int, where: str, what: str, remedy: str = "") -> None:
        suffix = f" {where}" if where else ""
        self.faults.append((line, Fault(f"{FILE}:{line}{suffix}", what, remedy)))


def read_text(directory: Path) -> str:
    """The text of the settings.ini in `directory`; `SettingsError` if there is none to read."""
    path = directory / FILE
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        what = "there is no such file" if directory.is_dir() else "there is no such directory"
        where = path if directory.is_dir() else directory
        raise SettingsError([Fault(str(where), what, _MAKE_ONE)]) from None
    except NotADirectoryError:
        remedy = "give the directory of an experiment"
        raise SettingsError([Fault(str(directory), "is not a directory", remedy)]) from None
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text (byte {error.start})"
        raise SettingsError([Fault(str(path), what, "save it again as UTF-8")]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise SettingsError([Fault(str(path), what, "see who may read it")]) from None
    if "\0" in text:
        what = "holds NUL characters: it is not text"
        raise SettingsError([Fault(str(path), what, "save it again as UTF-8")])
    if not text.strip():
        raise SettingsError([Fault(str(path), "is empty", _MAKE_ONE)])
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a file; only line feeds part lines, as in any editor."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


_HEADER = re.compile(r"\[(?P<name>.*)\](?P<rest>[^\]]*)")


def scan(text: str) -> Scan:
    """Every entry of the file, and every fault of its form."""
    found = Scan()
    section: str | None = None
    block: list[tuple[int, str]] = []  # a key's line and those that continue it
    indent = 0
    for number, line in enumerate(lines_of(text), 1):
        bare = line.strip()
        if not bare and block:
            block.append((number, ""))
        if not bare or bare[0] in "#;":
            continue
        depth = len(line) - len(line.lstrip())
        if block and depth > indent:
            block.append((number, bare))
            continue
        _close(found, section, block)
        indent, block = depth, []
        if bare[0] == "[":
            section = _header(found, number, bare)
        elif "=" in bare and bare[0] != "=":
            block = [(number, bare)]
        else:
            _stray(found, number, section, bare)
    _close(found, section, block)
    return found


def _header(found: Scan, number: int, bare: str) -> str:
    match = _HEADER.fullmatch(bare)
    name = match["name"].strip() if match else ""
    if not match or not name or match["rest"].strip():
        remedy = "write [section]; a comment goes on a line of its own"
        found.fault(number, "", f"{bare!r} is no section header", remedy)
        name = name or bare
    if name in found.sections:
        first = found.sections[name]
        found.fault(number, f"[{name}]", f"the section began in line {first} already", "join them")
    found.sections.setdefault(name, number)
    return name


def _stray(found: Scan, number: int, section: str | None, bare: str) -> None:
    where = f"[{section}]" if section else ""
    word = re.match(r"([A-Za-z_]\w*)\s*(:)?", bare)
    if word and word[2]:
        what = "a `:` does not part a key from its value"
        found.fault(number, f"{where} {word[1]}".strip(), what, f"write {word[1]} = …")
        return
    what = "this line is neither `KEY = value` nor a [section]"
    found.fault(number, where, what, "indent it if it continues the value above it")


def _close(found: Scan, section: str | None, block: Sequence[tuple[int, str]]) -> None:
    """The entry of a finished block of lines."""
    while block and not block[-1][1]:
        block = block[:-1]
    if not block:
        return
    number, bare = block[0]
    key, _, first = bare.partition("=")
    key = key.strip()
    where = f"{FILE}:{number} [{section}] {key}" if section else f"{FILE}:{number} {key}"
    text = "\n".join([first.strip(), *(line for _, line in block[1:])]).strip()
    entry = Entry(
        section or "", key, text, where, number, block[-1][0], tuple(b for b in block[1:] if b[1])
    )
    before = [e for e in found.entries if (e.section, e.key) == (entry.section, key)]
    if before:
        what = f"the key stands in line {before[0].line} already"
        found.faults.append((number, Fault(where, what, "keep one of the two")))
    else:
        found.entries.append(entry)


def override(text: str) -> Entry | Fault:
    """The entry of one `--set section.KEY=value`, or what is wrong with its form."""
    name, equals, value = text.partition("=")
    name = name.strip()
    # In `tune.user.KEY` the section ends at the first dot; a model's name may hold dots itself.
    section, dot, key = name.partition(".") if name.startswith("tune.") else name.rpartition(".")
    if not (equals and dot and section and key):
        remedy = "write --set section.KEY=value, such as --set train.EPOCHS=2"
        return Fault(f"--set {name}", "is not of the form section.KEY=value", remedy)
    return Entry(section, key, value.strip(), f"--set {name}")
