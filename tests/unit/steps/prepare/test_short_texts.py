"""The rule for short texts, beside a comparison of all with all; recall by length."""

from __future__ import annotations

import random

import pytest

from handful.steps.prepare.similarity.direct_links import direct_links
from handful.steps.prepare.similarity.near_duplicates import (
    Shingled,
    families,
    jaccard,
    pairs_within,
    signatures,
)
from handful.steps.prepare.similarity.shingles import Hashes, hash_text_words
from handful.steps.prepare.similarity.short_texts import FEW, FORM, ShortTexts

VOCABULARY = [f"w{number}" for number in range(5000)]


def numbers(words: list[str]) -> Hashes:
    return hash_text_words([" ".join(words).encode()])[0]


def apart_by_one(one: list[str], other: list[str]) -> float:
    """The rule as its page tells it."""
    short, long = sorted((one, other), key=len)
    if len(short) >= FEW or not short:
        return 0.0
    if short == long or len(long) - len(short) > 1:
        return 0.0
    is_one = not without_one(long).isdisjoint(
        without_one(short) if len(short) == len(long) else {tuple(short)}
    )
    both = len(long) - 1
    share = both / (len(short) + len(long) - both)
    return share if is_one and share >= 0.8 else 0.0


def without_one(words: list[str]) -> set[tuple[str, ...]]:
    return {(*words[:place], *words[place + 1 :]) for place in range(len(words))}


def changed(words: list[str], chance: random.Random, vocabulary: list[str]) -> list[str]:
    """One word replaced, added or left out."""
    place, copy = chance.randrange(len(words)), list(words)
    match chance.randrange(3):
        case 0:
            copy[place] = chance.choice(vocabulary)
        case 1:
            copy.insert(place, chance.choice(vocabulary))
        case 2:
            del copy[place]
    return copy


@pytest.mark.parametrize("seed", range(3))
def test_every_pair_that_differs_in_one_word_and_no_other(seed: int) -> None:
    chance = random.Random(seed)
    few = VOCABULARY[:12]  # so that words come twice, and texts, too
    texts = [chance.choices(few, k=chance.randint(1, FEW + 1)) for _ in range(60)]
    texts += [changed(text, chance, few) for text in texts for _ in range(3)]
    texts += texts[:30]
    short = ShortTexts.of([numbers(text) for text in texts])
    wanted = {
        (one, other): share
        for one in range(len(texts))
        for other in range(one + 1, len(texts))
        if (share := apart_by_one(texts[one], texts[other]))
    }
    assert len(wanted) > 100
    for one in range(len(texts)):
        for other in range(one + 1, len(texts)):
            assert short.likeness(one, other) == pytest.approx(wanted.get((one, other), 0))
    found = {
        (min(a, b), max(a, b))
        for one, other in short.pairs()
        for a in short.copies(one)
        for b in short.copies(other)
    }
    assert found == set(wanted)


TABLE = {
    # words of one text, of the other where one is replaced or one more, and whether they are twins
    "another of 9": (9, 0, True),
    "another of 8": (8, 0, False),
    "another of 19": (19, 0, True),
    "one more than 4": (4, 1, True),
    "one more than 3": (3, 1, False),
    "one more than 19": (19, 1, True),
    "another of 20, by runs of three": (20, 0, False),
}


@pytest.mark.parametrize("name", TABLE)
def test_where_the_rule_begins_and_ends(name: str) -> None:
    words, more, are_twins = TABLE[name]
    one = VOCABULARY[:words]
    middle = words // 2
    other = [*one[:middle], "other", *one[middle + 1 - more :]]
    documents = [numbers(text) for text in (one, other, VOCABULARY[50:70])]
    shingled, short = Shingled.of(documents), ShortTexts.of(documents)
    found = families(shingled, signatures(shingled), short)
    assert found == ([0, 0, None] if are_twins else [None] * 3)
    pairs = pairs_within([[0, 1, 2]], shingled, signatures(shingled), short)
    assert len(pairs) == are_twins
    if are_twins:
        both = words - 1 + more
        assert pairs.likeness[0] == pytest.approx(both / (2 * words + more - both))


def test_a_form_that_everybody_fills_in_ties_nobody() -> None:
    form = VOCABULARY[:12]
    for copies in (FORM - 1, FORM, 500):
        texts = [[*form[:6], f"code{number}", *form[7:]] for number in range(copies)]
        documents = [numbers(text) for text in [*texts, texts[0]]]
        shingled, short = Shingled.of(documents), ShortTexts.of(documents)
        found = families(shingled, signatures(shingled), short)
        together = copies if copies < FORM else 1  # the copy is the same text, whatever it is
        assert found.count(0) == together + 1


def planted(words: int, count: int) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """Texts and their changed copies, up to a third of the words replaced, added or left out."""
    chance = random.Random(words)
    texts = [chance.choices(VOCABULARY, k=words) for _ in range(count)]
    for number in range(count):
        copy = texts[number]
        for _ in range(chance.randint(0, max(1, words // 3))):
            copy = changed(copy, chance, VOCABULARY)
        texts.append(copy)
    return texts, [(number, count + number) for number in range(count)]


@pytest.mark.parametrize("words", [10, 25, 50, 100, 300])
def test_recall_and_no_false_merge_by_length(words: int) -> None:
    texts, pairs = planted(words, 300)
    documents = [numbers(text) for text in texts]
    shingled, short = Shingled.of(documents), ShortTexts.of(documents)
    found = families(shingled, signatures(shingled), short)
    shares = {pair: jaccard(shingled[pair[0]], shingled[pair[1]]) for pair in pairs}
    tied = {
        pair for pair in pairs if found[pair[0]] is not None and found[pair[0]] == found[pair[1]]
    }
    alike = {pair for pair in pairs if shares[pair] >= 0.8}
    assert len(alike) > 25
    assert len(alike & tied) >= 0.95 * len(alike)
    in_one_word = {pair for pair in pairs if apart_by_one(texts[pair[0]], texts[pair[1]])}
    assert bool(in_one_word) == (words < FEW)
    assert in_one_word <= tied
    assert not [pair for pair in tied - in_one_word if shares[pair] < 0.8]
    assert all(root is None or root < 300 for root in found)


def test_of_those_that_have_their_split_chains_are_told_and_of_newcomers_every_link() -> None:
    base, short_base = VOCABULARY[:100], VOCABULARY[200:212]
    chain = [VOCABULARY[start : start + 100] for start in (0, 6, 12, 18)]
    another = [*short_base[:5], "other", *short_base[6:]]
    settled = [*[base] * 200, *chain, short_base, short_base]
    arriving = [base, chain[3], another, another, VOCABULARY[300:320]]
    documents = [numbers(text) for text in [*settled, *arriving]]
    shingled, short = Shingled.of(documents), ShortTexts.of(documents)
    found = list(direct_links(shingled, signatures(shingled), short, len(settled)))
    assert len(found) < 220, "not every pair of two hundred copies"
    newcomers = range(len(settled), len(documents))
    links = {
        newcomer: {one + other - newcomer for one, other in found if newcomer in (one, other)}
        for newcomer in newcomers
    }
    first, last, twin, copy, stranger = newcomers
    assert len(links[first]) == len(links[last]) == 1, "one link into the chain is enough"
    assert links[twin] == {204, copy}
    assert links[copy] == {204, twin}
    assert links[stranger] == set()
