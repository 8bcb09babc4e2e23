"""The sentence on top of a report whose figures were made with documents that are forgotten now."""

from __future__ import annotations

import html
import re

_MARK = "since-forgotten"
_BANNER = re.compile(rf'<p class="{_MARK}">.*?</p>', re.DOTALL)
_MAIN = re.compile(r"<main\b[^>]*>")


def mark_report(page: str, words: str) -> str:
    """`page` with `words` on top, in the place of what stood there; without, if there are none."""
    page = _BANNER.sub("", page)
    if not words:
        return page
    banner = f'<p class="{_MARK}">{html.escape(words)}</p>'
    return _MAIN.sub(lambda one: one[0] + banner, page, count=1)
