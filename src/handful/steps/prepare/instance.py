"""What `encode_data` is given: the files of one artifact."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
