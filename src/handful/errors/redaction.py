"""Blots known secrets out of words that come from elsewhere: a driver's, a user's exception.

Which values are secrets is for others to say (`handful.settings.secrets`). What cannot be found is
a secret that was changed before it was told: its hash, a part of it, another language's escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 4
"""Shorter values stay in words about anything: they say little, and stand everywhere."""
_EVERYWHERE = 8
"""Shorter values are blotted out where they are whole words: else harmless words would be harmed.
"""
_PUBLIC_URL_WORDS = (
    "::1 127.0.0.1 allow disable disabled false localhost none null prefer preferred read_only "
    "require required true utf-8 utf8 utf8mb4 verify-ca verify-full verify_ca verify_identity "
    "memory :memory:"
)
_SAYS_NOTHING = frozenset(_PUBLIC_URL_WORDS.split())
"""What options are set to, and what messages are made of."""


def blotter(secrets: Iterable[str], shortest: int = SHORTEST) -> Callable[[str], str]:
    """A function that blots these values out of a text, however they were escaped.

    `shortest`: fewer letters are no secret here.
    """
    return _blotter(frozenset(secrets), shortest)


@lru_cache(maxsize=16)
def _blotter(secrets: frozenset[str], shortest: int) -> Callable[[str], str]:
    forms: set[str] = set()
    for one in secrets:
        if len(one) >= shortest and one.lower() not in _SAYS_NOTHING:
            forms |= {one, quote(one), quote_plus(one), quote(one, safe=""), repr(one)[1:-1]}
            forms |= {" ".join(one.split()), json.dumps(one)[1:-1]}
            forms.add(json.dumps(one, ensure_ascii=False)[1:-1])
            # A text of several lines is often told line by line.
            forms |= {line.strip() for line in one.split("\n") if len(line.strip()) >= _EVERYWHERE}
    forms.discard("")
    if not forms:
        return str
    # The longest first: a part of it may be a secret, too.
    pattern = re.compile("|".join(map(_secret_pattern, sorted(forms, key=lambda f: (-len(f), f)))))
    return lambda text: pattern.sub(HIDDEN, text)


def _secret_pattern(form: str) -> str:
    if len(form) >= _EVERYWHERE and not form.isalpha():
        return re.escape(form)
    before = r"(?:(?<!\w)|(?<=%[0-9A-Fa-f]{2}))" if _is_word(form[0]) else ""
    return before + re.escape(form) + (r"(?!\w)" if _is_word(form[-1]) else "")


def _is_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"
