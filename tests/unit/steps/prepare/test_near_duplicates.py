"""Words of files, and near-duplicates among documents, on planted pairs."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from handful.steps.prepare.similarity.direct_links import direct_links
from handful.steps.prepare.similarity.document_words import DocumentFiles, words_of
from handful.steps.prepare.similarity.near_duplicates import (
    THRESHOLD,
    Shingled,
    families,
    jaccard,
    signatures,
)
from handful.steps.prepare.similarity.shingles import Hashes, hash_text_words, normalize
from handful.steps.prepare.similarity.short_texts import ShortTexts


def numbers(words: list[str]) -> Hashes:
    return hash_text_words([" ".join(words).encode()])[0]


def shingles(words: list[str]) -> list[int]:
    return list(Shingled.of([numbers(words)])[0].tolist())


def test_a_word_has_one_hash_wherever_it_stands() -> None:
    """In a text of its own, among others, behind many blanks, in a text of megabytes."""
    chance = random.Random(1)
    long = ["x" * 70_000, "x" * 200_000, "y" * 65_536, "y" * 65_537]
    known = ["a", "b", "aa", "ab", "ba", "été", "0", "00", *long, *VOCABULARY]
    alone = {word: numbers([word]) for word in known}
    assert all(len(one) == 1 for one in alone.values())
    assert len({int(one[0]) for one in alone.values()}) == len(known)
    texts = [chance.choices(known[:8] + VOCABULARY, k=chance.randrange(40)) for _ in range(300)]
    texts += [[], [""], chance.choices(VOCABULARY, k=60_000), known, known[::-1], long]
    blanks = [" " * chance.randrange(1, 4) for _ in range(7)]
    given = [chance.choice(blanks).join(text).encode() for text in texts]
    for text, found in zip(texts, hash_text_words(given), strict=True):
        expected = [alone[word][0] for word in text if word]
        assert found.tolist() == expected
    assert [len(one) for one in hash_text_words([b"", b"  ", b" a ", b""])] == [0, 0, 1, 0]
    assert hash_text_words([]) == []


VOCABULARY = [f"w{number}" for number in range(5000)]


def changed(words: list[str], count: int, chance: random.Random) -> list[str]:
    copy = list(words)
    for place in chance.sample(range(len(copy)), count):
        copy[place] = chance.choice(VOCABULARY)
    return copy


@pytest.mark.parametrize(
    "letters", [range(0x4E00, 0x5600), range(0x3041, 0x3094)], ids=["Chinese", "Japanese"]
)
@pytest.mark.parametrize("length", [40, 100, 400, 1500])
def test_twins_whose_words_have_no_blanks_between_them(letters: range, length: int) -> None:
    """One letter of a hundred differs: whole clauses would all be different."""
    chance = random.Random(length)
    texts = []
    for _ in range(50):
        text = [chr(chance.choice(letters)) for _ in range(length)]
        text[12::13] = "，" * len(text[12::13])
        twin, letters_at = list(text), [place for place in range(length) if place % 13 < 12]
        for place in chance.sample(letters_at, max(1, length // 100)):
            twin[place] = chr(chance.choice(letters))
        texts += ["".join(text), "".join(twin)]
    documents = hash_text_words(map(normalize, texts))
    shingled = Shingled.of(documents)
    found = families(shingled, signatures(shingled), ShortTexts.of(documents))
    expected = [2 * (number // 2) for number in range(100)]
    same = [one == other for one, other in zip(found, expected, strict=True)]
    assert sum(same) >= 0.95 * len(same)
    assert {one for one in found if one is not None} <= set(expected)


def test_planted_pairs_are_found_and_nothing_below_the_threshold() -> None:
    chance = random.Random(3)
    documents = [chance.choices(VOCABULARY, k=chance.randint(60, 300)) for _ in range(3000)]
    planted = []
    for number in range(1000):
        planted.append((number, len(documents)))
        original = documents[number]
        documents.append(changed(original, chance.randint(0, len(original) // 6), chance))
    shingled = Shingled.of([numbers(words) for words in documents])
    found = families(shingled, signatures(shingled))
    likeness = {pair: jaccard(shingled[pair[0]], shingled[pair[1]]) for pair in planted}
    alike = [pair for pair, share in likeness.items() if share >= THRESHOLD]
    unlike = [pair for pair, share in likeness.items() if share < THRESHOLD]
    assert len(alike) > 150
    assert len(unlike) > 150
    tied = {pair for pair in planted if found[pair[0]] is not None}
    assert len([pair for pair in alike if pair in tied]) >= 0.97 * len(alike)
    assert not [pair for pair in unlike if pair in tied]
    assert all(found[a] == found[b] for a, b in tied)
    assert all(found[number] is None for number in range(1000, 3000))


def test_signatures_tell_the_likeness() -> None:
    chance = random.Random(5)
    original = chance.choices(VOCABULARY, k=400)
    copies = [changed(original, count, chance) for count in range(0, 200, 4)]
    shingled = Shingled.of([numbers(words) for words in [original, *copies]])
    signed = signatures(shingled)
    told = (signed[1:] == signed[0]).mean(axis=1)
    true = [jaccard(shingled[0], shingled[n]) for n in range(1, len(shingled))]
    assert told[0] == 1
    assert np.abs(told - true).max() < 0.16  # four deviations
    assert np.abs(told - true).mean() < 0.05


def test_a_family_is_a_chain_and_documents_without_words_have_none() -> None:
    words = random.Random(1).choices(VOCABULARY, k=120)
    chain = [words[start : start + 100] for start in (0, 6, 12, 18)]
    shingled = Shingled.of([numbers(each) for each in [[], *chain, []]])
    assert all(jaccard(shingled[a], shingled[b]) >= THRESHOLD for a, b in pairwise(range(1, 5)))
    assert jaccard(shingled[1], shingled[4]) < THRESHOLD
    assert families(shingled, signatures(shingled)) == [None, 1, 1, 1, 1, None]
    documents = shingled, signatures(shingled), ShortTexts.of([numbers([])] * len(shingled))
    pairs = set(direct_links(*documents, settled=0))
    assert pairs >= {(1, 2), (2, 3), (3, 4)}
    assert (1, 4) not in pairs


def test_hundreds_of_copies_are_one_family() -> None:
    words = [f"same{number}" for number in range(50)]
    documents = [numbers(words)] * 400 + [numbers(VOCABULARY[:50])]
    found = families(shingled := Shingled.of(documents), signatures(shingled))
    assert found == [0] * 400 + [None]


def test_jaccard() -> None:
    one, other = np.array([1, 2, 3], np.uint32), np.array([2, 3, 4, 9], np.uint32)
    assert jaccard(one, other) == pytest.approx(2 / 5)
    assert jaccard(one, one) == 1
    assert jaccard(one, np.empty(0, np.uint32)) == 0


def test_few_words_are_one_shingle() -> None:
    assert len(shingles([])) == 0
    assert len(shingles(["a"])) == len(shingles(["a", "b"])) == len(shingles(["a", "b", "c"])) == 1
    assert shingles(["a", "b"]) != shingles(["b", "a"])
    assert len(shingles(list("abcabcabc"))) == 3


def words(path: Path, content: bytes) -> list[int]:
    path.write_bytes(content)
    return list(
        Shingled.of(hash_text_words([words_of(DocumentFiles((str(path),))).text]))[0].tolist()
    )


def test_the_text_of_a_file_is_what_a_person_reads(tmp_path: Path) -> None:
    text = "One two THREE, four; fünf 6."
    expected = words(tmp_path / "a.txt", text.encode())
    assert len(expected) == 4
    told = {"keys": {"do not": "One two"}, "count": ["three", {"x": "four fünf"}, 6, None, True]}
    assert words(tmp_path / "a.json", json.dumps(told).encode()) == expected
    assert words(tmp_path / "b", json.dumps(told).encode()) == expected
    assert words(tmp_path / "c.txt", b"\xef\xbb\xbf" + text.encode()) == expected
    assert words(tmp_path / "d.txt", text.encode("utf-16")) == expected
    assert words(tmp_path / "e.json", b"{ not json at all") != []
    assert words(tmp_path / "f.txt", text.encode("latin-1")) == expected
    cyrillic = "раз два три, четыре; пять 6"
    assert len(words(tmp_path / "k.txt", cyrillic.encode("cp1251"))) == 4
    cut = cyrillic.encode()[:-3]
    assert words(tmp_path / "l", cut) == words(tmp_path / "l.txt", cut) != []
    assert words(tmp_path / "g.png", b"\x89PNG\0\0one two three") == []
    assert words(tmp_path / "h.json", b"[" * 100_000) == []
    assert words(tmp_path / "i.json", b'"\\ud800 lone"') != []
    assert words(tmp_path / "j.txt", b"") == []


def test_content_is_exact_whatever_the_files_are(tmp_path: Path) -> None:
    one, other, third = (tmp_path / name for name in ("one.bin", "other.bin", "third.bin"))
    one.write_bytes(b"\0" * 5_000_000)
    other.write_bytes(b"\0" * 5_000_000)
    third.write_bytes(b"\0" * 4_999_999 + b"\1")

    def content(*paths: Path) -> str | None:
        return words_of(DocumentFiles(tuple(map(str, paths)))).content

    assert content(one) == content(other) != content(third)
    one.write_bytes(b"ab")
    other.write_bytes(b"c")
    third.write_bytes(b"a")
    (tmp_path / "fourth").write_bytes(b"bc")
    assert content(one, other) != content(third, tmp_path / "fourth")
