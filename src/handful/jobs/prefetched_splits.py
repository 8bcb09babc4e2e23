"""Encoded splits that a job has brought to this machine before it began: nobody fetches them again.

A container tells the worker by the environment, so that the worker is the same as at home.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "HANDFUL_SPLIT_"
SPLITS_OF_TRAINING = ("train", "validation")
"""What a training reads; each arrives under its own name."""


def find_prefetched_split(split: str) -> Path | None:
    """The folder of an encoded split, as its dataset was saved; None: it is in the store alone."""
    folder = os.environ.get(f"{VARIABLE}{split}")
    return Path(folder) if folder else None


def told(folders: Mapping[str, Path]) -> dict[str, str]:
    """The variables that tell of those of `folders` (by name) that are splits."""
    return {
        f"{VARIABLE}{name}": str(folder)
        for name, folder in folders.items()
        if name in SPLITS_OF_TRAINING
    }
