"""What `encode_data` is given: the files of one artifact."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from handful.files.paths import is_glob

_is_glob = functools.lru_cache(is_glob)
Place = Path | list[Path]
"""A local file, or the sorted files that a glob of MODEL_INPUT_FILES found."""


@dataclass(frozen=True)
class Instance(Mapping[str, Place]):
    """Name in MODEL_INPUT_FILES → local path (for a glob: a sorted list), with `.id` and `.label`.

    The files are only to be read: they may be the store's own.
    """

    id: str
    """The artifact id."""
    label: str
    files: Mapping[str, Place] = field(repr=False)

    def __getitem__(self, name: str) -> Place:
        try:
            found = self.files[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), list(self.files), 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            has = ", ".join(self.files)
            raise KeyError(f"{name!r} is not among MODEL_INPUT_FILES ({has}){meant}") from None
        return list(found) if isinstance(found, list) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __hash__(self) -> int:
        return hash(self.id)

    def paths(self) -> list[Path]:
        """All of its files, in the order of MODEL_INPUT_FILES."""
        found: list[Path] = []
        for place in self.files.values():
            found += place if isinstance(place, list) else [place]
        return found


@dataclass(frozen=True)
class Instances(Sequence[Instance]):
    """Many instances, each made when it is asked for: small on their way to another process."""

    root: Path
    """The folder of all artifacts' folders."""
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    files: tuple[Mapping[str, tuple[str, ...]], ...]
    """For each: name or glob of MODEL_INPUT_FILES → the file names that it stands for, sorted."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Instance: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Instance, ...]: ...
    def __getitem__(self, place: int | slice) -> Instance | tuple[Instance, ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(*place.indices(len(self))))
        folder = self.ids[place]
        files: dict[str, Place] = {}
        for pattern, names in self.files[place].items():
            if len(names) == 1 and not _is_glob(pattern):
                files[pattern] = self.root / f"{folder}/{names[0]}"
            else:
                files[pattern] = [self.root / f"{folder}/{name}" for name in names]
        return Instance(self.ids[place], self.labels[place], files)
