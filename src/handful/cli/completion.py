"""What a shell is offered when somebody presses Tab: experiments, keys of `--set`, and steps.

Each press starts handful anew, so nothing heavy is imported, and few folders are looked into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

COMPLETED_STEPS = ("reconcile", "prepare", "tune", "train", "test", "compare", "report")
"""As `pipeline.steps` has them, which would take longer to import than a key press may."""
_FOLDERS_DEEP = 3
_MOST_ENTRIES = 2_000
_PLAIN_VALUE = re.compile(r"[\w./%+-]+")


def complete_experiment(incomplete: str) -> list[str]:
    """Directories with a settings.ini whose path begins so, a few folders deep.

    None is found: the shell offers what it offers for any file.
    """
    folder, _, beginning = incomplete.rpartition("/")
    shown = f"{folder}/" if "/" in incomplete else ""
    root = Path(shown or ".").expanduser()
    left = [_MOST_ENTRIES]
    found = _experiments_below(root, shown, beginning, _FOLDERS_DEEP, left)
    return sorted(found)


def _experiments_below(
    folder: Path, shown: str, beginning: str, depth: int, left: list[int]
) -> Iterator[str]:
    for entry in _subfolders(folder, left):
        if not entry.name.startswith(beginning) or entry.name.startswith((".", "_")):
            continue
        if (folder / entry.name / "settings.ini").is_file():
            if not (folder / entry.name / "store.json").exists():  # what ran, kept in a store
                yield f"{shown}{entry.name}"
        elif depth > 1:
            below = f"{shown}{entry.name}/"
            yield from _experiments_below(folder / entry.name, below, "", depth - 1, left)


def _subfolders(folder: Path, left: list[int]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                left[0] -= 1
                if left[0] < 0:
                    return
                if entry.is_dir():
                    yield entry
    except OSError:  # nobody may look there, or it has gone
        return


def complete_setting(incomplete: str) -> list[str]:
    """`section.KEY=` of every key that begins so; of a single one its default, too.

    That there are two of these keeps the shell from putting a space behind the `=`.
    """
    from handful.settings import describe_settings

    keys = {f"{one.section}.{one.key}=": one for one in describe_settings()}
    names = [name for name in keys if name.lower().startswith(incomplete.lower())]
    if len(names) != 1:
        return names
    default = str(keys[names[0]].default or "")
    return names + [f"{names[0]}{default}"] * bool(_PLAIN_VALUE.fullmatch(default))


def complete_step(incomplete: str) -> list[str]:
    """The steps whose name begins so."""
    return [step for step in COMPLETED_STEPS if step.startswith(incomplete)]
