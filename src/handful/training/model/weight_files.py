"""Whether the weight files of a local model are whole, before a library says it in riddles."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

_POINTER = b"version https://git-lfs"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""Those that Transformers reads; of the second kind only where there is none of the first."""
_ZIP = b"PK"
"""How torch.save has begun its files since torch 1.6; before, they were pickles of their own."""
_PICKLE = b"\x80"
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, which tells where each tensor ends."""


def broken_file(folder: Path) -> str:
    """What is wrong with the first broken weight file of `folder`; empty if none is."""
    for kind in _WEIGHTS:
        paths = sorted(folder.glob(kind))
        for path in paths:
            fault = _find_weight_file_fault(path)
            if fault:
                return f"{path.name} {fault}"
        if paths:
            break
    return ""


def _find_weight_file_fault(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(max(len(_POINTER), _LENGTH_BYTES))
        if not head:
            return "is empty"
        if head.startswith(_POINTER):
            return "is a pointer of Git LFS, not the weights themselves"
        if path.suffix != ".safetensors":
            return _fault_of_torch(path, head)
        file.seek(_LENGTH_BYTES)
        length = int.from_bytes(head[:_LENGTH_BYTES], "little")
        if size < _LENGTH_BYTES + length:
            return f"is cut off: {size:,} bytes do not even hold its header"
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return "is no safetensors file: its header cannot be read"
    try:
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        expected = _LENGTH_BYTES + length + max(ends, default=0)
    except (AttributeError, KeyError, TypeError, IndexError):
        return "is no safetensors file: its header tells of no tensors"
    return f"is cut off: {size:,} of {expected:,} bytes" if size < expected else ""


def _fault_of_torch(path: Path, head: bytes) -> str:
    if head.startswith(_ZIP):
        return "" if zipfile.is_zipfile(path) else "is cut off: the end of its archive is missing"
    return "" if head.startswith(_PICKLE) else "is no file of torch's"
