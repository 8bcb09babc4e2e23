"""A bucket's listing in memory, as an S3 server answers for it; it counts what it was asked."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from handful.storage.s3.sample import SamplePage


@dataclass
class ListedBucket:
    """Keys in byte order, with pages, folders and points; parts of which it may not know."""

    keys: Iterable[str]
    knows_folders: bool = True
    knows_points: bool = True
    seconds: float = 0.0
    """That each answer takes."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    size: int = 100

    def __post_init__(self) -> None:
        self.sorted = sorted(set(self.keys))

    def ask(self, what: dict[str, Any]) -> SamplePage:
        self.asked.append(what)
        time.sleep(self.seconds)
        prefix, most = what.get("Prefix", ""), min(what.get("MaxKeys", 1000), 1000)
        after = what.get("ContinuationToken") or (what.get("StartAfter", "") * self.knows_points)
        folded = bool(what.get("Delimiter")) and self.knows_folders
        files: list[tuple[str, int]] = []
        folders: list[str] = []
        at = max(bisect_left(self.sorted, prefix), bisect_right(self.sorted, after) * bool(after))
        last = ""
        while at < len(self.sorted) and self.sorted[at].startswith(prefix):
            if len(files) + len(folders) == most:
                return SamplePage(files, folders, True, last)
            key = last = self.sorted[at]
            name, slash, _ = key[len(prefix) :].partition("/")
            if folded and slash:
                last = f"{prefix}{name}/"
                folders.append(last)
                last += "\U0010ffff"
                at = bisect_right(self.sorted, last)
            else:
                files.append((key, self.size))
                at += 1
        return SamplePage(files, folders, False, None)
