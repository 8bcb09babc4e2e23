"""Where in JSON the text stands."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

_JSON_WORD = re.compile(
    r"(?<!\S)[^\W\d_]{2,}(?=[\s.,;:!?]|$)|[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]{2}"
)
"""A word between blanks, or a piece of a script that has none between its words."""
_PROSE_WORDS = 3
"""A string of fewer words is a name or a code; where there are no others, it counts too."""
_USUAL_PATH = 0.5
"""Of the documents at least so many have a text there."""
_DEEPEST_KEY = 20
Keys = tuple[str, ...]


def find_text_path(values: Iterable[Any]) -> Keys | None:
    """The keys to the longest text that most of these values have; None if there is none.

    Lists on the way are walked through: `("parts", "text")` of `{"parts": [{"text": "…"}]}`; the
    empty path: the value is itself a string, or a list of some.
    """
    lengths: dict[Keys, list[int]] = defaultdict(list)
    prose: dict[Keys, list[int]] = defaultdict(list)
    count = 0
    for value in values:
        count += 1
        for path, texts in _texts_by_path(value).items():
            whole = " ".join(texts)
            lengths[path].append(len(whole))
            if len(_JSON_WORD.findall(whole)) >= _PROSE_WORDS:
                prose[path].append(len(whole))
    for found in (prose, lengths):
        usual = {
            path: median(sizes) for path, sizes in found.items() if len(sizes) > _USUAL_PATH * count
        }
        if usual:
            return max(usual, key=lambda path: usual[path])
    return None


def texts_at(value: Any, path: Sequence[str]) -> list[str]:
    """The strings to which the keys lead."""
    return _texts_by_path(value).get(tuple(path), [])


def spell_path(path: Sequence[str]) -> str:
    """`a.b`; a dot within a key is `\\.`, a backslash `\\\\`."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)


def read_path(spelled: str) -> Keys:
    """What `spell_path` spelled."""
    if not spelled:
        return ()
    keys = re.findall(r"(?:^|\.)((?:\\.|[^.\\])*)", spelled)
    return tuple(re.sub(r"\\(.)", r"\1", key) for key in keys)


def load_values(text: str, *, lines: bool) -> Iterator[Any]:
    """What the JSON is; `lines`: a value on each line. Nothing for what is cut off or broken."""
    for piece in text.splitlines() if lines else [text]:
        try:
            yield json.loads(piece.removeprefix("\ufeff"))
        except (ValueError, RecursionError):
            continue


def _texts_by_path(value: Any) -> dict[Keys, list[str]]:
    found: dict[Keys, list[str]] = defaultdict(list)
    stack: list[tuple[Keys, Any]] = [((), value)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            found[path].append(value)
        elif isinstance(value, list):
            stack.extend((path, item) for item in reversed(value))
        elif isinstance(value, dict) and len(path) < _DEEPEST_KEY:
            stack.extend(((*path, key), item) for key, item in reversed(value.items()))
    return found
