"""`~` and `~user` at the start of a path, as a shell reads them."""

from __future__ import annotations

import os
from pathlib import Path

from handful.errors import UserError

NOBODY = "begins at the home of a user whom this machine does not know"
REMEDY = "write the path out; a name that begins with ~ is written ./~…"


def from_home(place: str) -> str:
    """The path from the home that it begins at; as it is where that is nobody's."""
    return os.path.expanduser(place)  # noqa: PTH111 - pathlib raises RuntimeError for nobody's


def is_nobodys(place: str) -> bool:
    """Does it begin at the home of nobody?"""
    return from_home(place).startswith("~")


def at_home(place: str) -> Path:
    """The path, from the home that it begins at. `UserError` if there is none."""
    if is_nobodys(place):
        raise UserError(NOBODY, where=place, remedy=REMEDY)
    return Path(from_home(place))
