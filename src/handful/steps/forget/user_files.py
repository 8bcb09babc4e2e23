"""The user's own files in the experiment's directory: overrides and predictions lose their lines.

Others that name a document are told, and left: nobody knows what they are for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from handful.experiment.context import Experiment
from handful.files import checksums
from handful.steps.forget import texts
from handful.steps.forget.journal import ForgetJournal
from handful.steps.forget.targets import Targets
from handful.storage.base import Store

_LARGEST = 64 << 20
"""Bytes of a file that is searched."""


def forget_user_files(
    experiment: Experiment, store: Store, journal: ForgetJournal, targets: Targets
) -> list[str]:
    """Rewrite what can be; what still names a document, in words."""
    overrides = experiment.settings.reconcile.LABEL_OVERRIDES
    left = []
    for path in _own_files(experiment, overrides):
        data = path.read_bytes()
        found = data
        if path == overrides or path.suffix == ".csv":
            found = _in_sheet(data, targets)
        elif path.suffix == ".jsonl":
            found = texts.forget_in_json_lines(data, targets)
        if found != data:
            key = str(path.absolute())
            journal.note(store, key, checksums.of_bytes(data), checksums.of_bytes(found))
            _replace_file(path, found)
        if targets.raw.search(found):
            left.append(f"{path}: it names one; look at it yourself")
    return left


def _own_files(experiment: Experiment, overrides: Path | None) -> Iterator[Path]:
    """Those of the directory, but for a store within it; and LABEL_OVERRIDES, wherever it is."""
    store = Path(experiment.store.url) if "://" not in experiment.store.url else None
    for folder, folders, names in os.walk(experiment.directory):
        inside = Path(folder)
        folders[:] = [
            name for name in folders if not name.startswith(".") and inside / name != store
        ]
        for name in sorted(names):
            path = inside / name
            if path != overrides and path.is_file() and path.stat().st_size <= _LARGEST:
                yield path
    if overrides and overrides.is_file():
        yield overrides


def _in_sheet(data: bytes, targets: Targets) -> bytes:
    try:
        return texts.forget_in_csv(data, targets)
    except UnicodeDecodeError:
        return data


def _replace_file(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.forgetting")
    part.write_bytes(data)
    part.chmod(path.stat().st_mode)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
