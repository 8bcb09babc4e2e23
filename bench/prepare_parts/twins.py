"""Short texts, their twins and their forms: documents whose near-duplicates are known.

Beside each text lies what people have process_func write: its label, hash and id. The likeness of
planted pairs is computed here from the words themselves.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prepare_parts.documents import LABELS, Text
from prepare_parts.grouping import Pair

LENGTHS = (10, 25, 50, 100, 300)
FEW = 20
"""Words below which pairs are judged by words, too."""


@dataclass(frozen=True)
class Planted:
    """Texts of one length, and the pairs that were planted among them."""

    texts: list[Text]
    pairs: list[Pair]
    """By runs of three words."""
    by_words: list[Pair]
    """By words in their order; of texts of fewer than 20 words."""


def plant(words: int, pairs: int, seed: int = 0) -> Planted:
    """`pairs` texts with a twin each: up to a third of the words replaced, added or left out."""
    chance = random.Random(f"{words} {seed}")
    vocabulary = [f"word{number}" for number in range(20_000)]
    texts, found, by_words = [], [], []
    for number in range(pairs):
        one = chance.choices(vocabulary, k=words)
        other = _changed(one, chance.randint(0, max(1, words // 3)), vocabulary, chance)
        ids = f"text-{number:06}", f"twin-{number:06}"
        label = LABELS[number % len(LABELS)], LABELS[(number + number % 2) % len(LABELS)]
        texts += [Text(ids[0], label[0], " ".join(one)), Text(ids[1], label[1], " ".join(other))]
        found.append((*ids, jaccard(one, other)))
        if words < FEW:
            by_words.append((*ids, _in_order(one, other)))
    return Planted(texts, found, by_words)


def forms(count: int, words: tuple[int, int], seed: int = 0) -> list[Text]:
    """Texts that are forms with one to six blanks, filled in from few or many words."""
    chance = random.Random(seed)
    vocabulary = [f"word{number}" for number in range(3_000)]
    found: list[Text] = []
    while len(found) < count:
        form = chance.choices(vocabulary, k=chance.randint(*words))
        blanks = chance.sample(range(len(form)), chance.randint(1, min(6, len(form))))
        values = {
            blank: chance.choices(vocabulary, k=chance.choice([2, 5, 20, 500])) for blank in blanks
        }
        for _ in range(min(count - len(found), int(chance.paretovariate(0.8)) * 5)):
            filled = list(form)
            for blank, some in values.items():
                filled[blank] = chance.choice(some)
            number = len(found)
            text = " ".join(filled)
            found.append(Text(f"form-{number:06}", LABELS[number % len(LABELS)], text))
    return found


@dataclass(frozen=True)
class Judged:
    """How the planted pairs fared."""

    alike: int
    """Pairs at 0.8 and above."""
    found: int
    unlike: int
    """Pairs below 0.5."""
    merged: int


def judge(family: Mapping[str, str], pairs: list[Pair]) -> Judged:
    tied = {pair[:2]: family.get(pair[0], "") == family.get(pair[1], "-") for pair in pairs}
    alike = [pair for pair in pairs if pair[2] >= 0.8]
    unlike = [pair for pair in pairs if pair[2] < 0.5]
    return Judged(
        len(alike),
        sum(tied[pair[:2]] for pair in alike),
        len(unlike),
        sum(tied[pair[:2]] for pair in unlike),
    )


def largest(family: Mapping[str, str]) -> int:
    return max(Counter(family.values()).values(), default=1)


def jaccard(one: list[str], other: list[str]) -> float:
    """Of runs of three words."""
    a, b = ({tuple(w[i : i + 3]) for i in range(max(1, len(w) - 2))} for w in (one, other))
    return len(a & b) / len(a | b)


def _in_order(one: list[str], other: list[str]) -> float:
    """The longest sequence of words that both have, over all words."""
    before = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for place, theirs in enumerate(other):
            row.append(before[place] + 1 if word == theirs else max(row[-1], before[place + 1]))
        before = row
    return before[-1] / (len(one) + len(other) - before[-1])


def _changed(
    words: list[str], count: int, vocabulary: list[str], chance: random.Random
) -> list[str]:
    changed = list(words)
    for _ in range(count):
        place, what = chance.randrange(len(changed)), chance.random()
        if what < 0.2:
            changed.insert(place, chance.choice(vocabulary))
        elif what < 0.4:
            del changed[place]
        else:
            changed[place] = chance.choice(vocabulary)
    return changed
