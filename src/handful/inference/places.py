"""Where the documents lie: artifact folders, folders of them, and prefixes of a bucket.

A folder that itself holds a file that FILES_FROM_PROD or MODEL_INPUT_FILES names is one artifact;
in any other folder each subfolder is one. An artifact's id is its folder's name, in the form that
ID_FORMAT asks for. Names are hostile until they were checked: one that cannot be trusted costs that
document.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from handful.errors import DataError, StoreError
from handful.files.paths import fits, is_glob
from handful.pipeline.production import open_in_production
from handful.settings import Settings
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.id_format import is_guid
from handful.storage.base import Source

_LONGEST = 255
"""Bytes of one name, on the file systems of today."""


@dataclass(frozen=True)
class Found:
    """One document, as a listing tells it."""

    id: str
    source: Source
    folder: str = ""
    """What its keys in `source` begin with: "", or ending in `/`."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """File name → bytes."""
    fault: str = ""
    """Why it cannot be read; empty if it can."""


def find(settings: Settings, paths: Sequence[str | Path]) -> Iterator[Found]:
    """Every document of `paths`, in their order and sorted by name within each.

    An id that came before is a fault of the later document. Raises `DataError` for a path that is
    no folder, or that holds no documents, before the first document; `StoreError` for a bucket
    that cannot be listed.
    """
    places = [_find_documents_at(settings, str(path)) for path in paths]
    documents = (found for place in places for found in place)
    if is_guid(settings):
        documents = (replace(found, id=normalize_guid(found.id)) for found in documents)
    return _each_once(documents)


def _each_once(documents: Iterable[Found]) -> Iterator[Found]:
    seen: set[str] = set()
    for found in documents:
        if found.id in seen:
            what = "another document of this name came before; an id stands for one document"
            found = Found(found.id, found.source, fault=what)
        seen.add(found.id)
        yield found


def _find_documents_at(settings: Settings, path: str) -> Iterator[Found]:
    names = (*settings.production.FILES_FROM_PROD, *settings.prepare.MODEL_INPUT_FILES)
    if path.startswith("s3://"):
        source = open_in_production(settings, path)
        return iter(_in_bucket(source, path, names))
    source = open_in_production(settings, path)
    folder = Path(source.url)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        remedy = "name an artifact's folder, a folder of such folders, or an s3:// prefix"
        raise DataError(what, where=path, remedy=remedy)
    if any(_stands(folder, pattern) for pattern in names):
        return iter([_local(source, folder.resolve().name, "")])
    children = _folders(folder)
    if not children:
        raise _nothing(path, names)
    return (_local(source, child, f"{child}/") for child in children)


def _stands(folder: Path, pattern: str) -> bool:
    found = folder.glob(pattern) if is_glob(pattern) else [folder / pattern]
    return any(path.is_file() for path in found)


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            # A linked folder counts, too: a link that leads away has no files, and says so.
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise DataError(f"cannot be listed: {error.strerror}", where=str(folder)) from error


def _local(source: Source, name: str, folder: str) -> Found:
    fault = _id_fault(name)
    if fault:
        return Found(_escape_document_name(name), source, folder, fault=fault)
    try:
        sizes = {
            key.removeprefix(folder): size for key, size in _list_keys_and_sizes(source, folder)
        }
    except StoreError as error:
        return Found(name, source, folder, fault=_place_error_line(error))
    return Found(name, source, folder, sizes)


def _in_bucket(source: Source, url: str, names: Sequence[str]) -> list[Found]:
    """The documents below a prefix, from one listing: keys alone, a few hundred bytes each."""
    sizes = dict(_list_keys_and_sizes(source, ""))
    if any(_is_match_at_same_depth(pattern, key) for key in sizes for pattern in names):
        return [Found(url.rstrip("/").rpartition("/")[2], source, "", sizes)]
    folders: dict[str, dict[str, int]] = {}
    for key, size in sizes.items():
        name, slash, file = key.partition("/")
        if slash and file:
            folders.setdefault(name, {})[file] = size
    if not folders:
        raise _nothing(url, names)
    found = []
    for name in sorted(folders):
        fault = _id_fault(name)
        shown = _escape_document_name(name) if fault else name
        found.append(Found(shown, source, f"{name}/", folders[name], fault))
    return found


def _is_match_at_same_depth(pattern: str, key: str) -> bool:
    """Does `key` lie as deep as `pattern` says, and fit it?"""
    return key.count("/") == pattern.count("/") and fits(pattern, key)


def _list_keys_and_sizes(source: Source, prefix: str) -> Iterator[tuple[str, int]]:
    for batch in source.list(prefix):
        yield from zip(
            batch.column("key").to_pylist(), batch.column("size").to_pylist(), strict=True
        )


def _nothing(path: str, names: Sequence[str]) -> DataError:
    wanted = ", ".join(dict.fromkeys(names))
    remedy = f"an artifact's folder holds {wanted}; a folder of them holds nothing but folders"
    return DataError("there are no documents", where=path, remedy=remedy)


def _id_fault(name: str) -> str:
    """Why a folder's name cannot be an artifact id; empty if it can."""
    if name in {"", ".", ".."}:
        return "the artifact id is empty, or climbs out of its folder"
    if "/" in name or "\\" in name:
        return "the artifact id holds a slash or a backslash"
    if not name.isprintable():  # False for control characters, bidi marks and lone surrogates
        return "the artifact id holds a control character, or is not Unicode"
    return f"it is longer than {_LONGEST} bytes" if len(name.encode()) > _LONGEST else ""


def _escape_document_name(name: str) -> str:
    """A name that cannot be trusted, with nothing in it that moves a cursor."""
    return name.encode("unicode_escape", "surrogatepass").decode("ascii")


def _place_error_line(error: BaseException) -> str:
    return " ".join(str(error).split())
