"""The documents behind the mistakes: which file, how large, and how its text begins.

What is shown is what the model was given: the artifact's files that MODEL_INPUT_FILES names, be it
by a glob. Those of production come before those that `process_func` made of them, and the first
that holds a readable text is the one that is shown.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from handful import layout
from handful.errors import Absent, Archived
from handful.files.document_text import MOST, first_text
from handful.files.paths import fits
from handful.records import Fate
from handful.storage.base import Store

LETTERS = 300
"""Of a document's text."""
_DOCUMENT_THREADS = 8
_FILES_READ = 5
"""Of one artifact, in search of one with text."""
_LARGEST = 16 << 20
"""Bytes of a file that is read whole for its first words."""


@dataclass(frozen=True)
class Document:
    """The file that stands for an artifact."""

    file: str
    size: int
    text: str
    """How it begins; empty if no file of the artifact's holds a text."""
    others: int
    """Further input files of the artifact."""

    @property
    def about(self) -> str:
        """What is known of it, but for its text."""
        more = f"; {self.others:,} more input files" if self.others else ""
        more = "; 1 more input file" if self.others == 1 else more
        without = "" if self.text else ": no text that could be shown"
        return f"{self.file}, {format_byte_size(self.size)}{without}{more}"


def documents(
    store: Store, ids: Iterable[str], patterns: Collection[str], *, allowed: bool
) -> dict[str, Document]:
    """Artifact → its document, of those that have one; nothing is read unless it is `allowed`.

    `patterns`: MODEL_INPUT_FILES.
    """
    wanted = sorted(set(ids))
    if not allowed or not wanted:
        return {}
    made = _read_processed_files(store, wanted)
    with ThreadPoolExecutor(_DOCUMENT_THREADS, thread_name_prefix="handful-report") as pool:
        found = pool.map(
            lambda one: _load_report_document(store, one, patterns, made.get(one)), wanted
        )
        both = list(zip(wanted, found, strict=True))
    return {artifact_id: document for artifact_id, document in both if document is not None}


def format_byte_size(count: int) -> str:
    """Bytes as a person says them."""
    size, unit = float(count), "bytes"
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{count:,} bytes" if unit == "bytes" else f"{size:.3g} {unit}"


def _read_processed_files(store: Store, ids: Collection[str]) -> Mapping[str, Collection[str]]:
    """Artifact → the files that `process_func` made."""
    columns = ["artifact_id", "fate", "files_made"]
    ledger = pl.read_parquet(io.BytesIO(store.read(layout.LEDGER)), columns=columns)
    kept = ledger.filter(
        (pl.col("fate") == Fate.KEPT.value) & pl.col("artifact_id").is_in(list(ids))
    )
    return dict(kept.select("artifact_id", "files_made").iter_rows())


def _load_report_document(
    store: Store, artifact_id: str, patterns: Collection[str], made: Collection[str] | None
) -> Document | None:
    sizes = _input_files(store, artifact_id, patterns)
    own_first = sorted(sizes, key=lambda name: name in (made or ()))
    for name in own_first[:_FILES_READ]:
        data = _start(store, layout.artifact_file(artifact_id, name), sizes[name])
        text = first_text(data, name, LETTERS)
        if text:
            return Document(name, sizes[name], text, len(sizes) - 1)
    if not own_first:
        return None
    return Document(own_first[0], sizes[own_first[0]], "", len(sizes) - 1)


def _input_files(store: Store, artifact_id: str, patterns: Collection[str]) -> dict[str, int]:
    """File → bytes, in the order of `patterns`; what is gone is left out."""
    folder = f"{layout.artifact(artifact_id)}/"
    there: dict[str, int] = {}
    try:
        for batch in store.list(folder):
            keys, sizes = batch.column("key").to_pylist(), batch.column("size").to_pylist()
            there |= {k.removeprefix(folder): s for k, s in zip(keys, sizes, strict=True)}
    except Absent:
        return {}
    names = (name for pattern in patterns for name in sorted(there) if fits(pattern, name))
    return {name: there[name] for name in dict.fromkeys(names)}


def _start(store: Store, key: str, size: int) -> bytes:
    """Its first bytes; none of one that is gone, or too large to be fetched for so little."""
    try:
        if size <= _LARGEST:
            return store.read(key)
        place = store.path(key)
        if not isinstance(place, Path):
            return b""
        with place.open("rb") as file:
            return file.read(MOST)
    except (Absent, Archived, FileNotFoundError):
        return b""
