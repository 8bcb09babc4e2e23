"""Values of several parts: lists, mappings, and the shares of a split."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from handful.settings.values.parse import Parser, Wrong, as_number, whole
from handful.settings.values.types import FrozenMap

_LIST_ITEM_PATTERN = re.compile(r'\s*(?:"((?:[^"]|"")*)"\s*(?=[,\n]|$)|([^,\n]*))(?:[,\n]|$)')


def items(text: str) -> tuple[str, ...]:
    """A list by commas or lines; blanks inside a name are kept, `"a, b"` is one name."""
    found = []
    for match in _LIST_ITEM_PATTERN.finditer(text):
        item = match[2].strip() if match[1] is None else match[1].replace('""', '"')
        if item:
            found.append(item)
    return tuple(found)


def words_list(
    check: Callable[[str], object] | None = None,
    unit: str = "list",
    read: Callable[[str], str] | None = None,
) -> Parser:
    """A list of names, each at most once → tuple. `check` raises `Wrong` for a bad one.

    `read`: the one spelling of a name that may be written in several ways; it may raise, too.
    """

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(read(item) for item in items(text)) if read else items(text)
        for index, item in enumerate(found):
            if item in found[:index]:
                raise Wrong("{} is there twice", piece=item, remedy="name each only once")
            if check:
                check(item)
        return found

    return Parser(parse, unit, "list")


def or_auto(parser: Parser) -> Parser:
    """`parser`, where `auto` (or nothing) stands for None: it is found out."""

    def parse(text: str) -> Any:
        return None if text.lower() in ("", "auto") else parser.parse(text)

    return replace(parser, parse=parse, unit=f"auto | {parser.unit}")


def whole_list(low: int, high: int, unit: str) -> Parser:
    """A list of different whole numbers → tuple of int."""
    one = whole(low, high)

    def parse(text: str) -> tuple[int, ...]:
        found: list[int] = []
        for item in items(text):
            try:
                number = one.parse(item)
            except Wrong as wrong:
                raise Wrong(wrong.what, piece=item, remedy=wrong.remedy) from None
            if number in found:
                raise Wrong("{} is there twice", piece=item, remedy="name each only once")
            found.append(number)
        if not found:
            raise Wrong("the list is empty", remedy="name at least one")
        return tuple(found)

    return Parser(parse, unit, "list")


def mapping(separator: str = "=", unit: str = "old = new per line") -> Parser:
    """`old = new`, one per line → FrozenMap of str. Blanks around both are dropped."""

    def parse(text: str) -> FrozenMap[str]:
        pairs: dict[str, str] = {}
        for line in filter(None, (line.strip() for line in text.split("\n"))):
            # A name may hold a `=` of its own, as long as the one that counts stands apart.
            parts = (
                line.split(f" {separator} ") if f" {separator} " in line else line.split(separator)
            )
            if len(parts) != 2 or not all(part.strip() for part in parts):
                raise Wrong(
                    f"{{}} is not `old {separator} new`", piece=line, remedy="one on each line"
                )
            old, new = (part.strip() for part in parts)
            if pairs.setdefault(old, new) != new:
                raise Wrong("{} is given twice", piece=old, remedy="keep one of the two lines")
        return FrozenMap(pairs)

    return Parser(parse, unit, "mapping")


_LONGEST_SPLIT = 200
_SMALLEST_SHARE = 1e-6
"""Of all artifacts: one in a million."""


def _parse_split_shares(value: str) -> tuple[float, float, float]:
    expected = "three shares (train/validation/test) such as 0.8/0.1/0.1, 80/10/10 or 80%/10%/10%"
    if len(value) > _LONGEST_SPLIT:
        raise Wrong(f"{{}} has {len(value):,} characters", remedy=f"write {expected}")
    parts = [part.strip() for part in value.split("/")]
    percent = {part.endswith("%") for part in parts}
    numbers = [as_number(part.removesuffix("%").rstrip()) for part in parts]
    if len(parts) != 3 or len(percent) != 1 or None in numbers:
        raise Wrong(f"{{}} is not {expected}")
    train, validation, test = (number or 0.0 for number in numbers)
    total = train + validation + test
    whole_is = 100.0 if percent == {True} or total > 1.5 else 1.0
    if min(train, validation, test) < _SMALLEST_SHARE * total or total <= 0:
        raise Wrong(
            "{} leaves a split empty", remedy="give train, validation and test a share each"
        )
    if not math.isclose(total, whole_is, abs_tol=1e-9):
        raise Wrong(
            f"the shares of {{}} add up to {total:.12g}, not to {whole_is:.12g}",
            remedy=f"write {expected}",
        )
    return train / whole_is, validation / whole_is, test / whole_is


split = Parser(_parse_split_shares, "shares of train/validation/test")
