"""Where in a long folder of a bucket nobody has looked yet.

A page that was read behind a point covers everything from that point to the page's last name. What
is not covered are gaps, and a random point of one is where to read next. How wide a gap is says
the alphabet: names are taken for numbers, whose digits at each place are the letters seen there
(all digits where there was one, all letters where there was one).

The end of the folder is not known at first. What is asked for is whatever lies behind all that
begins like the names seen so far: nothing, or a name that shortens what they begin with.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable
from random import Random

from handful.storage.parallel_listing import between

_LETTERS_THAT_COUNT = 12
"""Letters that count, behind what all names begin with."""
_BEHIND = "~"
"""Sorts behind the letters of nearly every name."""
_BLIND_SHARE = 0.2
"""Of the points: how many are chosen whatever the alphabet is, so that it may grow."""
_BLIND_SHARE_OF_LAST = 0.5
_CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
_HEXADECIMAL = frozenset("abcdefABCDEF")


class KeyGaps:
    """What of a folder's names is covered; names and points are relative to the folder."""

    def __init__(self) -> None:
        self._covered: list[tuple[str, str | None]] = []
        """Apart from each other, in order: from a text to a name; None: to the end."""
        self._prefix: str | None = None
        self._letters: list[set[str]] = [set() for _ in range(_LETTERS_THAT_COUNT)]
        self._some: list[str] = []
        self._alphabets: list[list[str]] = []
        self._numbers: dict[str, int] = {}
        self._probe = ""

    def point(self, dice: Random) -> str | None:
        """Where to read on: a random point that is not covered; None: all is."""
        if not self._knows_end and not self._probe:
            self._probe = f"{self._prefix or ''}{_BEHIND}"
            return self._probe
        gaps = self._gaps()
        if not gaps:
            return None
        if dice.random() < _BLIND_SHARE:  # letters that were not seen mostly lie at the end
            low, high = gaps[-1] if dice.random() < _BLIND_SHARE_OF_LAST else dice.choice(gaps)
            return between(low, high) or self._uniform(gaps, dice) or high
        return self._uniform(gaps, dice) or between(*dice.choice(gaps))

    def cover(self, after: str, names: Iterable[str], *, to_end: bool) -> None:
        """These names are all behind `after`, but for those behind the last; `to_end`: all."""
        found = [name for name in names if name > after]
        if after == self._probe:
            self._probe = ""
        self.learn(found)
        last = None if to_end else max(found, default=after)
        merged: list[tuple[str, str | None]] = []
        for one, other in sorted([*self._covered, (after, last)], key=lambda pair: pair[0]):
            if merged and (merged[-1][1] is None or one <= merged[-1][1]):
                longer = None if None in (other, merged[-1][1]) else max(other, merged[-1][1])  # type: ignore[type-var]
                merged[-1] = (merged[-1][0], longer)
            else:
                merged.append((one, other))
        self._covered = merged

    @property
    def _knows_end(self) -> bool:
        return bool(self._covered) and self._covered[-1][1] is None

    def _gaps(self) -> list[tuple[str, str]]:
        """Texts between which lies what is not covered; of the last gap what was seen to be."""
        ends = [other for _, other in self._covered if other is not None]
        starts = [one for one, _ in self._covered[1:]]
        if not self._knows_end:
            starts.append(f"{self._prefix or ''}{_BEHIND}")
        if self._covered and self._covered[0][0]:
            ends, starts = ["", *ends], [self._covered[0][0], *starts]
        return [(low, high) for low, high in zip(ends, starts, strict=False) if low < high]

    def _uniform(self, gaps: list[tuple[str, str]], dice: Random) -> str | None:
        widths = [max(0, self._number(high) - self._number(low)) for low, high in gaps]
        if not any(widths):
            return None
        (low, high), width = dice.choices([*zip(gaps, widths, strict=True)], _small(widths))[0]
        found = self._text(self._number(low) + dice.randrange(width))
        return found if low < found < high else between(low, high)

    def learn(self, names: list[str]) -> None:
        """See what names begin with, and the letters at each place behind that."""
        names = [name for name in names if name.isprintable()]
        shared = [] if self._prefix is None else [self._prefix]
        prefix = os.path.commonprefix([*shared, *names])  # noqa: RUF071 - of texts, not of paths
        if not names:
            return
        some = names[:: max(1, len(names) // 20)]
        self._some += some
        if prefix != self._prefix:
            self._prefix = prefix
            self._letters = [set() for _ in range(_LETTERS_THAT_COUNT)]
            some = self._some
        for name in some:
            for letters, letter in zip(self._letters, name[len(prefix) :], strict=False):
                letters.add(letter)
        alphabets = [_whole_alphabet(letters) for letters in self._letters]
        if alphabets != self._alphabets:
            self._alphabets = alphabets
            self._numbers = {}

    def _number(self, text: str) -> int:
        """The text as a number; one that sorts before another has none that is larger."""
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = self._compute_number(text)
        return found

    def _compute_number(self, text: str) -> int:
        prefix = self._prefix or ""
        if not text.startswith(prefix):
            return 0 if text < prefix else self._size(0)
        number = 0
        rest = text[len(prefix) :]
        for at, alphabet in enumerate(self._alphabets):
            letter = rest[at : at + 1]
            if not letter:
                return number
            before = sum(one < letter for one in alphabet)
            if letter not in alphabet:  # all that begins so lies between two letters of ours
                return number + before * self._size(at + 1)
            number += before * self._size(at + 1)
        return number

    def _size(self, at: int) -> int:
        """How many texts there are of the letters from one place on."""
        size = 1
        for alphabet in self._alphabets[at:]:
            size *= max(1, len(alphabet))
        return size

    def _text(self, number: int) -> str:
        letters = []
        for at, alphabet in enumerate(self._alphabets):
            digit, number = divmod(number, self._size(at + 1))
            if not alphabet:
                break
            letters.append(alphabet[min(digit, len(alphabet) - 1)])
        return (self._prefix or "") + "".join(letters)


def _small(widths: list[int]) -> list[float]:
    """Weights that a float can hold."""
    top = max(widths)
    return [width / top for width in widths]


def _whole_alphabet(letters: set[str]) -> list[str]:
    whole = set(letters)
    for letters_of_kind in _CLASSES:
        some = letters.intersection(letters_of_kind)
        if some and some <= _HEXADECIMAL and letters.intersection(string.digits):
            whole |= set(letters_of_kind) & _HEXADECIMAL
        elif some:
            whole |= set(letters_of_kind)
    return sorted(whole)
