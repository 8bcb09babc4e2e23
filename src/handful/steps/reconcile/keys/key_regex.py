"""Regular expressions (of Rust's kind) of key patterns and their parts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from handful.settings.values.key_patterns import Kind, Part

_PLAIN_KEY_REGEX = re.compile(r"(?:[A-Za-z0-9_/ -](?![?*+{]))*")
_FLAGS = re.compile(r"\(\?[a-zA-Z]*x")


def literal(text: str) -> str:
    """A regular expression (of Rust's kind) that fits exactly `text`."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


def group(part: Part) -> str:
    """The name of a part's group: names of the user's cannot clash."""
    return f"p{part.at}"


def regex_of(parts: Sequence[Part]) -> str:
    """An expression that fits whole texts; each part that has a name is a group."""
    pieces = [_build_key_regex_piece(parts, at) for at in range(len(parts))]
    return f"^(?s:{''.join(pieces)})$"


def _build_key_regex_piece(parts: Sequence[Part], at: int) -> str:
    part = parts[at]
    match part.kind:
        case Kind.LITERAL:
            return literal(part.text)
        case Kind.FILE:
            return f"(?<{group(part)}>.+)"
        case Kind.FOLDERS:
            return "(?:.*/)?" if part.text else ".+"
        case Kind.STAR:
            return "[^/]+?" if _is_segment(parts, at) else "[^/]*?"
        case _:
            return f"(?<{group(part)}>[^/]+?)"


def _is_segment(parts: Sequence[Part], at: int) -> bool:
    """Is the part a whole segment?"""
    begins = not at or parts[at - 1].text.endswith("/")
    return begins and (at + 1 == len(parts) or parts[at + 1].text.startswith("/"))


def find_key_regex_prefix(regex: str) -> str:
    """What every text begins with that a user's expression fits, as far as that is plain to see."""
    if _FLAGS.search(regex) or _has_choice(regex):
        return ""
    found = _PLAIN_KEY_REGEX.match(regex.removeprefix("^"))
    return found[0] if found else ""


def _has_choice(regex: str) -> bool:
    """Is there a `|` outside all brackets?"""
    depth = at = 0
    while at < len(regex):
        letter = regex[at]
        at += 2 if letter == "\\" else 1
        if letter == "[":
            return "|" in regex  # sets have rules of their own: rather list too much
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and depth == 0:
            return True
    return False
