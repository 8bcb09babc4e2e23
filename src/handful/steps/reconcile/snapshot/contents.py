"""A hash for artifacts whose label row gives none: over their files, by name and content.

    etags:<sha256>     over the sorted (file name, ETag) pairs, where all ETags tell the content
    content:<sha256>   over the sorted (file name, sha256 of the content) pairs otherwise

Only files that FILES_FROM_PROD names count: they are what a model can see. The prefix is in the
ledger, so that nobody takes such a hash for one of the database. ETags say nothing wrong, but not
all: of two equal files, one uploaded in parts or encrypted by KMS has another ETag, and such a
duplicate is not found. A `file_hash` in the label rows is better.

Local files have no ETag that tells their content, so they are read; what was found is kept in the
store, by key, size and modification time, and not read again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from handful import layout
from handful.errors import Absent
from handful.progress import Progress
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.snapshot.tables import TableStore
from handful.storage.base import Source

CONTENTS = pl.Schema({"key": pl.String, "size": pl.Int64, "etag": pl.String, "content": pl.String})
_MAX_CONTENT_IN_MEMORY = 2 * 1024 * 1024
"""Files up to so many bytes are held in memory, by each thread."""
_CONTENT_HASH_THREADS = 32

Hasher = Callable[[pl.DataFrame], "Hashes"]
"""The files of some artifacts (artifact_id, file, key, size, etag) → their hashes."""


@dataclass(frozen=True)
class Hashes:
    """What was computed, and the artifacts whose files could not be read."""

    found: pl.DataFrame
    """artifact_id, file_hash."""
    absent: dict[str, str] = field(default_factory=dict)
    """Artifact id → which file is gone since the listing."""
    failed: dict[str, str] = field(default_factory=dict)
    """Artifact id → why a file could not be read."""


def tells_content(etag: pl.Expr) -> pl.Expr:
    """Is this etag made from the content (S3), not from a modification time (a directory)?"""
    return (etag != "") & ~etag.str.starts_with("mtime-")


@dataclass(frozen=True)
class ContentHasher:
    """What matching asks for the hashes of artifacts. Satisfies `Hasher`."""

    source: Source
    table_store: TableStore
    scratch: Path
    progress: Progress

    def __call__(self, files: pl.DataFrame) -> Hashes:
        """One hash for every artifact of `files`, except those that cannot be read."""
        by_etag = files.group_by("artifact_id").agg(by_etag=tells_content(pl.col("etag")).all())
        files = files.join(by_etag, on="artifact_id")
        told = files.filter("by_etag").with_columns(content=pl.col("etag"))
        read, absent, failed = self._read_hashes(files.filter(~pl.col("by_etag")))
        lost = [*absent, *failed]
        whole = read.filter(~pl.col("artifact_id").is_in(lost)) if lost else read
        columns = ["artifact_id", "file", "content", "by_etag"]
        pairs = pl.concat([told.select(columns), whole.select(columns)])
        return Hashes(_over_pairs(pairs), absent, failed)

    def _read_hashes(
        self, files: pl.DataFrame
    ) -> tuple[pl.DataFrame, dict[str, str], dict[str, str]]:
        """`files` with their content's hash, and the artifacts whose files could not be read."""
        if files.is_empty():
            return files.with_columns(content=pl.lit("")), {}, {}
        known = self.table_store.load(layout.CONTENTS, CONTENTS)
        joined = files.join(known, on=["key", "size", "etag"], how="left")
        missing = joined.filter(pl.col("content").is_null())
        new, absent, failed = self._read_all(missing)
        if new:
            fresh = pl.DataFrame(
                {"key": list(new), "content": list(new.values())},
                {"key": pl.String, "content": pl.String},
            ).join(missing.select("key", "size", "etag").unique("key"), on="key")
            known = pl.concat([known, fresh.select(CONTENTS.names())]).sort("key", "etag")
            self.table_store.save(known, layout.CONTENTS)
            joined = files.join(known, on=["key", "size", "etag"], how="left")
        return joined, absent, failed

    def _read_all(
        self, files: pl.DataFrame
    ) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        contents: dict[str, str] = {}
        absent: dict[str, str] = {}
        failed: dict[str, str] = {}
        rows = files.select("artifact_id", "file", "key", "size").iter_rows(named=True)

        def one(row: dict[str, str]) -> str:
            return sha256(self.source, row["key"], int(row["size"]), self.scratch)

        for done, (row, digest, error) in enumerate(
            in_threads(one, rows, _CONTENT_HASH_THREADS), start=1
        ):
            self.progress.advance("reading contents", done, files.height, "files")
            if digest is not None:
                contents[row["key"]] = digest
            elif isinstance(error, Absent):
                absent.setdefault(row["artifact_id"], row["file"])
            else:
                failed.setdefault(row["artifact_id"], f"{row['file']} cannot be read: {error}")
        return contents, absent, failed


def _over_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """artifact_id, file_hash over the artifact's sorted (file, content) pairs."""
    # A name cannot hold a line break (it would be unsafe), so no two lists of pairs look the same.
    joined = (
        pairs.with_columns(pair=pl.col("file") + "\n" + pl.col("content"))
        .group_by("artifact_id")
        .agg(text=pl.col("pair").sort().str.join("\n"), by_etag=pl.col("by_etag").first())
    )
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in joined["text"]]
    prefix = pl.when("by_etag").then(pl.lit("etags:")).otherwise(pl.lit("content:"))
    return joined.select(
        "artifact_id", file_hash=prefix + pl.Series("digest", digests, dtype=pl.String)
    )


def sha256(source: Source, key: str, size: int, scratch: Path) -> str:
    """sha256 (hex) of one file's content; large ones of a bucket go through `scratch`."""
    if size <= _MAX_CONTENT_IN_MEMORY:
        return hashlib.sha256(source.read(key)).hexdigest()
    local = source.path(key)
    if isinstance(local, Path):
        with suppress(OSError), local.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
        # What is wrong with it, the source says better.
    # Two artifacts may name one file, and two threads read it at the same time.
    name = f"hashed-{hashlib.sha256(key.encode()).hexdigest()}-{threading.get_ident()}"
    path = scratch / name
    try:
        source.fetch(key, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        path.unlink(missing_ok=True)
