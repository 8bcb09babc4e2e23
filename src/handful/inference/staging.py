"""The files of a window of documents: private copies where something writes or is far away.

Production is never written to: `process_func` works on a copy. Without one, a local document's
files are read where they lie.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.errors import Full, StoreError, Unreachable
from handful.errors.exceptions import shortage
from handful.files.paths import fits, is_glob, leads_outside
from handful.inference.places import Found
from handful.inference.works import Copy, Failure
from handful.settings import Settings
from handful.steps.prepare.encoding.instance import Instance, Place
from handful.storage.local.walk import files_below

_FETCHES = 32
_TO_SPARE = 256 << 20
"""Bytes of scratch that copies must leave free."""
NO_LABEL: Any = None
"""What `instance.label` and `artifact.label` are when nobody knows it."""


@dataclass(frozen=True)
class Stage:
    """Takes documents to where the user's functions find their files."""

    settings: Settings
    scratch: Path
    """An empty folder of this window's own."""
    processed: bool
    """Is there a process_func, which wants copies?"""

    def taken(self, found: Found) -> tuple[str, ...]:
        """The names of the files that are looked at: never a label that lies beside them."""
        copied = self.settings.production.FILES_FROM_PROD
        patterns = copied if self.processed else self.settings.prepare.MODEL_INPUT_FILES
        names = (name for name in found.sizes if not leads_outside(name))
        return tuple(sorted(name for name in names if any(fits(p, name) for p in patterns)))

    def fault(self, found: Found) -> str:
        """Why a document is not even begun; empty if it is."""
        if found.fault:
            return found.fault
        inputs = self.settings.prepare.MODEL_INPUT_FILES
        known = {n: found.sizes[n] for n in self.taken(found) if any(fits(p, n) for p in inputs)}
        return self._too_large(sum(known.values()))

    def copy(self, documents: Sequence[Found], label: Any = NO_LABEL) -> dict[str, Copy | Failure]:
        """A private copy of each; `Full` or `Unreachable` if none could be had, for any reason
        that no document is guilty of."""
        self._check_room(documents)
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="handful-fetch") as pool:
            jobs = {
                found.id: pool.submit(self._copy_document, number, found, label)
                for number, found in enumerate(documents)
            }
            return {name: job.result() for name, job in jobs.items()}

    def in_place(self, found: Found) -> Instance | Failure:
        """A local document, read where it lies."""
        paths = {}
        try:
            for name in self.taken(found):
                paths[name] = Path(str(found.source.path(found.folder + name)))
        except StoreError as error:
            return Failure(_line(error))
        return self._instance(found.id, paths)

    def staged(self, copy: Copy) -> Instance | Failure:
        """A copy as `process_func` left it."""
        sizes = {entry.key: entry.size for entry in files_below(copy.folder, "")}
        inputs = self.settings.prepare.MODEL_INPUT_FILES
        wanted = {n: size for n, size in sizes.items() if any(fits(p, n) for p in inputs)}
        too_large = self._too_large(sum(wanted.values()))
        if too_large:
            return Failure(too_large)
        instance = self._instance(copy.id, {name: copy.folder / name for name in wanted})
        if isinstance(instance, Instance):
            label: Any = copy.label
            return Instance(instance.id, label, instance.files)
        return instance

    def _instance(self, artifact_id: str, paths: Mapping[str, Path]) -> Instance | Failure:
        files: dict[str, Place] = {}
        for pattern in self.settings.prepare.MODEL_INPUT_FILES:
            mine = [paths[name] for name in sorted(paths) if fits(pattern, name)]
            if not mine:
                return Failure(f"missing input: {pattern}")
            files[pattern] = mine if is_glob(pattern) else mine[0]
        return Instance(artifact_id, NO_LABEL, files)

    def _copy_document(self, number: int, found: Found, label: Any) -> Copy | Failure:
        # The folder keeps the document's name; the number keeps two of one name apart.
        folder = self.scratch / str(number) / found.id
        names = self.taken(found)
        try:
            folder.mkdir(parents=True)
            for name in names:
                found.source.fetch(found.folder + name, folder / name)
        except (Full, Unreachable):
            raise
        except (StoreError, OSError) as error:
            short = shortage(error)
            if short:
                raise short from error
            return Failure(_line(error))
        return Copy(found.id, label, folder, names)

    def _check_room(self, documents: Sequence[Found]) -> None:
        needed = sum(found.sizes[name] for found in documents for name in self.taken(found))
        free = shutil.disk_usage(self.scratch).free
        if needed + _TO_SPARE > free:
            raise Full(
                f"the documents' files take {needed >> 20} MiB, and {free >> 20} MiB are free",
                where=str(self.scratch),
                remedy="make room, or point TMPDIR at a larger disk",
            )

    def _too_large(self, size: int) -> str:
        most = self.settings.prepare.MAX_INSTANCE_BYTES
        told = f"its files have {size} bytes, more than MAX_INSTANCE_BYTES ({most})"
        return told if size > most else ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
