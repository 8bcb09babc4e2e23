"""The files of each step that later steps read: which they are, and how they are checked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from handful import layout
from handful.errors import Absent, Damaged
from handful.files import checksums
from handful.files.checksums import Checksum, Files
from handful.layout import Layout, checks_itself
from handful.progress import Progress
from handful.records import Compared, Prepared, Record, Reported, Tested, Trained, Tuned
from handful.storage.base import Store
from handful.storage.checked import CheckedStore, bare, list_written_files

T = TypeVar("T")
R = TypeVar("R")

_STEP_FILE_THREADS = 32
_GONE = "it is gone"
_SMALL = 4 << 20
"""Bytes that are held in memory."""


def files_of(
    store: Store, mine: Layout, record: Record, before: Files
) -> dict[str, tuple[int, str]]:
    """What `record` is to say of its step's files.

    What nobody noted when it was written, `before` (an older record) says, or the store.
    """
    noted = list_written_files(store)
    keys, logs = _step_file_keys(store, mine, record), _logs(store, mine, record)
    # What a worker wrote line by line, nobody noted.
    new = [key for key in keys if key in logs or (key not in noted and key not in before)]
    found = _at_once(partial(checksum_of, bare(store)), new)
    told = dict(zip(new, found, strict=True))
    return checksums.to_json({**before, **noted, **told}, keys)


def check_files(
    store: Store, record: Record, outputs: Sequence[str], *, verify: Progress | None = None
) -> tuple[list[str], list[Damaged]]:
    """Those of `outputs` that are gone, and what is wrong with the record's files otherwise.

    One question a file, for its size; with `verify`, which is told of it, each is read. A marker
    that checks itself is read either way.
    """
    known = checksums.from_json(record.files)
    own = [key for key in outputs if checks_itself(key)]
    markers = dict(zip(own, _at_once(partial(_marker, store), own), strict=True))
    damage = [one for one in markers.values() if isinstance(one, Damaged)]
    gone = [key for key, one in markers.items() if one is None]
    for key, one in markers.items():
        if isinstance(one, Mapping):
            folder = key.rpartition("/")[0]
            files = checksums.from_json(one.get(checksums.FILES))
            # A folder's marker names them relative to it; the snapshot's is as a record.
            known |= {n if n.startswith("data/") else f"{folder}/{n}": f for n, f in files.items()}
    keys = [key for key in dict.fromkeys((*outputs, *known)) if key not in markers]

    def check(key: str) -> str:
        try:
            if key not in known:
                store.head(key)
                return ""
            if verify:
                found = checksum_of(bare(store), key)
                return checksums.difference(known[key], found)
            return checksums.size_difference(known[key], store.head(key).size)
        except Absent:
            return _GONE

    for done, (key, wrong) in enumerate(zip(keys, _at_once(check, keys), strict=True), start=1):
        if verify:
            verify.advance("verifying", done, len(keys), "files")
        if wrong == _GONE and key in outputs:
            gone.append(key)
        elif wrong and isinstance(store, CheckedStore):
            damage.append(store.damaged(key, wrong))
    return gone, damage


def _marker(store: Store, key: str) -> Mapping[str, Any] | Damaged | None:
    """What a file that checks itself says, or what is wrong with it; None if it is gone."""
    try:
        found: Mapping[str, Any] = json.loads(store.read(key))
    except Absent:
        return None
    except Damaged as error:
        return error
    return found


def checksum_of(store: Store, key: str) -> Checksum:
    """How the file stands in the store."""
    path = store.path(key)
    if isinstance(path, Path):
        store.head(key)  # says it better, if it is not there
        return checksums.of_file(path)
    if store.head(key).size <= _SMALL:
        return checksums.of_bytes(store.read(key))
    with tempfile.TemporaryDirectory(prefix="handful-") as folder:
        store.fetch(key, Path(folder) / "file")
        return checksums.of_file(Path(folder) / "file")


def _at_once(do: Callable[[T], R], things: Iterable[T]) -> Iterator[R]:
    with ThreadPoolExecutor(_STEP_FILE_THREADS, thread_name_prefix="handful-files") as pool:
        yield from pool.map(do, things)


def _step_file_keys(store: Store, mine: Layout, record: Record) -> list[str]:
    """The files of the step that made `record`, as they stand."""
    if isinstance(record, Prepared):
        maps = {mine.label2id, mine.id2label, mine.splits, mine.split_metadata, mine.leakage}
        parts = (*(f"{split}/" for split in layout.SPLITS), layout.QUARANTINE, layout.TRUNCATION)
        encoded = [f"{mine.encoded(model)}/{part}" for model in record.rows for part in parts]
        return _list_keys_by_prefix(store, mine.prepared, (*maps, *encoded))
    if isinstance(record, Tuned):
        folders = [mine.tuning(best.model) for best in record.best]
        return [f"{folder}/{name}" for folder in folders for name in (layout.TUNING, layout.BEST)]
    if isinstance(record, Trained):
        return _logs(store, mine, record)
    if isinstance(record, Tested):
        every = (*record.evaluations, *record.baselines)
        folders = [f"{mine.evaluated(one.model, one.seed)}/" for one in every]
        return _list_keys_by_prefix(store, mine.evaluation, (*folders, mine.looks))
    if isinstance(record, Compared):
        return _there(store, mine.comparison, mine.label_review_notes)
    if isinstance(record, Reported):
        return [record.key]
    counts = _there(store, layout.LABEL_COUNTS)
    return [
        *counts,
        *_list_keys_by_prefix(store, layout.RECONCILIATION, layout.RECONCILE_FILES),
    ]


def _list_keys_by_prefix(store: Store, folder: str, wanted: tuple[str, ...]) -> list[str]:
    """The keys below `folder` that begin as one of the `wanted`."""
    return sorted(
        key
        for batch in store.list(f"{folder.rstrip('/')}/")
        for key in batch.column("key").to_pylist()
        if key.startswith(wanted)
    )


def _logs(store: Store, mine: Layout, record: Record) -> list[str]:
    """The learning curves; what is in final/ is named by its own marker."""
    if not isinstance(record, Trained):
        return []
    keys = [mine.metrics_log(run.model, run.seed) for run in record.runs]
    return _there(store, *keys)


def _there(store: Store, *keys: str) -> list[str]:
    """Those of them that are there."""
    written = list_written_files(store)

    def is_there(key: str) -> bool:
        if key in written:
            return True
        try:
            store.head(key)
        except Absent:
            return False
        return True

    return [key for key, found in zip(keys, _at_once(is_there, keys), strict=True) if found]
