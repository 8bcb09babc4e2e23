"""Whether the weight files of a local model are whole, before a library says it in riddles."""

from __future__ import annotations

import json
from pathlib import Path

_POINTER = b"version https://git-lfs"
_WEIGHTS = ("*.safetensors", "*.bin")
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which tells where each tensor ends."""


def broken_file(folder: Path) -> str:
    """What is wrong with the first broken weight file of `folder`; empty if none is."""
    for path in sorted(path for kind in _WEIGHTS for path in folder.glob(kind)):
        fault = _fault(path)
        if fault:
            return f"{path.name} {fault}"
    return ""


def _fault(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(max(len(_POINTER), _LENGTH_BYTES))
        if not head:
            return "is empty"
        if head.startswith(_POINTER):
            return "is a pointer of Git LFS, not the weights themselves"
        if path.suffix != ".safetensors":
            return ""
        file.seek(_LENGTH_BYTES)
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if size < _LENGTH_BYTES + length:
            return f"is cut off: {size:,} bytes do not even hold its header"
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return "is no safetensors file: its header cannot be read"
    ends = (one["data_offsets"][1] for name, one in header.items() if name != "__metadata__")
    expected = _LENGTH_BYTES + length + max(ends, default=0)
    return f"is cut off: {size:,} of {expected:,} bytes" if size < expected else ""
