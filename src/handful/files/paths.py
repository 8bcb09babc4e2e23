"""Paths as people write them: `~` and `~user`, globs, and what no file can be named."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

from handful.errors import Fault, UserError

LONGEST_NAME, LONGEST_PATH = 255, 4_095
"""Bytes, on the file systems of today."""
NOBODY = "begins at the home of a user whom this machine does not know"
TOO_LONG = f"is longer than any path is ({LONGEST_NAME} bytes a name, {LONGEST_PATH:,} in all)"
_PATH_PREVIEW_LENGTH = 200
_NO_NAMES = frozenset(("", ".", ".."))


def from_home(place: str) -> str:
    """The path from the home that it begins at; as it is where that is nobody's."""
    return os.path.expanduser(place)  # noqa: PTH111 - pathlib raises RuntimeError for nobody's


def is_file(place: str | Path) -> bool:
    """Is a file there? No name is too odd to ask."""
    return os.path.isfile(place)  # noqa: PTH113 - pathlib raises OSError for some


def path_fault(place: str, seen_from: Path = Path("/")) -> Fault | None:
    """Why no file can be at `place`; None if one may be. The fault's `where` is left empty."""
    path = from_home(place)
    if path.startswith("~"):
        remedy = "write the path out; a name that begins with ~ is written ./~…"
        return Fault("", NOBODY, remedy)
    whole = _encode_path(os.path.normpath(seen_from / path))
    if len(whole) > LONGEST_PATH or max(map(len, whole.split(b"/"))) > LONGEST_NAME:
        return Fault("", TOO_LONG, "write the whole path, if a part is missing, or a shorter one")
    return None


def at_home(place: str, where: str = "") -> Path:
    """The path, from the home that it begins at. `UserError` if no file can be there."""
    if fault := path_fault(place):
        raise UserError(
            fault.what, where=where or place[:_PATH_PREVIEW_LENGTH], remedy=fault.remedy
        )
    return Path(from_home(place))


def leads_outside(name: str) -> bool:
    """Has it a part that is empty, `.` or `..`, so that it may lie outside of its folder?"""
    return not _NO_NAMES.isdisjoint(name.split("/"))


def is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def fits(pattern: str, name: str) -> bool:
    """Is `name` the file, or one of the files, that a name or a glob stands for?"""
    return fnmatchcase(name, pattern) if is_glob(pattern) else name == pattern


def _encode_path(path: str) -> bytes:
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogatepass")
