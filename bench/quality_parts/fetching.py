"""Packages of a pinned version, fetched once, whose bytes are known."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """One archive of a registry, by its ordinary client."""

    client: Literal["pip", "npm", "apt"]
    name: str
    version: str
    file: str
    """What the client names it."""
    sha256: str
    options: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """What leaves the archive in the working directory."""
        if self.client == "pip":
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *self.options]
            return [*pip, "--dest", ".", f"{self.name}=={self.version}"]
        if self.client == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        return ["apt-get", "download", "--quiet", f"{self.name}={self.version}"]


def default_cache() -> Path:
    """`$QUALITY_CACHE`, else tmp/quality of this checkout, which git does not see."""
    return Path(os.environ.get("QUALITY_CACHE") or ROOT / "tmp" / "quality")


def fetched(package: Package, cache: Path) -> Path:
    """The archive, from the cache where it lies there already; its bytes are checked each time."""
    path = cache / package.file
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            subprocess.run(package.command(), cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            (Path(scratch) / package.file).rename(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise ValueError(f"{path} is not the archive that was measured: its SHA-256 is {found}")
    return path
