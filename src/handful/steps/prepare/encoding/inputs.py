"""The input files of each artifact: which they are, how large, and where they lie on this machine.

A local store's files are read where they are. Those of a remote store are fetched to scratch ahead
of the workers, only those that MODEL_INPUT_FILES names, after checking that they fit on the disk.
"""

from __future__ import annotations

import math
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from handful import layout
from handful.errors import Full
from handful.files.paths import fits
from handful.progress import Progress
from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.encoding.instance import Instances
from handful.steps.prepare.similarity.known_contents import Contents, KnownContents, KnownEtags
from handful.storage.base import Store

_INPUT_FETCH_THREADS = 96
"""At once: a server that answers after 30 ms sends some 2,000 small files a second then. Each
has a connection and a file open, of which some systems allow a process 256."""
_ARTIFACTS_PER_FETCH = 4
"""Artifacts whose files are fetched one after the other."""
_DISK_TO_SPARE = 256 << 20
"""Bytes of scratch that fetched files must leave free, for shards."""


@dataclass(frozen=True, slots=True)
class Document:
    """The input files of one artifact, as far as the ledger and their sizes tell."""

    id: str
    files: Mapping[str, tuple[str, ...]]
    """Name or glob of MODEL_INPUT_FILES → the file names that it stands for, sorted."""
    sizes: Mapping[str, int]
    """File name → bytes; a file that is gone is not in it."""
    bytes: int
    """Of all its files."""
    fault: str
    """Why it cannot be encoded (a missing file, too many bytes); empty if it can."""


Wait = Callable[[Sequence[Document]], None]


class Inputs:
    """The input files of an experiment's artifacts."""

    def __init__(
        self, store: Store, directory: Path, scratch: Path, names: Sequence[str], most: float
    ) -> None:
        """Of files with these names or globs, no more than `most` bytes of an artifact.

        `directory`: the experiment's, as messages name it.
        """
        self._made_of = store, directory, scratch
        self._store = store
        self.remedy = layout.remedy_for(f"{layout.ARTIFACTS}/", str(directory))
        """Of a file that is damaged."""
        self._patterns, self._limit = names, most
        place = store.path(layout.ARTIFACTS)
        self.is_local = isinstance(place, Path)
        self._root = place if isinstance(place, Path) else scratch / "inputs"
        self._remote_sizes: Mapping[str, int] | None = None
        self._contents: KnownContents | None = None
        # Most artifacts have files of the same names: they share one mapping.
        self._files: dict[
            tuple[str, ...], tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]
        ] = {}

    def of_files(self, named: Sequence[str]) -> Inputs:
        """The files that are `named` instead, however large they are."""
        return Inputs(*self._made_of, named, math.inf)

    def documents(self, artifacts: Iterable[Artifact]) -> list[Document]:
        """One document an artifact, in their order; looks at every file's size."""
        return [self._document(artifact) for artifact in artifacts]

    def instances(self, documents: Sequence[Document], labels: Sequence[str]) -> Instances:
        """What `encode_data` is given, document by document."""
        return Instances(
            self._root,
            tuple([document.id for document in documents]),
            tuple(labels),
            tuple([document.files for document in documents]),
        )

    def contents(self, documents: Sequence[Document]) -> Contents:
        """What the files of a local store held when reconcile left them.

        `documents` stand in the order of their ids, with few others in between.
        """
        if not self.is_local or not documents:
            return {}
        if self._contents is None:
            self._contents = KnownContents(self._store)
        return self._contents.between(documents[0].id, documents[-1].id)

    def paths(self, document: Document) -> list[str]:
        """Its files on this machine, by name."""
        return [f"{self._root}/{document.id}/{name}" for name in sorted(document.sizes)]

    def bring(self, documents: Sequence[Document], progress: Progress) -> None:
        """Have the files of `documents` on this machine, but for those that have a fault.

        Raises `Full` before the first byte if the disk is too small, and what the store raises.
        """
        with self.bringing(documents, progress) as wait_for:
            wait_for(documents)

    @contextmanager
    def bringing(self, documents: Iterable[Document], progress: Progress) -> Iterator[Wait]:
        """The same, begun: they come in their order, and the function waits for some of them."""
        if self.is_local:
            yield lambda _: None
            return
        missing = [one for one in documents if self._lacks(one)]
        self._check_room(sum(one.bytes for one in missing))
        parts = [
            missing[first : first + _ARTIFACTS_PER_FETCH]
            for first in range(0, len(missing), _ARTIFACTS_PER_FETCH)
        ]
        pool = ThreadPoolExecutor(_INPUT_FETCH_THREADS, thread_name_prefix="handful-fetch")
        try:
            fetches = [pool.submit(self._fetch, part) for part in parts]
            part_of = {one.id: n for n, part in enumerate(parts) for one in part}

            def wait_for(some: Sequence[Document]) -> None:
                for number in sorted({part_of[one.id] for one in some if one.id in part_of}):
                    fetches[number].result()
                    done = min((number + 1) * _ARTIFACTS_PER_FETCH, len(missing))
                    progress.advance("fetching input files", done, len(missing), "artifacts")

            yield wait_for
        finally:
            pool.shutdown(cancel_futures=True)

    def _lacks(self, document: Document) -> bool:
        places = (self._root / document.id / name for name in document.sizes)
        return not document.fault and not all(place.exists() for place in places)

    def _fetch(self, documents: Sequence[Document]) -> None:
        for document in documents:
            for name in document.sizes:
                place = self._root / document.id / name
                if not place.exists():
                    self._store.fetch(layout.artifact_file(document.id, name), place)

    def _check_room(self, needed: int) -> None:
        if not needed:
            return
        self._root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._root).free
        if needed + _DISK_TO_SPARE > free:
            raise Full(
                f"the input files take {needed >> 20} MiB, and {free >> 20} MiB are free",
                where=str(self._root),
                remedy="make room, point TMPDIR at a larger disk, or set MAX_ARTIFACTS",
            )

    def _document(self, artifact: Artifact) -> Document:
        if artifact.files not in self._files:
            found = {pattern: _matching(pattern, artifact.files) for pattern in self._patterns}
            each = dict.fromkeys(name for names in found.values() for name in names)
            self._files[artifact.files] = found, tuple(each)
        files, wanted = self._files[artifact.files]
        sizes = self._sizes(artifact.id, wanted)
        absent = [pattern for pattern, names in files.items() if not names]
        absent += [name for name in wanted if name not in sizes]
        fault = f"missing input: {', '.join(absent)}" if absent else ""
        total = sum(sizes.values())
        if not fault and total > self._limit:
            fault = f"its files have {total} bytes, more than MAX_INSTANCE_BYTES ({self._limit})"
        return Document(artifact.id, files, sizes, total, fault)

    def _sizes(self, artifact_id: str, names: Iterable[str]) -> dict[str, int]:
        if self.is_local:
            found = {name: _input_file_size(f"{self._root}/{artifact_id}/{name}") for name in names}
            return {name: size for name, size in found.items() if size is not None}
        if self._remote_sizes is None:
            self._remote_sizes = self._list_input_files()
        keys = {name: layout.artifact_file(artifact_id, name) for name in names}
        known = self._remote_sizes
        return {name: known[key] for name, key in keys.items() if key in known}

    def _list_input_files(self) -> dict[str, int]:
        """Key → bytes of the store's input files, from one listing."""
        found: dict[str, int] = {}
        known = KnownEtags(self._store, self.remedy)
        for batch in self._store.list(f"{layout.ARTIFACTS}/"):
            known.check(batch)
            keys, sizes = batch.column("key").to_pylist(), batch.column("size").to_pylist()
            for key, size in zip(keys, sizes, strict=True):
                name = key.removeprefix(f"{layout.ARTIFACTS}/").partition("/")[2]
                if any(_matching(pattern, (name,)) for pattern in self._patterns):
                    found[key] = size
        return found


def _input_file_size(path: str) -> int | None:
    """Bytes of a file; None if it is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of pathlib, and there are many
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _matching(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that a name or a glob stands for, sorted."""
    return tuple(sorted(name for name in names if fits(pattern, name)))
