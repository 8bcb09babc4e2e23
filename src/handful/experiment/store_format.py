"""The mark of an experiment's store: its format, and what ran in it last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from handful import layout
from handful.errors import Absent, DataError
from handful.settings import public_text
from handful.storage.base import Store
from handful.storage.tree import each

STORE_FORMAT = 1
"""Older builds of this format know no tokens (see `handful.storage.lock`), and no checkpoints but
those right under checkpoints/. They do this one no more harm than each other, and find what they
know where it was: so the format has stayed."""


def is_marked(store: Store) -> bool:
    """Is this a store of ours? False if it is new.

    `DataError` if it is something else, or of a format that this version does not know.
    """
    try:
        found = json.loads(store.read(layout.STORE))["format"]
        if type(found) is not int or found < 1:
            raise ValueError(f"format {found!r}")
        newer = found > STORE_FORMAT
    except Absent:
        return False
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "this is not a store of handful's, or its mark is damaged",
            where=f"{store.url}/{layout.STORE}",
            remedy="name another STORE, or restore that file",
        ) from error
    if newer:
        raise DataError(
            f"the store has format {found}; this handful knows up to {STORE_FORMAT}",
            where=f"{store.url}/{layout.STORE}",
            remedy="install a newer handful",
        )
    return True


def keep_what_runs(store: Store, directory: Path, overrides: tuple[str, ...]) -> None:
    """Mark the store, and keep settings (no secrets) and functions beside what they make.

    For whoever holds the lock of the step that runs: so a call that has to stop at a lock has
    not replaced what the one at work runs with.
    """
    settings = public_text(directory, overrides).encode()
    functions = (directory / layout.FUNCTIONS).read_bytes()

    def mark() -> None:
        if not is_marked(store):
            store.write(layout.STORE, json.dumps({"format": STORE_FORMAT}).encode())

    def keep_settings() -> None:
        store.write(layout.SETTINGS, settings)

    def keep_functions() -> None:
        store.write(layout.FUNCTIONS, functions)

    # None of them needs another, and a distant store answers each after a while.
    each(_do, (mark, keep_settings, keep_functions))


def _do(part: Callable[[], None]) -> None:
    part()
