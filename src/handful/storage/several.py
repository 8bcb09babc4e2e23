"""One `Source` over several places: the root, and other buckets beside it.

A key as ever lies below the root; `s3://bucket/key` lies in one of the other places, or nowhere.
No relative key looks like that: it would have an empty part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handful.errors import StoreError
from handful.storage.base import Entry, Source

if TYPE_CHECKING:
    import pyarrow as pa
    from upath import UPath


@dataclass(frozen=True)
class Several:
    """`own`, and `others` by their whole URLs."""

    own: Source
    others: tuple[Source, ...]

    @property
    def url(self) -> str:
        return self.own.url

    def placed(self, key: str) -> tuple[Source, str]:
        """The one place that holds `key`, and its key there; `StoreError` if none may."""
        if not key.startswith("s3://"):
            return self.own, key
        for source in self.others:
            if key.startswith(f"{source.url}/"):
                return source, key[len(source.url) + 1 :]
        raise StoreError(
            f"the key {key!r} lies in no place that may be read",
            where=self.url,
            remedy="name its bucket in FILE_BUCKETS",
        )

    def list(self, prefix: str = "", *, near: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """Of the root alone."""
        return self.own.list(prefix, near=near)

    def head(self, key: str) -> Entry:
        source, within = self.placed(key)
        found = source.head(within)
        return Entry(key, found.size, found.etag)

    def read(self, key: str) -> bytes:
        source, within = self.placed(key)
        return source.read(within)

    def fetch(self, key: str, path: Path) -> str | None:
        source, within = self.placed(key)
        return source.fetch(within, path)

    def download(self, key: str, part: Path, where: str, *, flush: bool) -> str | None:
        source, within = self.placed(key)
        return source.download(within, part, where, flush=flush)

    def fetch_tree(self, prefix: str, scratch: Path) -> Path:
        source, within = self.placed(prefix)
        return source.fetch_tree(within, scratch)

    def path(self, key: str = "") -> Path | UPath:
        source, within = self.placed(key)
        return source.path(within)


def resolve_holding_source(source: Source, key: str) -> tuple[Source, str]:
    """The place itself that holds `key`: what copies has to know it."""
    return source.placed(key) if isinstance(source, Several) else (source, key)
