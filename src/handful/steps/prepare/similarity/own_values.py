"""What is known of an artifact without its text: its id, label, hash and the columns of its row.

They are no likeness and no difference of two texts, so they are taken out of the words: the id and
the hash wherever they stand; the label and short values of other columns only where they stand
alone, as the value of a key or behind a colon, for in a sentence they are words like all others. A
column that holds running text is the text itself.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.similarity.file_text import Piece, is_running
from handful.steps.prepare.similarity.shingles import is_alone, normalize_accents, split

_FEWEST = 6
"""Characters of an id or a hash that is taken out of sentences, too; it has a digit as well."""
_MAX_VALUE_CHARACTERS = 200
_DIGIT = re.compile(r"\d")
_GUID_DIGITS = 32
_GUID_VALUE_PATTERN = re.compile(rf"[0-9a-fA-F]{{{_GUID_DIGITS}}}")
_AFTER = frozenset("\n\r\t<|\"',;\uff5c\uff0c\uff1b\u3001")  # of Chinese and Japanese, too
_CHARS_BEFORE_VALUE = (_AFTER - {"<"}) | frozenset(":=>\uff1a\uff1d")
_NOTHING = frozenset({b""})
_BLANKS = 8
"""Blanks that are passed over on the way to a colon or the end of the line."""


class OwnValues(NamedTuple):
    """The values of one artifact, each as its words with blanks between them."""

    marks: tuple[bytes, ...] = ()
    """Of id and hash, in each of their forms."""
    fields: tuple[bytes, ...] = ()
    """Of the label, and of ids that are too short to be told from a word."""
    columns: tuple[bytes, ...] = ()
    """Of the other columns."""

    def alone(self, *, with_columns: bool) -> frozenset[bytes]:
        """What is taken out where it stands alone."""
        return frozenset(self.marks + self.fields + (self.columns if with_columns else ()))


NO_VALUES = OwnValues()


def own_values(artifact: Artifact, aliases: Mapping[str, str]) -> OwnValues:
    """`aliases`: old label → new one; an artifact's files may hold either."""
    forms = _forms(artifact.id)
    if artifact.file_hash:
        forms = forms | _forms(artifact.file_hash)
    marks = {form for form in forms if len(form) >= _FEWEST and _DIGIT.search(form)}
    fields = [artifact.label, *(forms - marks)]
    if aliases:
        fields += [old for old, new in aliases.items() if new == artifact.label]
    columns = _unique_value_keys(_short_row_values(artifact.row)) if artifact.row != "{}" else ()
    return OwnValues(
        _sort_value_keys({b" ".join(split(mark)) for mark in marks}),
        _unique_value_keys(fields),
        columns,
    )


def without_fields(pieces: Sequence[Piece], values: frozenset[bytes]) -> Sequence[Piece]:
    """A record's pieces without those that are one of `values`."""
    if not values:
        return pieces
    longest = max(map(len, values)) + _BLANKS
    return [
        piece
        for piece in pieces
        if not (
            piece.is_field and len(piece.text) <= longest and _own_value_key(piece.text) in values
        )
    ]


def occurring(values: Iterable[bytes], words: bytes) -> list[bytes]:
    """Those that may stand in `words`: their longest word does, be it as a part of another one."""
    return [value for value in values if max(value.split(b" "), key=len) in words]


def without_lines(text: str, values: Iterable[bytes]) -> str:
    """A plain text without those of `values` that stand alone on a line, or behind a colon."""
    lowered, is_changed = normalize_accents(text.lower()), False
    for value in _longest_first(values):
        if spans := list(_places(value, lowered)):
            lowered, is_changed = _blank_value_spans(lowered, spans), True
    return lowered if is_changed else text


def _blank_value_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], " " * (stop - start)]
        end = stop
    return "".join([*parts, text[end:]])


def without_marks(words: list[bytes], marks: Sequence[bytes]) -> list[bytes]:
    """The words without every run that is one of `marks`."""
    for mark in marks:
        run = mark.split()
        place = _index(words, run[0], 0)
        while place is not None:
            if words[place : place + len(run)] == run:
                words = words[:place] + words[place + len(run) :]
            else:
                place += 1
            place = _index(words, run[0], place)
    return words


def _index(words: list[bytes], word: bytes, first: int) -> int | None:
    try:
        return words.index(word, first)
    except ValueError:
        return None


def _places(value: bytes, text: str) -> Iterator[tuple[int, int]]:
    """Where the words of `value` stand alone in `text`, which is in lower case."""
    words = value.decode("utf-8", "surrogatepass").split(" ")
    if not all(word in text for word in words):  # most are not, and a pattern takes a while
        return
    pattern = re.escape(words[0])
    for before, word in pairwise(words):
        least = 0 if is_alone(before) or is_alone(word) else 1
        pattern += rf"\W{{{least},8}}{re.escape(word)}"
    for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text):
        if _stands_alone(text, *match.span()):
            yield match.span()


def _stands_alone(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _BLANKS) : start].rstrip(" ")
    after = text[end : end + _BLANKS].lstrip(" ")
    return ((start <= _BLANKS and not before) or before[-1:] in _CHARS_BEFORE_VALUE) and (
        (end + _BLANKS >= len(text) and not after) or after[:1] in _AFTER
    )


def _forms(name: str) -> set[str]:
    """An id or a hash as others may write it: a GUID with and without dashes."""
    plain = name.strip("{}").replace("-", "")
    if len(plain) == _GUID_DIGITS and _GUID_VALUE_PATTERN.fullmatch(plain):
        dashed = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
        return {name.strip("{}"), plain, dashed}
    return {name, name.rpartition(":")[2]}  # sha256:…


def _short_row_values(row: str) -> Iterator[str]:
    """The numbers of a row, and the strings that are no running text."""
    try:
        stack = [json.loads(row)]
    except (ValueError, RecursionError):  # deeper, or with longer numbers, than anybody's files
        return
    while stack:
        value = stack.pop()
        if isinstance(value, dict | list):
            stack += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int | float):
            yield repr(value)
        elif (
            isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS and not is_running(value)
        ):
            yield value


def _unique_value_keys(values: Iterable[str]) -> tuple[bytes, ...]:
    """Each once, the longest first: a shorter one may be a part of it."""
    return _sort_value_keys({_own_value_key(value) for value in values})


def _sort_value_keys(keys: set[bytes]) -> tuple[bytes, ...]:
    keys -= _NOTHING
    return tuple(_longest_first(keys) if len(keys) > 1 else keys)


def _longest_first(keys: Iterable[bytes]) -> list[bytes]:
    return sorted(sorted(keys), key=len, reverse=True)


@functools.lru_cache(maxsize=1 << 14)  # labels and the values of columns come again
def _own_value_key(text: str) -> bytes:
    return b" ".join(split(text))
