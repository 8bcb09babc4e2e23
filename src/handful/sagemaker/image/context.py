"""What an image is built from: a folder with just that, so that nothing else can get in.

handful's own image is made from its sources, and from the versions that are installed here: a
container refuses a caller whose versions differ. An experiment's image extends it by the
experiment's Dockerfile, which sees the files that would travel with a job, and no others.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from handful.errors import StepError

DOCKERFILE = "Dockerfile"
_PACKAGE = Path(__file__).parents[2]
_CONTEXT_ROOT_FILES = ("pyproject.toml", "LICENSE")
_BROUGHT = Path("templates") / "image"
"""Inside the package: the copy of these files that a wheel brings along."""
_PIN = re.compile(r"\s*([A-Za-z0-9._-]+)\s*==\s*([^\s;]+)(.*)")


@dataclass(frozen=True)
class Context:
    """A folder that an image is built from."""

    folder: Path
    dockerfile: Path
    digest: str
    """sha256 over its files, in hex."""


def base_context(target: Path, sources: Path | None = None) -> Context:
    """Lay out in `target` what handful's own image is built from.

    `sources` is a checkout, or the copy of its files that a wheel brings along. `StepError` if
    neither is here.
    """
    root = sources or find_sources()
    target.mkdir(parents=True)
    for name in _CONTEXT_ROOT_FILES:
        shutil.copyfile(root / name, target / name)
    # Packaging asks for one; the real one changes often, and would have all installed again.
    (target / "README.md").write_text("handful\n")
    (target / "constraints.txt").write_text(
        pin_to_local_versions((root / "constraints.txt").read_text())
    )
    shutil.copytree(root / "docker", target / "docker")
    shutil.copytree(_PACKAGE, target / "src" / "handful", ignore=_list_non_source_names)
    return Context(target, target / "docker" / DOCKERFILE, _hash_context_folder(target))


def find_sources() -> Path:
    """The checkout that this package runs from, or what its wheel brought."""
    for root in (_PACKAGE.parents[1], _PACKAGE / _BROUGHT):
        if (root / "docker" / DOCKERFILE).is_file() and (root / "constraints.txt").is_file():
            return root
    raise StepError(
        "the files of handful's own image are not here",
        where=str(_PACKAGE),
        remedy="install handful from its wheel, or run it from a checkout",
    )


def _list_non_source_names(folder: str, names: list[str]) -> set[str]:
    """What of the package is no source."""
    brought = _PACKAGE / _BROUGHT
    return {
        name
        for name in names
        if name == "__pycache__" or name.endswith(".pyc") or Path(folder) / name == brought
    }


def pin_to_local_versions(constraints: str) -> str:
    """The constraints, with the versions of what is installed here in place of others.

    `2.9.0+cpu` becomes `2.9.0`: which build fits is for the image's base to say.
    """
    lines = []
    for line in constraints.splitlines():
        match = _PIN.fullmatch(line)
        if match:
            try:
                here = version(match[1]).partition("+")[0]
            except PackageNotFoundError:
                here = match[2]
            line = f"{match[1]}=={here}{match[3]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _hash_context_folder(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{name}\0{content}\n".encode())
    return found.hexdigest()
