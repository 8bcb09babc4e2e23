"""The ranges of `[tune]`: `LEARNING_RATE = log 1e-5 1e-3`, `user.POOLING = choice cls mean`."""

from __future__ import annotations

from handful.settings.declare import keys_of
from handful.settings.sections.models import TrainSection
from handful.settings.values.lists import items
from handful.settings.values.parse import Parser, Wrong, as_number, free
from handful.settings.values.types import Range

KINDS = ("log", "float", "int", "choice")
NOT_TUNABLE = frozenset({"MODEL_NAMES", "SEEDS", "METRIC", "METRIC_GOAL", "CHECKPOINT_EVERY"})
_SHAPE = "log LOW HIGH, float LOW HIGH, int LOW HIGH, or choice A B C"


def tunable_keys() -> tuple[str, ...]:
    """The keys of `[train]` that may have a range."""
    return tuple(name for name in keys_of(TrainSection) if name not in NOT_TUNABLE)


def parse_range(key: str, text: str) -> Range:
    """The range that `text` writes for `key`, checked by the key's own parser; else `Wrong`."""
    kind, _, rest = " ".join(text.split("\n")).strip().partition(" ")
    kind = kind.lower()
    if kind not in KINDS:
        raise Wrong("{} is no range", remedy=f"write {_SHAPE}")
    words = items(rest) if "," in rest else tuple(rest.split())
    parser = _parser_of(key)
    if kind == "choice":
        if len(set(words)) < 2 or len(set(words)) < len(words):
            raise Wrong("{} needs at least two different values", remedy=f"write {_SHAPE}")
        choices = tuple(_through(parser, word) for word in words)
        if len({str(choice) for choice in choices}) < len(choices):
            raise Wrong("{} holds one value twice", remedy="write each once")
        return Range(key, kind, choices=choices)
    return _parse_numeric_range(key, kind, words, parser)


def _parse_numeric_range(key: str, kind: str, words: tuple[str, ...], parser: Parser) -> Range:
    numbers = [as_number(word) for word in words]
    if len(numbers) != 2 or None in numbers:
        raise Wrong("{} does not give two numbers", remedy=f"write {_SHAPE}")
    low, high = (number or 0.0 for number in numbers)
    if low >= high:
        raise Wrong("{} does not rise from its first number to its second")
    if kind == "log" and low <= 0:
        raise Wrong("{} cannot begin at 0 or below on a log scale", remedy="begin above 0")
    if kind == "int" and (low != int(low) or high != int(high)):
        raise Wrong("{} does not give two whole numbers")
    for word in words:
        value = _through(parser, word)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong(f"{key} does not take numbers, as {{}} would give", remedy="use choice")
        if kind != "int" and isinstance(value, int) and not key.startswith("user."):
            raise Wrong(f"{key} takes whole numbers only, and {{}} gives others", remedy="use int")
    return Range(key, kind, low, high)


def _parser_of(key: str) -> Parser:
    return free if key.startswith("user.") else keys_of(TrainSection)[key].parser


def _through(parser: Parser, word: str) -> object:
    try:
        return parser.parse(word)
    except Wrong as wrong:
        raise Wrong(wrong.what, piece=word, remedy=wrong.remedy) from None
