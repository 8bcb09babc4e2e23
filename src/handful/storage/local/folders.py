"""Where to cut a listing of which nobody knows how its keys begin: at some of its folders.

Dates, customers or shards that stand before the ids spread the keys so unevenly that guesses meet
nothing most of the time. A server that is asked with a delimiter names the folders of one level in
one answer; a few levels give enough of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

Children = Callable[[str], list[str] | None]
"""The folders right below one, each ending in `/`; None: there are too many for one answer."""

ENOUGH = 32
"""Folders that need no more levels: a listing has half as many readers."""
MOST = 64
"""Seams at most: each costs a page that is not full."""
_FOLDER_LEVELS = 6
_FOLDER_THREADS = 32


def folder_seams(children: Children, root: str) -> list[str]:
    """Keys in byte order, at which whole folders begin; none if the first level has too many."""
    leaves: set[str] = set()
    level = [root]
    with ThreadPoolExecutor(_FOLDER_THREADS) as pool:
        for _ in range(_FOLDER_LEVELS):
            following: list[str] = []
            for folder, found in zip(level, pool.map(children, level), strict=True):
                if found:
                    following += found
                elif folder != root:
                    leaves.add(folder)
            level = following
            if not level or len(level) + len(leaves) >= ENOUGH:
                break
    # Without its slash, since servers do not agree about what sorts before one.
    names = sorted(folder.rstrip("/") for folder in leaves.union(level))
    return names[:: max(1, -(-len(names) // MOST))]
