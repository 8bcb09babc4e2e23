"""The texts at each place of the keys that may be the artifact ids, and how likely they are.

A place is a folder (counted from the front or from the end), the file's name without extensions, or
a part of one of these between separators; GUIDs and long numbers count wherever they stand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

GUID_TEXT = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(-?)[0-9A-Fa-f]{4}(?:\1[0-9A-Fa-f]{4}){2}\1[0-9A-Fa-f]{12}"
    r"(?![0-9A-Za-z])"
)
LONG_NUMBER = re.compile(r"(?<!\d)\d{5,}(?!\d)")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}$")
_DATE = re.compile(
    r"(?:19|20)\d\d(?:[-_.]?(?:0[1-9]|1[0-2])(?:[-_.]?(?:0[1-9]|[12]\d|3[01])"
    r"(?:[-_.T ]?(?:[01]\d|2[0-3])(?:[-_.:]?[0-5]\d){0,2}Z?)?)?)?"
    r"|(?:0?[1-9]|[12]\d|3[01])|(?:0[0-9]|1\d|2[0-3])|\d{1,2}-(?:19|20)\d\d"
    r"|[A-Za-z]+=(?:(?:19|20)\d\d|\d{1,2}|(?:19|20)\d\d-\d\d-\d\d)"
)
"""A day, a month, a year, an hour, a moment; `year=2024` too."""
_WHOLE_NAME = "the name with extensions"
_MOSTLY = 0.95
_LEAST_SHARE = 0.05
"""Of the keys: a place that fewer of them have is none."""
_FEW_TEXTS = 20
"""Different texts, of thousands: fewer are a kind, a customer or a language."""
_LEAST_DIFFERENT = 0.005
_FRONT, _BACK, _PARTS = 8, 4, 3


@dataclass(frozen=True)
class KeySlot:
    """A place of the keys, and what stands there."""

    place: str
    """For people."""
    texts: tuple[str | None, ...]
    """One for each key; None: it has no such place."""
    likelihood: float
    """That they are ids: 0 to 1."""

    @property
    def different(self) -> list[str]:
        """The different texts, as they come."""
        return list(dict.fromkeys(text for text in self.texts if text))


def find_key_slots(keys: Sequence[str]) -> list[KeySlot]:
    """The places, the likeliest first; dates, fixed words and what few keys have are left out."""
    columns: dict[str, list[str | None]] = {}
    for number, key in enumerate(keys):
        for place, text in _texts_of_key(key):
            columns.setdefault(place, [None] * len(keys))[number] = text
    found: dict[tuple[str | None, ...], KeySlot] = {}
    for place, texts in columns.items():
        slot = KeySlot(place, tuple(texts), _rate_slot(place, texts))
        if slot.likelihood > 0 and slot.texts not in found:
            found[slot.texts] = slot
    return sorted(found.values(), key=lambda slot: -slot.likelihood)


def is_few(different: int, keys: int) -> bool:
    """Are so many different texts, in so many keys, too few to be ids?"""
    return different < min(_FEW_TEXTS, max(2, _LEAST_DIFFERENT * keys))


def are_dates(texts: Sequence[str]) -> bool:
    """Are they plainly days, months, years or moments?"""
    dates = sum(bool(_DATE.fullmatch(text)) for text in texts)
    return dates >= _MOSTLY * len(texts)


def strip_extensions(name: str) -> str:
    """A file's name without its extensions (at most two)."""
    for _ in range(2):
        name = _EXTENSION.sub("", name) or name
    return name


def _texts_of_key(key: str) -> Iterator[tuple[str, str]]:
    """Each place of a key that may be an id, with its text."""
    *folders, name = key.split("/")
    for number, folder in enumerate(folders[:_FRONT], 1):
        yield f"folder {number}", folder
        yield from _found_in(folder, f"folder {number}")
    for number, folder in enumerate(folders[: -_BACK - 1 : -1], 1):
        place = "the last folder" if number == 1 else f"folder {number} from the end"
        yield place, folder
        if number <= _PARTS - 1:
            yield from _parts_of(folder, place)
    stem = strip_extensions(name)
    yield "the name without extensions", stem
    if stem != name:
        yield _WHOLE_NAME, name
    yield from _found_in(name, "the name")
    yield from _parts_of(stem, "the name")


def _found_in(text: str, place: str) -> Iterator[tuple[str, str]]:
    if guid := GUID_TEXT.search(text):
        yield f"the GUID in {place}", guid[0]
    elif numbers := LONG_NUMBER.findall(text):
        yield f"the first long number in {place}", numbers[0]
        yield f"the last long number in {place}", numbers[-1]


def _parts_of(text: str, place: str) -> Iterator[tuple[str, str]]:
    """What stands before, after and between separators."""
    for separator in "_." if GUID_TEXT.search(text) else "_-.":
        parts = text.split(separator)
        if len(parts) < 2 or len(parts) > 16:
            continue
        yield f"{place} before the first {separator}", parts[0]
        yield f"{place} after the last {separator}", parts[-1]
        if len(parts) > 2:
            yield f"{place} before the last {separator}", separator.join(parts[:-1])
            yield f"{place} after the first {separator}", separator.join(parts[1:])
            yield f"{place} between the first and the last {separator}", separator.join(parts[1:-1])
        for number in range(2, min(_PARTS, len(parts) - 1) + 1):
            yield f"part {number} of {place} between {separator}", parts[number - 1]
            yield f"part {number} from the end of {place} between {separator}", parts[-number]


def _rate_slot(place: str, texts: Sequence[str | None]) -> float:
    """How likely the texts are ids; 0: they are none."""
    there = [text for text in texts if text]
    different = set(there)
    if len(there) < max(1, _LEAST_SHARE * len(texts)):
        return 0.0
    guids = sum(bool(GUID_TEXT.fullmatch(text)) for text in different) / len(different)
    if is_few(len(different), len(there)) and not (guids and len(different) == 1):
        return 0.0
    if guids < 1 and are_dates(list(different)):
        return 0.0
    many = min(1.0, len(different) / max(1, len(there) / 10))
    digits = sum(any(c.isdigit() for c in text) for text in different) / len(different)
    is_part = "before" in place or "after" in place or "between" in place
    share = len(there) / len(texts)
    tokens = sum(text.isalnum() for text in different) / len(different)
    rating = 0.5 * max(guids, 0.3 * tokens) + 0.2 * many + 0.1 * digits + 0.1 * share
    if place == _WHOLE_NAME:
        rating -= 0.2  # rather without them
    elif not is_part and not _begin_alike(different):
        rating += 0.2 if "folder" in place else 0.1
    return rating * (0.5 + 0.5 * share)


def _begin_alike(texts: set[str]) -> bool:
    """Is there a word before a separator that all of them begin with, which is no part of an id?"""
    same = os.path.commonprefix([*texts])  # noqa: RUF071 - of texts
    return bool(re.search(r"[A-Za-z][_\-.]", same))
