"""Checksums of files: the one place where they are made and compared.

A file that a later step reads has its size and SHA-256 in the record of the step that wrote it, by
its key, under `files`. What names others (records, the markers of folders) is JSON that ends in a
checksum of its own: it can be rewritten whole without another file to be changed with it. Whatever
has none is of a build that wrote none, and is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from handful.errors import Damaged

FILES, MEMBER = "files", "checksum"
"""In JSON that checks itself: the files that it names, and its own checksum."""
_SEAL = re.compile(rb',\n  "checksum": "([0-9a-f]{64})"\n\}\n\Z')
_QUICK = "xxh3:"
_PIECE = 1 << 20
_TAIL = 120
"""Bytes at the end of a file in which its own checksum stands."""


class Checksum(NamedTuple):
    """What a file was when it was written."""

    size: int
    """Bytes."""
    sha256: str
    """In hex."""


Files = Mapping[str, Checksum]
"""Key, or a name relative to a folder → how it was written."""


def of_bytes(data: bytes) -> Checksum:
    return Checksum(len(data), hashlib.sha256(data).hexdigest())


def of_file(path: Path) -> Checksum:
    """Of a local file, read once."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Checksum(file.tell(), digest)


def of_folder(folder: Path, *, but: str = "") -> dict[str, Checksum]:
    """Of every file below the local `folder`, by its name there, `but` one."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {name: of_file(folder / name) for name in names if name != but}


class QuickHash:
    """Of an artifact's file, while it is copied: it has to cost next to nothing, and keeps no
    secret. XXH3 of 128 bits takes a tenth of the time of SHA-256."""

    def __init__(self) -> None:
        import xxhash

        self._hash = xxhash.xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)

    def __str__(self) -> str:
        return f"{_QUICK}{self._hash.hexdigest()}"


def content_of(path: Path, like: str = "") -> str:
    """What tells a local file's content: by the same hash as `like` is."""
    if like and not like.startswith(_QUICK):
        return of_file(path).sha256
    digest = QuickHash()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return str(digest)


def difference(expected: Checksum, found: Checksum) -> str:
    """What is wrong, in words; empty if nothing is."""
    if expected.size != found.size:
        return size_difference(expected, found.size)
    return "" if expected == found else "its content is not what was written (SHA-256)"


def size_difference(expected: Checksum, size: int) -> str:
    """The same, where only the size is known."""
    return "" if size == expected.size else f"it has {size:,} bytes, not {expected.size:,}"


def from_json(told: Any) -> dict[str, Checksum]:
    """`files` of a record, as JSON has them; nothing of what is of another form."""
    if not isinstance(told, Mapping):
        return {}
    return {
        str(name): Checksum(*one)
        for name, one in told.items()
        if isinstance(one, list | tuple) and len(one) == len(Checksum._fields)
    }


def read_marker(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a local file that checks itself; `Damaged` if it is not whole.

    Raises OSError if it cannot be read.
    """
    data = path.read_bytes()
    if fault := fault_of_json(data):
        raise Damaged(f"is damaged: {fault}", where=str(path), remedy=remedy)
    found: dict[str, Any] = json.loads(data)
    return found


def check_folder(folder: Path, marker: Mapping[str, Any], remedy: str) -> dict[str, Checksum]:
    """Compare a local folder's files with those that its marker names; these are returned.

    `Damaged` names the first that is not as it was written.
    """
    files = from_json(marker.get(FILES))
    for name, expected in files.items():
        path = folder / name
        wrong = difference(expected, of_file(path)) if path.is_file() else "it is gone"
        if wrong:
            raise Damaged(f"is damaged: {wrong}", where=str(path), remedy=remedy)
    return files


def to_json(files: Files, keys: Iterable[str] | None = None) -> dict[str, tuple[int, str]]:
    """As a record keeps them, sorted; only `keys`, if given."""
    return {
        key: (files[key].size, files[key].sha256) for key in sorted(files if keys is None else keys)
    }


def seal(data: bytes) -> bytes:
    """A JSON object, as text, with the checksum of that text as its last member; an empty one, in
    which nothing could be damaged, as it is."""
    body = _strip_json_seal(data).rstrip().removesuffix(b"}").rstrip()
    if body == b"{":
        return data
    digest = hashlib.sha256(body).hexdigest()
    return body + f',\n  "{MEMBER}": "{digest}"\n}}\n'.encode()


def fault_of_json(data: bytes) -> str:
    """Why a JSON object is not as it was written, in words; empty if nothing tells so."""
    found = _SEAL.search(data, max(0, len(data) - _TAIL))
    if found:
        digest = hashlib.sha256(data[: found.start()]).hexdigest().encode()
        return "" if digest == found.group(1) else "its checksum is not that of its content"
    if not data.strip():
        return "it is empty"
    try:
        whole = isinstance(json.loads(data), dict)
    except ValueError as error:
        return f"it is no whole JSON: {error}"
    return "" if whole else "it is no JSON object"


def _strip_json_seal(data: bytes) -> bytes:
    found = _SEAL.search(data, max(0, len(data) - _TAIL))
    return data[: found.start()] + b"\n}" if found else data
