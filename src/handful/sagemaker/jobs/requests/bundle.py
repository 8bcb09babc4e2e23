"""The bundle: an experiment's settings, functions and other modules as one tar, by content hash.

The same files make the same bytes wherever and whenever they are packed: names in order, no times,
owners or modes. Nothing from outside of the experiment's directory gets in, be it by a link; and
no secret: settings.ini goes as it travels (`handful.settings.travelling_text`), hidden files and
keys stay, and a token inside a file is refused. Unpacking trusts nothing in the tar.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from handful.errors import StepError, UserError
from handful.layout import SETTINGS
from handful.settings.secrets import shows_secret

FILE = "experiment.tar"
MOST_BYTES = 50_000_000
MOST_FILES = 2_000
_BUNDLE_EXCLUSIONS = re.compile(
    r"\..*|__pycache__|.*\.(?:pyc|pyo|pem|key|p12|pfx|kdbx)|id_(?:rsa|dsa|ecdsa|ed25519)"
    r"|credentials(?:\.\w+)?|node_modules|venv",
    re.IGNORECASE,
)
_TEXT_BYTES = 2_000_000
"""Files up to this size are looked through for tokens."""
_BUNDLE_FAULT_PLACE = "the experiment's directory"


@dataclass(frozen=True)
class Bundle:
    """What goes along to another machine."""

    content: bytes
    digest: str
    """sha256 of the content, in hex."""
    names: tuple[str, ...]
    """The files in it."""
    left_out: tuple[str, ...]
    """Files and folders that stay, by their names: hidden ones, keys, caches."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name → what is in it."""


def make_bundle(directory: Path, settings_text: str, apart: Sequence[Path] = ()) -> Bundle:
    """Pack the experiment in `directory`; settings.ini is `settings_text`.

    `apart` are paths that stay here: a store or models that lie inside. `UserError` for a link
    that leads outside, a file that is none, a token in a file, or more than fits.
    """
    found, left_out = _list_bundle_files(directory, [path.resolve() for path in apart])
    contents = {SETTINGS: settings_text.encode()}
    total = 0
    for name, path in found:
        total += path.stat().st_size
        if total > MOST_BYTES or len(contents) >= MOST_FILES:
            raise _too_much(found)
        if name != SETTINGS:
            contents[name] = path.read_bytes()
    for name, content in contents.items():
        _refuse_tokens(name, content)
    content = _tar(contents)
    digest = hashlib.sha256(content).hexdigest()
    return Bundle(content, digest, tuple(sorted(contents)), tuple(sorted(left_out)), contents)


def _list_bundle_files(
    directory: Path, apart: Sequence[Path]
) -> tuple[list[tuple[str, Path]], list[str]]:
    """(name, path) of what is packed, and the names of what is not."""
    found: list[tuple[str, Path]] = []
    left_out: list[str] = []
    root = directory.resolve()
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        for name in sorted([*folders, *files]):
            path = here / name
            relative = path.relative_to(root).as_posix()
            if _BUNDLE_EXCLUSIONS.fullmatch(name) or path.resolve() in apart:
                left_out.append(relative)
            elif path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UserError(
                    f"{relative} is a link to somewhere else, and would carry that along",
                    where=_BUNDLE_FAULT_PLACE,
                    remedy="copy what it leads to into the directory, or remove the link",
                )
            elif path.is_file():
                found.append((relative, path))
            elif path.is_symlink() or not path.is_dir():
                raise UserError(
                    f"{relative} is neither a file nor a folder of its own",
                    where=_BUNDLE_FAULT_PLACE,
                    remedy="remove it from the directory",
                )
        folders[:] = [
            name for name in folders if (here / name).relative_to(root).as_posix() not in left_out
        ]
    return sorted(found), left_out


def _too_much(found: Sequence[tuple[str, Path]]) -> UserError:
    largest = sorted(found, key=lambda pair: -pair[1].stat().st_size)[:3]
    said = ", ".join(f"{name} ({path.stat().st_size / 1e6:,.1f} MB)" for name, path in largest)
    return UserError(
        f"there are more than {MOST_FILES:,} files or {MOST_BYTES / 1e6:g} MB; the largest: {said}",
        where=_BUNDLE_FAULT_PLACE,
        remedy="the directory is for settings and code: keep data and models elsewhere",
    )


def _refuse_tokens(name: str, content: bytes) -> None:
    if len(content) > _TEXT_BYTES:
        return
    lines = content.decode("utf-8", "replace").split("\n")
    guilty = [number for number, line in enumerate(lines, 1) if shows_secret(line)]
    if guilty:
        raise UserError(
            "there is a token or password in this line, and secrets do not travel",
            where=f"{name}:{guilty[0]}",
            remedy="take it from an environment variable, and name it in [sagemaker] SECRETS",
        )


def _tar(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(contents):
            entry = tarfile.TarInfo(name)  # time 0, owner 0 and no names, mode 0644
            entry.size = len(contents[name])
            tar.addfile(entry, io.BytesIO(contents[name]))
    return file.getvalue()


def unpack(tar: Path, digest: str, into: Path) -> None:
    """Unpack a bundle below the new folder `into`. `StepError` if it is not what was sent.

    Only plain files with plain relative names are taken, and no more than a bundle may hold.
    """
    if tar.stat().st_size > 2 * MOST_BYTES + 2_000 * MOST_FILES:
        raise _not_ours(tar, "it is larger than any bundle")
    content = tar.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise _not_ours(tar, "its content is not what its name says")
    into.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as opened:
            for entry, data in _read_bundle_entries(tar, opened):
                path = into / entry
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.write(data)
    except (tarfile.TarError, FileExistsError, NotADirectoryError) as error:
        raise _not_ours(tar, str(error)) from error


def _read_bundle_entries(tar: Path, opened: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    total = 0
    for number, entry in enumerate(opened):
        name = PurePosixPath(entry.name)
        plain = entry.isreg() and not entry.issparse()
        if not plain or name.is_absolute() or ".." in name.parts or "\\" in entry.name:
            raise _not_ours(tar, f"{entry.name!r} has no place in it")
        total += entry.size
        if number >= MOST_FILES or total > MOST_BYTES + _TEXT_BYTES:
            raise _not_ours(tar, "it holds more than a bundle may")
        file = opened.extractfile(entry)
        if file is not None:
            yield entry.name, file.read()


def _not_ours(tar: Path, why: str) -> StepError:
    return StepError(
        f"the experiment's bundle cannot be used: {why}",
        where=tar.name,
        remedy="start the job anew; nothing else writes into the store's bundles",
    )
