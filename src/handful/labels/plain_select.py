"""A first look at LABEL_QUERY, without a parser: is it a SELECT of harmless words only?

sqlglot takes a quarter of a second to load. A query without a comment, a second statement or a word
that could write, wherever it stood, does not need it where the database is read-only by itself.
"""

from __future__ import annotations

import re

from handful.labels.writing_words import FOLLOWS, OTHER_QUERY, WRITING, WRITING_FUNCTION

_SELECT_QUOTE_PATTERN = re.compile(r"""'[^'\\]*'|"([^"\\]*)"|`([^`\\]*)`""")
"""A text, whose words do nothing, or a name, whose words are looked at: it may be a function's."""
_HARMLESS_SELECT_PATTERN = re.compile(
    r"(?!.*(?:--|/\*))[\w\s.,()=<>!+*/%|:-]*", re.ASCII | re.DOTALL
)
_SELECT_WORD_PATTERN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DOUBTFUL = {*WRITING, *FOLLOWS, *OTHER_QUERY}
_DOUBTFUL |= {"INTO", "FOR", "NEXT", "PROCEDURE", "EXEC", "EXECUTE", "CALL", "EXPLAIN"}


def is_plain_select(query: str) -> bool:
    """True only if no server could read more into it than a SELECT; False says nothing."""
    unquoted = _SELECT_QUOTE_PATTERN.sub(r" \1\2 ", query.strip().removesuffix(";"))
    words = [word.upper() for word in _SELECT_WORD_PATTERN.findall(unquoted)]
    return (
        bool(_HARMLESS_SELECT_PATTERN.fullmatch(unquoted))
        and words[:1] in (["SELECT"], ["WITH"])
        and _DOUBTFUL.isdisjoint(words)
        and not any(WRITING_FUNCTION.fullmatch(word) for word in words)
    )
