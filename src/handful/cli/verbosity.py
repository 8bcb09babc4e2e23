"""How much a command tells (`--quiet`, `--verbose`, `HANDFUL_VERBOSITY`), and where it is shown."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from enum import IntEnum

from handful.errors import UserError

VERBOSITY_VARIABLE = "HANDFUL_VERBOSITY"
_NO_BUILD = {"", "0", "false", "no"}


class Verbosity(IntEnum):
    """From least to most."""

    QUIET = 0
    """Errors and the result only."""
    NORMAL = 1
    VERBOSE = 2
    """Also where time goes, and what is tried again."""


def choose_verbosity(quiet: bool, verbose: bool) -> Verbosity:
    """What the options say, else the environment; `UserError` where they contradict themselves."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose at once", remedy="say one of the two")
    if quiet or verbose:
        return Verbosity.QUIET if quiet else Verbosity.VERBOSE
    word = os.environ.get(VERBOSITY_VARIABLE, "").strip().upper() or Verbosity.NORMAL.name
    if word not in Verbosity.__members__:
        raise UserError(
            f"{os.environ[VERBOSITY_VARIABLE]!r} is no verbosity",
            where=f"the environment's {VERBOSITY_VARIABLE}",
            remedy="say quiet, normal or verbose",
        )
    return Verbosity[word]


def draws_bars() -> bool:
    """May standard output be drawn upon: is it a terminal that can, and no build's log?"""
    return (
        sys.stdout.isatty()
        and os.environ.get("TERM", "") not in {"dumb", "unknown"}
        and os.environ.get("CI", "").lower() in _NO_BUILD
    )


def fold(text: str, *, error: bool = False) -> str:
    """`text` as wide as the terminal it goes to, broken between words; as it is anywhere else."""
    stream = sys.stderr if error else sys.stdout
    if not stream.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns)
    return "\n".join(_fold_line(line, width) for line in text.split("\n"))


def _fold_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = " " * min(width // 2, len(line) - len(line.lstrip()) + 2)
    return "\n".join(
        textwrap.wrap(
            line,
            width,
            subsequent_indent=indent,
            drop_whitespace=True,
            break_on_hyphens=False,
            break_long_words=False,
            replace_whitespace=False,
        )
    )
