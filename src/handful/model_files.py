"""What a pretrained model is: a local directory by its content, any other by its name.

A directory that was brought from elsewhere is what it was there: `<directory>.origin` says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

LOCAL = ("/", ".", "~")
"""What a local model's name begins with."""
ORIGIN = ".origin"
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".h5", ".onnx", ".msgpack")


def model_identity(model: str) -> str:
    """A hub name or s3:// folder as it is; the hash of all files of a local directory."""
    return _identity(model, weights=True)


def encoding_identity(model: str) -> str:
    """The same without the weights: tokenizer, processor and config, which encoding reads."""
    return _identity(model, weights=False)


def _identity(model: str, *, weights: bool) -> str:
    if not model.startswith(LOCAL):
        return model
    folder = Path(model).expanduser()
    origin = folder.with_name(f"{folder.name}{ORIGIN}")
    if origin.is_file():
        return origin.read_text().strip()
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if not weights and path.suffix in WEIGHTS:
            continue
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
