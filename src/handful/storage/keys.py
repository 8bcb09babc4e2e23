"""Checks every key before a store uses it: buckets and databases may hold hostile ones."""

from __future__ import annotations

import re

from handful.errors import StoreError

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_PLAIN_KEY = re.compile(f"{_PART}(?:/{_PART})*")
"""Keys that nobody need look at twice: most are, and hundreds of threads ask at once."""
_KEY_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
HIDDEN = ".handful-tmp"
"""The folder below a local root where files are written aside; no key may lead into it."""


def check_key(key: str, url: str) -> str:
    """`key` itself, if it names one object below the root `url`.

    `StoreError` for a key that is empty, absolute, climbs (`..`), has empty parts, ends in `/`,
    holds control characters (a line break, a NUL), or is not Unicode.
    """
    fault = key_fault(key)
    if fault:
        raise StoreError(
            f"the key {key!r} {fault}", where=url, remedy="no file of that name is read or written"
        )
    return key


def check_key_prefix(prefix: str, url: str) -> str:
    """`prefix` itself, if it can begin a key; it may end in `/` or in the middle of a name."""
    parts = prefix.split("/")
    whole, last = "/".join(parts[:-1]), parts[-1]
    if len(parts) > 1:
        check_key(whole, url)
    if last:
        check_key(last, url)
    return prefix


def folder(prefix: str, url: str) -> str:
    """What the keys below the folder `prefix` begin with: "" for the root, else `prefix/`."""
    return f"{check_key(prefix.removesuffix('/'), url)}/" if prefix else ""


def key_fault(key: str) -> str:
    """Why `key` names no object below a root; "" if it may."""
    if _PLAIN_KEY.fullmatch(key):
        return ""
    parts = key.split("/")
    if not key:
        return "is empty"
    if key.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "climbs out of its folder"
    if "." in parts or "" in parts:
        return "has a part that is empty or '.'"
    if _KEY_CONTROL_CHARACTERS.search(key):
        return "holds a control character"
    if parts[0] == HIDDEN:
        return f"lies in {HIDDEN}, which is not for keeping"
    return "" if _encodable(key) else "is not valid Unicode"


def _encodable(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
