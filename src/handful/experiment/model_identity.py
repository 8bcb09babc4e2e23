"""What a pretrained model is: a local directory by its content, any other by its name.

A directory that was brought from elsewhere is what it was there: `<directory>.origin` says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from handful.files.paths import at_home

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


def is_in_hub_cache(name: str) -> bool:
    """Has something of the hub's repository `name` been fetched here? Nobody is asked."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    try:
        return (Path(HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")).is_dir()
    except (OSError, ValueError):
        return False  # no name that a folder, or the hub, could have


def _identity(model: str, *, weights: bool) -> str:
    if not model.startswith(LOCAL):
        return model
    folder = at_home(model)
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
