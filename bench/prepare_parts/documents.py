"""The documents that prepare is measured with: licence texts, and any number of generated ones."""

from __future__ import annotations

import importlib.metadata
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

LABELS = tuple(f"label {number:02}" for number in range(20))
_WORD = re.compile(r"[a-z]+")
_VOCABULARY = 8_000
_FRONT_MATTER = re.compile(r"---\n.*?\n---[^\S\n]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Text:
    """One document."""

    id: str
    label: str
    text: str
    row: Mapping[str, str] = field(default_factory=dict)
    """The other columns of its label row."""


def licences(count: int | None = None) -> list[Text]:
    """The licence texts of the package `licensedcode-data`, long and ragged.

    Asked for more than there are, it begins again, each text with a word more in front.
    """
    texts = [text for path in _files() if (text := _body(path))]
    count = len(texts) if count is None else count
    rounds = -(-count // len(texts))
    found = [
        f"copy {number} {text}" if number else text for number in range(rounds) for text in texts
    ]
    return [
        Text(f"licence-{n:06}", LABELS[n % len(LABELS)], t) for n, t in enumerate(found[:count])
    ]


def generated(count: int, words: tuple[int, int], seed: int = 0) -> Iterator[Text]:
    """Documents of so many words, drawn as often as licences use them."""
    chance = random.Random(seed)
    counts = Counter(word for path in _files() for word in _WORD.findall(_body(path).lower()))
    vocabulary, weights = zip(*counts.most_common(_VOCABULARY), strict=True)
    sums = list(accumulate(weights))
    for number in range(count):
        drawn = chance.choices(vocabulary, cum_weights=sums, k=chance.randint(*words))
        yield Text(f"document-{number:06}", LABELS[number % len(LABELS)], " ".join(drawn))


def _files() -> list[Path]:
    files = importlib.metadata.files("licensedcode-data") or ()
    return sorted(
        Path(str(file.locate()))
        for file in files
        if file.match("licensedcode/data/licenses/*.LICENSE")
    )


def _body(path: Path) -> str:
    return _FRONT_MATTER.sub("", path.read_text(encoding="utf-8"), count=1).strip()
