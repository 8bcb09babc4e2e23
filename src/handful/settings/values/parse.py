"""Text of a settings file → values, as a person means them.

A parser raises `Wrong`, whose words never hold the value itself: it may have come from an
environment variable. The reader puts in what the user wrote.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from handful.settings.values.types import Limit, Steps


class Wrong(Exception):
    """A value that cannot be read. `what` says why, with `{}` where the value is to be shown."""

    def __init__(self, what: str, *, piece: str | None = None, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.piece = piece
        """The part of the value that is wrong, if not all of it."""
        self.remedy = remedy


@dataclass(frozen=True)
class Parser:
    """How the text of one key is read."""

    parse: Callable[[str], Any]
    unit: str = ""
    """What a person writes there: "number", "duration", "a | b", …"""
    kind: str = "scalar"
    """scalar | text | list | mapping: what an in-line comment could be mistaken for."""
    range: str = ""
    """From where to where: "1 to 100,000"; empty where nobody comes near an end."""
    nothing: str = "none"
    """How None is written."""


_NUMBER_TEXT_PATTERN = re.compile(
    r"[+-]?(?:(?:\d{1,3}(?: \d{3})+|\d+(?:_\d+)*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII
)
_MOST_CHARACTERS = 60
"""Of a number that anybody means; reading thousands of digits would take seconds."""
_COMMA_NUMBER = re.compile(r"[+-]?\d+(?:,\d+)+", re.ASCII)


def as_number(text: str) -> float | None:
    """A finite number, or None: `2e-5`, `10_000`, `10 000`, `.5`."""
    if len(text) > sys.float_info.max_10_exp or not _NUMBER_TEXT_PATTERN.fullmatch(text):
        return None
    number = float(text.replace("_", "").replace(" ", ""))
    return number if math.isfinite(number) else None


def _refuse_long(text: str, expected: str) -> None:
    """`Wrong` for hundreds of digits, before anything is made of them."""
    if len(text) > _MOST_CHARACTERS:
        raise Wrong(
            f"{{}} has {len(text):,} characters", remedy=f"write {expected}, in a few digits"
        )


def _parse_number_text(text: str, expected: str) -> float:
    _refuse_long(text, expected)
    number = as_number(text)
    if number is not None:
        return number
    if _COMMA_NUMBER.fullmatch(text):
        raise Wrong(
            "{} can be read in two ways", remedy="write 10000 or 10_000, and 0.5 for a half"
        )
    raise Wrong(f"{{}} is not {expected}")


@dataclass(frozen=True)
class Bounds:
    """What a number may be. `low` and `high` belong to it unless they are `open`."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, number: float) -> bool:
        low, high = self.low, self.high
        over = low is None or (number > low if self.low_open else number >= low)
        under = high is None or (number < high if self.high_open else number <= high)
        return over and under

    def ends(self) -> str:
        """The same, shorter."""
        low = (
            ""
            if self.low is None
            else f"{'above ' * self.low_open}{_format_bound_number(self.low)}"
        )
        high = (
            ""
            if self.high is None
            else f"{'below ' * self.high_open}{_format_bound_number(self.high)}"
        )
        return " to ".join(filter(None, (low, high)))

    def __str__(self) -> str:
        words = []
        if self.low is not None:
            words.append(
                f"{'above' if self.low_open else 'of at least'} {_format_bound_number(self.low)}"
            )
        if self.high is not None:
            words.append(
                f"{'below' if self.high_open else 'of at most'} {_format_bound_number(self.high)}"
            )
        return " and ".join(words)


def _format_bound_number(number: float) -> str:
    """As a person writes it: `1e-6` and `1000000`."""
    return f"{number:.12g}".replace("e-0", "e-")


MOST = 1_000_000_000
"""Of anything that is counted, where nothing else limits it."""


def whole(low: int | None = None, high: int | None = None, unit: str = "count") -> Parser:
    """A whole number → int."""
    bounds = Bounds(low, MOST if high is None else high)
    expected = f"a whole number {bounds}".strip()

    def parse(text: str) -> int:
        number = _parse_number_text(text, expected)
        if number != int(number) or not bounds.holds(number):
            raise Wrong(f"{{}} is not {expected}")
        digits = text.replace("_", "").replace(" ", "")
        # Through float only where it must be (`1e4`): large integers keep their last digits.
        return int(digits) if digits.lstrip("+-").isdigit() else int(number)

    ends = f"{low} to {high}" if low is not None and high is not None else ""
    return Parser(parse, unit, range=ends)


def real(bounds: Bounds, unit: str = "number") -> Parser:
    """A number → float."""
    expected = f"a number {bounds}".strip()

    def parse(text: str) -> float:
        number = _parse_number_text(text, expected)
        if not bounds.holds(number):
            raise Wrong(f"{{}} is not {expected}")
        return number

    return Parser(parse, unit, range=bounds.ends())


def fraction(high: float = 1.0, *, high_open: bool = False) -> Parser:
    """A fraction from 0 to `high`, also written with `%` → float."""
    bounds = Bounds(0, high, high_open=high_open)
    less = "less than " if high_open else ""
    expected = f"a fraction from 0 to {less}{high:.12g}, such as 0.1 or 10%"

    def parse(text: str) -> float:
        share = _parse_share_value(text, expected)
        if not bounds.holds(share):
            raise Wrong(f"{{}} is not {expected}")
        return share

    return Parser(parse, "fraction or %", range=bounds.ends())


def _parse_share_value(text: str, expected: str) -> float:
    percent = text.endswith("%")
    number = _parse_number_text(text.removesuffix("%").rstrip(), expected)
    # 1 / 100 and 0.01 are the same float; 1 * 0.01 would not always be.
    return number / 100 if percent else number


def limit() -> Parser:
    """A share with `%`, else a count → `Limit`."""

    def parse(text: str) -> Limit:
        expected = "a share such as 1%, or a whole count"
        number = _parse_share_value(text, expected)
        if text.endswith("%"):
            if not 0 <= number <= 1:
                raise Wrong("{} is not between 0% and 100%")
            return Limit(number, True)
        if not 0 <= number <= MOST or number != int(number):
            remedy = f"write {number * 100:.12g}% for that share" if 0 < number < 1 else ""
            raise Wrong(f"{{}} is not {expected}", remedy=remedy)
        return Limit(number, False)

    return Parser(parse, "% of all, or count")


_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def _parse_true_or_false(text: str) -> bool:
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise Wrong("{} is neither true nor false", remedy="write true or false")


boolean = Parser(_parse_true_or_false, "true | false")


def choice(*words: str) -> Parser:
    """One of a few words, in any case → the word as declared."""

    def parse(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        import difflib  # only an error needs it

        near = difflib.get_close_matches(text.lower(), words, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise Wrong(
            f"{{}} is none of {', '.join(words)}", remedy=f"{hint}write one of them".strip()
        )

    return Parser(parse, " | ".join(words))


_SECONDS_PER_UNIT = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)


def _parse_duration_seconds(text: str) -> float:
    _refuse_long(text, "90s, 5m, 1h30m or 2d")
    if as_number(text) is not None:
        raise Wrong("{} has no unit", remedy="write 90s, 5m, 1h30m or 2d")
    parts = _DURATION.findall(text)
    units = [_SECONDS_PER_UNIT.get(unit.lower()) for _, unit in parts]
    if _DURATION.sub("", text) or not parts or None in units or len(set(units)) < len(units):
        raise Wrong("{} is not a duration", remedy="write 90s, 5m, 1h30m or 2d")
    seconds = sum(float(number) * _SECONDS_PER_UNIT[unit.lower()] for number, unit in parts)
    if seconds <= 0:
        raise Wrong("{} is not a duration above zero")
    return float(seconds)


_YEAR = 365 * 86_400.0


def duration_of(low: float = 0.001, high: float = _YEAR) -> Parser:
    """A duration from `low` to `high` seconds → float."""

    def parse(text: str) -> float:
        seconds = _parse_duration_seconds(text)
        _check_range(seconds, low, high)
        return seconds

    return Parser(parse, "duration", range=f"{_as_duration(low)} to {_as_duration(high)}")


def _check_range(seconds: float, low: float, high: float) -> None:
    if not low <= seconds <= high:
        raise Wrong(f"{{}} is not a duration from {_as_duration(low)} to {_as_duration(high)}")


def _as_duration(seconds: float) -> str:
    """In the largest unit in which it is at least one."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size:
            return f"{seconds / size:.12g}{unit}"
    return f"{seconds * 1000:.12g}ms"


duration = duration_of()
_STEP_COUNT_PATTERN = re.compile(r"(\d+(?:_\d+)*)\s*steps?", re.ASCII | re.IGNORECASE)


def _duration_or_steps(text: str) -> float | Steps:
    match = _STEP_COUNT_PATTERN.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if match is None:
        try:
            return duration.parse(text)  # type: ignore[no-any-return]
        except Wrong as wrong:
            remedy = f"{wrong.remedy}, or 500 steps" if wrong.remedy else ""
            raise Wrong(wrong.what, remedy=remedy) from None
    steps = Steps(match[1])
    if steps < 1:
        raise Wrong("{} is not a number of steps above zero")
    if steps > MOST:
        raise Wrong(f"{{}} is not a number of steps from 1 to {MOST}")
    return steps


duration_or_steps = Parser(_duration_or_steps, "duration, or a number of steps")

_BYTES = {"b": 1, "byte": 1, "bytes": 1} | {
    f"{letter}{middle}b": (1024 if middle else 1000) ** power
    for power, letter in enumerate("kmgt", start=1)
    for middle in ("", "i")
}
_SIZE = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)


def _size(text: str) -> int:
    _refuse_long(text, "10MB or 10MiB")
    match = _SIZE.fullmatch(text)
    factor = _BYTES.get((match[2] or "b").lower()) if match else None
    if not match or factor is None:
        raise Wrong(
            "{} is not a size", remedy="write 10MB (millions of bytes) or 10MiB (1024 × 1024)"
        )
    number = round(float(match[1].replace("_", "")) * factor)
    if number < 1:
        raise Wrong("{} is not a size of at least one byte")
    return int(number)


def size_of(low: str = "1B", high: str = "1000TB") -> Parser:
    """A size from `low` to `high` → int, in bytes."""
    least, most = _size(low), _size(high)

    def parse(text: str) -> int:
        number = _size(text)
        if not least <= number <= most:
            raise Wrong(f"{{}} is not a size from {low} to {high}")
        return number

    return Parser(parse, "bytes", range=f"{low} to {high}")


size = size_of()


def text(unit: str = "text", check: Callable[[str], object] | None = None) -> Parser:
    """Text on one line."""

    def parse(value: str) -> str:
        if "\n" in value:
            raise Wrong("the value goes over several lines", remedy="write it on one line")
        if not value:
            raise Wrong("{} is empty")
        if check:
            check(value)
        return value

    return Parser(parse, unit, "text")


def _long_text(value: str) -> str:
    if not value:
        raise Wrong("{} is empty")
    return value


long_text = Parser(_long_text, "text", "free")
"""Text over any number of lines."""


def optional(parser: Parser, *words: str) -> Parser:
    """`parser`, where nothing, `none` or one of `words` stands for None."""

    def parse(value: str) -> Any:
        return None if value.lower() in ("", "none", *words) else parser.parse(value)

    return replace(parser, parse=parse)


def or_auto(parser: Parser) -> Parser:
    """`parser`, where `auto` stands for None."""

    def parse(value: str) -> Any:
        return None if value.lower() == "auto" else parser.parse(value)

    return replace(parser, parse=parse, unit=f"{parser.unit} | auto", nothing="auto")


def _free(value: str) -> int | float | bool | str:
    number = as_number(value)
    if number is not None and " " not in value:
        digits = value.replace("_", "")
        return int(digits) if digits.lstrip("+-").isdigit() else number
    # `yes` or `on` may be words of somebody's own; only true and false are certain.
    return value.lower() == "true" if value.lower() in ("true", "false") else value


free = Parser(_free, "number, true | false, or text", "free")
"""A key of `[user]`."""
