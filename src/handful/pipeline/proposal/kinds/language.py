"""In which language texts are written: by their letters, and by the smallest words.

Sure of itself or silent: a language that is not among these, a few words, or several languages give
none. It looks at most at `_MOST_LETTERS` letters of a text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_MOST_LETTERS = 5_000
_FEWEST_WORDS = 12
"""Fewer words of a text say nothing; texts that are all so short are read together."""
_SMALL_WORDS = 0.12
"""Of a text's words at least so many are the smallest ones of its language."""
_AHEAD = 1.3
"""So many times as many small words as those of the next language."""
_AGREE = 0.8
"""Of the texts whose language was found, at least so many have this one."""
_LETTERS_OF_WORD = re.compile(r"[^\W\d_]+")

_SMALL_WORDS_OF = {
    "en": "the of and to in is that for it with as was on be at by this are from have not you we",
    "de": "der die und das in den von zu mit sich des auf für ist im dem nicht ein eine als wir",
    "fr": "le la les de des du et un une est en que qui dans pour pas sur au avec ce il nous vous",
    "es": "el la los las de del y que en un una es por con para se no su al lo como más",
    "it": "il di che e la per un in non è del della una con sono da le si i gli nel alla anche",
    "pt": "o a os as de do da dos das e que em um uma para com não por no na se mais como",
    "nl": "de het een van en in is dat op te voor met zijn niet die aan er ook als om bij wij",
    "sv": "och att det som en på är av för med den till inte har de ett om jag var vi från",
    "da": "og i at det er en til af på som med for den ikke der har de et jeg var vi fra",
    "no": "og i det er en til av på som med for den ikke har de et jeg var vi fra å ble",
    "fi": "ja on ei se että hän oli olla ovat mutta kun myös niin joka tai kuin ole mitä tämä sekä",
    "pl": "w i na z do się nie że to jest o jak za po dla od są przez ale był który oraz",
    "cs": "a v na se je že to s z do o k za by pro jako po ale jsou byl tak který není jsem",
    "hu": "a az és hogy nem egy is ez van de volt meg csak már mint vagy kell lehet ami ezt",
    "ro": "și de în a la cu pe nu o că este din un care mai pentru sau prin fi au sunt",
    "tr": "ve bir bu da de için ile çok ne daha gibi olarak kadar var olan ama en değil o sonra",
    "id": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ada adalah ke oleh",
    "vi": "và của là có không được trong một cho các với đã những này người khi để đến về",
}
_SMALLEST = {language: frozenset(words.split()) for language, words in _SMALL_WORDS_OF.items()}
_SCRIPTS = {
    "el": "\u0370-\u03ff",
    "ru": "\u0400-\u04ff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff",
    "hi": "\u0900-\u097f",
    "th": "\u0e00-\u0e7f",
    "ko": "\uac00-\ud7af",
    "ja": "\u3040-\u30ff",
    "zh": "\u4e00-\u9fff",
}
_SCRIPT_LETTERS = {name: re.compile(f"[{span}]") for name, span in _SCRIPTS.items()}
_LANGUAGE_MARKS = {
    "ru": {
        "uk": re.compile("[іїєґ]"),
        "bg": re.compile("ъ[а-я]|щ[а-я]т"),
        "sr": re.compile("[ђјљњћџ]"),
    },
    "ar": {"fa": re.compile("[پچژگ]")},
}
"""Letters of a script that another language has, and the script's usual one has not."""
_MARKED = 0.01
"""Of the letters so many are such marks."""


def language_of(texts: Iterable[str]) -> str:
    """ISO 639-1 of nearly all texts; empty if not sure."""
    begun = [text[:_MOST_LETTERS] for text in texts]
    long = [
        text
        for text in begun
        if len(_LETTERS_OF_WORD.findall(text)) >= _FEWEST_WORDS or _script(text)
    ]
    votes = Counter(filter(None, map(_language_of_one, long or [" ".join(begun)])))
    if not votes:
        return ""
    language, count = votes.most_common(1)[0]
    return language if count >= _AGREE * votes.total() else ""


def _language_of_one(text: str) -> str:
    return _script(text) or _by_small_words(text)


def _script(text: str) -> str:
    """The language of a script that is not the Latin one."""
    letters = sum(map(str.isalpha, text))
    counts = {name: len(letter.findall(text)) for name, letter in _SCRIPT_LETTERS.items()}
    if counts["ja"] > 0.1 * letters:  # among Chinese signs
        return "ja"
    name = max(counts, key=lambda one: counts[one])
    if not counts[name] or counts[name] < 0.5 * letters:
        return ""
    for other, mark in _LANGUAGE_MARKS.get(name, {}).items():
        if len(mark.findall(text.lower())) >= _MARKED * letters:
            return other
    return name


def _by_small_words(text: str) -> str:
    words = [word.lower() for word in _LETTERS_OF_WORD.findall(text)]
    if len(words) < _FEWEST_WORDS:
        return ""
    hits = {language: sum(word in small for word in words) for language, small in _SMALLEST.items()}
    first, second = sorted(hits, key=lambda one: -hits[one])[:2]
    sure = hits[first] >= _SMALL_WORDS * len(words) and hits[first] >= _AHEAD * hits[second]
    return first if sure else ""
