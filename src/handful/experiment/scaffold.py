"""`handful init`: the directory of a new experiment, with its files to fill in."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from handful.errors import UserError

TEMPLATES = ("settings.ini", "functions.py", "Dockerfile")
"""The last one is for SageMaker only."""


def init_experiment(parent: Path, name: str) -> Path:
    """Write `parent/name/` with the templates; the directory.

    `UserError` if the name is no safe folder name, or the directory has files already.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise UserError(
            f"{name!r} is no safe folder name",
            remedy="use letters, digits, '.', '_' and '-', such as EXP-0007-longformer",
        )
    directory = parent / name
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(
            "there is something already", where=str(directory), remedy="choose another name"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for template in TEMPLATES:
            text = files("handful").joinpath("templates", "experiment", template).read_text()
            (directory / template).write_text(text)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=str(directory)) from error
    return directory
