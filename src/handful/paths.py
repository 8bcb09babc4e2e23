"""Paths of this machine, as people write them: `~` and `~user`, and what no file can be named."""

from __future__ import annotations

import os
from pathlib import Path

from handful.errors import UserError

LONGEST_NAME, LONGEST_PATH = 255, 4_095
"""Bytes, on the file systems of today."""
NOBODY = "begins at the home of a user whom this machine does not know"
TOO_LONG = f"is longer than any path is ({LONGEST_NAME} bytes a name, {LONGEST_PATH:,} in all)"
REMEDY = "write the path out; a name that begins with ~ is written ./~…"


def from_home(place: str) -> str:
    """The path from the home that it begins at; as it is where that is nobody's."""
    return os.path.expanduser(place)  # noqa: PTH111 - pathlib raises RuntimeError for nobody's


def path_fault(place: str) -> str:
    """Why no file can be there; else ""."""
    if from_home(place).startswith("~"):
        return NOBODY
    whole = place.encode("utf-8", "surrogatepass")
    is_long = len(whole) > LONGEST_PATH or max(map(len, whole.split(b"/"))) > LONGEST_NAME
    return TOO_LONG if is_long else ""


def at_home(place: str) -> Path:
    """The path, from the home that it begins at. `UserError` if no file can be there."""
    if what := path_fault(place):
        raise UserError(what, where=place[:LONGEST_NAME], remedy=REMEDY)
    return Path(from_home(place))
