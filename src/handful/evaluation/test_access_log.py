"""evaluation/looks.jsonl: every look at the test split, and whether it came after a verdict.

A look is noted before its first result leaves the worker, so that no kill can hide one, and again
when it is over. A look that was cut off and is taken up again, by the same models and settings, is
one look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from handful.errors import Absent, Damaged, DataError
from handful.layout import Layout
from handful.progress import Progress
from handful.records.moments import current_moment
from handful.storage.base import Store

_SAME = ("runs", "settings_hash")


def looks_so_far(store: Store, layout: Layout) -> list[dict[str, Any]]:
    """Every look, the first one first; `DataError` if a line is damaged."""
    key = layout.looks
    try:
        data = store.read(key)
    except Absent:
        return []
    try:
        return [dict(json.loads(line)) for line in data.splitlines() if line.strip()]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"a line cannot be read: {error}",
            where=f"{store.url}/{key}",
            remedy="mend that line; the others say how often the test split was looked at",
        ) from error


def begin_look(store: Store, layout: Layout, progress: Progress, look: Mapping[str, Any]) -> int:
    """Note a look that is about to leave its results; nothing new if it was cut off before.

    Its number, counted from 1. `look` has `runs` (model, seed and weights_hash of each),
    `settings` and `settings_hash`.
    """
    before = looks_so_far(store, layout)
    if before and _is_unfinished(before[-1]) and _same(before[-1], look):
        return len(before)
    begun = {"when": current_moment(), **look, "finished": None}
    if after_verdict(store, layout, [run["weights_hash"] for run in look["runs"]]):
        begun["after_verdict"] = True
        progress.warn(
            "this look at the test split came after a verdict about other models; it is marked so"
        )
    _write(store, layout, [*before, begun])
    return len(before) + 1


def finish_look(
    store: Store, layout: Layout, progress: Progress, look: Mapping[str, Any], number: int = 0
) -> int:
    """Note that the look is over; how many there are now.

    `number`: that of the look, if known; one that is over is not noted again.
    """
    looks = looks_so_far(store, layout)
    known = looks[number - 1 : number] if number else []
    if known and _same(known[0], look) and not _is_unfinished(known[0]):
        return len(looks)
    begin_look(store, layout, progress, look)
    looks = looks_so_far(store, layout)
    looks[-1] = {**looks[-1], **look, "finished": current_moment()}
    _write(store, layout, looks)
    return len(looks)


def after_verdict(store: Store, layout: Layout, weights: Iterable[str]) -> bool:
    """Has a verdict been given, and was it about other weights than these hashes?"""
    try:
        verdict = json.loads(store.read(layout.comparison))
        judged = {run["weights_hash"] for run in verdict["runs"]}
    except Absent:
        return False
    except (Damaged, ValueError, KeyError, TypeError):
        return True  # a verdict stood there; nobody can say any more what it was about
    return not set(weights) <= judged


def _is_unfinished(look: Mapping[str, Any]) -> bool:
    return "finished" in look and look["finished"] is None


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def _write(store: Store, layout: Layout, looks: Iterable[Mapping[str, Any]]) -> None:
    lines = [json.dumps(look, ensure_ascii=False) for look in looks]
    store.write(layout.looks, "".join(f"{x}\n" for x in lines).encode())
