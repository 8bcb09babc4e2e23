"""The file of predictions, one JSON object a line: a run that was killed goes on where it was.

Beside it lies `<name>.made_from.json`, which says with what the lines were predicted, so that no
file ever holds the answers of two models.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from handful.errors import Full, UserError
from handful.experiment.fingerprint import difference

BESIDE = ".made_from.json"


class Lines:
    """An open file of predictions; `done` are the artifact ids that whole lines of it tell of."""

    def __init__(self, path: Path, made_from: Mapping[str, str]) -> None:
        """Open or begin `path`; what a killed run left of a last line is cut off.

        `UserError` if its lines were made from something else, are no predictions, or if another
        process is writing to it.
        """
        self.path = path
        self.done: set[str] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise UserError(what, where=str(path), remedy="name another --output") from error
        try:
            self._take(made_from)
        except BaseException:
            self._file.close()
            raise

    def add(self, lines: Iterable[str]) -> None:
        """Write whole lines, and hand them to the system at once. `Full` if the disk is."""
        try:
            self._file.write("".join(f"{line}\n" for line in lines).encode("ascii"))
            self._file.flush()
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            remedy = "make room and run the same command again: it goes on where it was"
            raise Full(what, where=str(self.path), remedy=remedy) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _take(self, made_from: Mapping[str, str]) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = "another process is writing to it"
            raise UserError(what, where=str(self.path), remedy="wait for it") from error
        beside = self.path.with_name(self.path.name + BESIDE)
        self._file.seek(0)
        if self._file.read(1):
            self._check(beside, made_from)
            self._read()
        else:
            aside = beside.with_name(f"{beside.name}.{os.getpid()}")
            aside.write_text(json.dumps(dict(made_from), indent=2) + "\n")
            aside.replace(beside)

    def _check(self, beside: Path, made_from: Mapping[str, str]) -> None:
        remedy = "name another --output, or remove the file to predict everything again"
        try:
            before = json.loads(beside.read_text())
        except (OSError, ValueError) as error:
            what = f"it holds lines, but {beside.name} does not say what made them"
            raise UserError(what, where=str(self.path), remedy=remedy) from error
        change = difference(before, made_from)
        if change:
            what = f"its lines were predicted otherwise: {change}"
            raise UserError(what, where=str(self.path), remedy=remedy)

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                self.done.add(str(json.loads(line)["artifact_id"]))
            except (ValueError, KeyError, TypeError) as error:
                what = f"line {number} is no prediction"
                remedy = "remove the file to predict everything again"
                raise UserError(what, where=str(self.path), remedy=remedy) from error
            whole += len(line)
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
