"""Samples a local directory: by a random descent, which reads no folder of millions whole.

A small tree is taken whole. Of another, folders are entered at random, those first that nobody was
in; a folder's names are read once, and no more than `MOST_NAMES` of them. Links are treated as
listings treat them (see `handful.storage.local.walk`).
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from handful.errors import StoreError
from handful.storage.keys import HIDDEN
from handful.storage.local.oserrors import translate_os_error
from handful.storage.local.walk import escape_local_name, lies_inside
from handful.storage.sampling import KeyCollector, KeySize, run_length

MOST_NAMES = 300_000
"""Names of one folder that are read at most."""
_BETWEEN_LOOKS = 1_000
"""Names that are read between two looks at the clock."""
_WHOLE_SHARE = 0.25
"""Of the time: how long to go on in the hope that the tree is small."""
_RUNS_OF_A_FOLDER = 5


@dataclass(eq=False)
class _Directory:
    """A folder of the tree, as far as it was looked at."""

    path: str
    key: str
    """What the keys below it begin with: "" or ending in `/`."""
    files: list[str] | None = None
    """Names, in order; None: not read yet."""
    folders: deque[_Directory] = field(default_factory=deque)
    """In random order; those that hold nothing new are taken out."""
    is_cut: bool = False
    """It has more names than were read."""
    visits: int = 0

    @property
    def is_done(self) -> bool:
        return self.files is not None and not self.files and not self.folders


def sample_directory(root: Path, into: KeyCollector) -> None:
    """Fill `into` from below `root`, which is there."""
    tree = _Tree(root, into)
    tree.read(tree.top)
    if not tree.take_whole():
        tree.descend()


class _Tree:
    def __init__(self, root: Path, into: KeyCollector) -> None:
        self._into = into
        self._root = root
        self._real = os.path.realpath(root)
        self._run = 0
        self.top = _Directory(os.fspath(root), "")

    def read(self, one: _Directory) -> None:
        """Read the names of a folder; the store's error if that may not be done."""
        one.files = []
        folders = []
        try:
            with os.scandir(one.path) as children:
                for child in self._bounded(one, children):
                    if not one.key and child.name == HIDDEN:
                        continue
                    if child.is_dir(follow_symlinks=False):
                        key = f"{one.key}{escape_local_name(child.name)}/"
                        folders.append(_Directory(child.path, key))
                    else:
                        one.files.append(child.name)
        except (FileNotFoundError, NotADirectoryError):
            return  # it went while we looked
        except OSError as error:
            what = f"cannot be listed below {self._root}"
            raise translate_os_error(error, one.path, what) from error
        one.files.sort()
        self._into.random.shuffle(folders)
        one.folders = deque(folders)

    def _bounded(
        self, one: _Directory, children: Iterator[os.DirEntry[str]]
    ) -> Iterator[os.DirEntry[str]]:
        """The children, until they are too many or the time is up."""
        for number, child in enumerate(islice(children, MOST_NAMES)):
            if number % _BETWEEN_LOOKS == 0 and self._into.is_over:
                one.is_cut = True
                return
            yield child
        one.is_cut = next(children, None) is not None

    def take_whole(self) -> bool:
        """Take all there is, if that is no more than wanted and soon done."""
        into = self._into
        now = time.monotonic()
        give_up = now + _WHOLE_SHARE * (into.until - now)
        found: list[KeySize] = []
        pending = [self.top]
        while pending:
            one = pending.pop()
            if one.files is None and not self._read_or_skip(one):
                return False
            names = one.files or []
            if one.is_cut or len(found) + len(names) > into.most or time.monotonic() > give_up:
                return False
            found += self._sizes(one, names)
            pending += one.folders
        into.take_all(found)
        return True

    def _read_or_skip(self, one: _Directory) -> bool:
        """Read the names; False, and nothing is in it, if that may not be done."""
        try:
            self.read(one)
        except StoreError:
            return False
        return True

    def descend(self) -> None:
        while not (self._into.is_full or self._into.is_over or self.top.is_done):
            self._visit()

    def _visit(self) -> None:
        """Go down at random until there are files, and take some."""
        way = [self.top]
        while True:
            one = way[-1]
            one.visits += 1
            if one.files is None:
                self._read_or_skip(one)
            # Where files lie beside folders, every other visit takes files.
            if one.folders and not (one.files and one.visits % 2):
                way.append(one.folders.popleft())
            else:
                break
        self._take(one)
        for above, below in zip(way[-2::-1], way[:0:-1], strict=True):
            if not below.is_done:
                above.folders.append(below)

    def _take(self, one: _Directory) -> None:
        """Some files of a folder: all, or a few runs of neighbours."""
        names = one.files or []
        if not self._run and names:
            self._run = run_length([f"{one.key}{name}" for name in names], self._into.most)
        if len(names) <= _RUNS_OF_A_FOLDER * self._run:
            one.files = []
            self._add(one, names, begins=True, ends=True)
            return
        start = self._into.random.randrange(len(names) - self._run + 1)
        some = names[start : start + self._run]
        self._add(one, some, begins=not start, ends=start + self._run == len(names))
        if one.visits > len(names) // self._run:
            one.files = []

    def _add(self, one: _Directory, names: list[str], *, begins: bool, ends: bool) -> None:
        found = self._sizes(one, names)
        self._into.add(found, begins=begins, ends=ends)
        if one.is_cut:  # neighbours of each of them may be missing
            self._into.edges |= {key for key, _ in found}.intersection(self._into.sizes)

    def _sizes(self, one: _Directory, names: list[str]) -> list[KeySize]:
        """Key and size of the regular files among them, and of links to ones inside the root."""
        found = []
        for name in names:
            path = os.path.join(one.path, name)  # noqa: PTH118 - thousands of them
            try:
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    if not lies_inside(os.path.realpath(path), self._real):
                        continue
                    status = os.stat(path)  # noqa: PTH116 - as above
            except OSError:
                continue  # it went while we looked, or the link is broken
            if stat.S_ISREG(status.st_mode):
                found.append((one.key + escape_local_name(name), status.st_size))
        return found
