"""Notices a local file whose content changed although its size and modification time did not.

`cp -p`, `touch -r` and `rsync --times` leave both as they were, so an etag made from them says
nothing. What they cannot set are the inode and the time of the last change to it (ctime), which
are kept beside the snapshot:

    stats.parquet     key, inode, ctime

Who finds them as they were need not read the file. Otherwise its content is compared with that of
the copy in the store, or with the hash in contents.parquet. Content that is another gets an etag
that tells it, `mtime-<ns>-<size>-<sha256>`, and whatever was made from the old one is made again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from handful import layout
from handful.errors import Absent, StoreError
from handful.progress import Progress
from handful.steps.reconcile.keys.names import quote_names
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.snapshot.contents import CONTENTS, sha256
from handful.steps.reconcile.snapshot.tables import TableStore
from handful.storage.base import Source

STATS = pl.Schema({"key": pl.String, "inode": pl.UInt64, "ctime": pl.Int64})
_STAMP = r"^(mtime--?\d+-\d+)"
_THREADS = 32
_STAMP_DIGEST_CHUNK = 1 << 20
_MARGIN = timedelta(hours=1)
"""A snapshot without stats tells only when it was taken: clocks differ, listings take long."""


def stamp(etag: pl.Expr) -> pl.Expr:
    """The etag without what `StampCheck` added; others as they are."""
    return pl.coalesce(etag.str.extract(_STAMP), etag)


def tells_more(etag: pl.Expr) -> pl.Expr:
    """Did `StampCheck` add to this etag?"""
    return etag.str.contains(_STAMP + "-")


def stats_of(files: Source, listing: pl.LazyFrame) -> pl.DataFrame:
    """`STATS` and the etag of now, `stamp`, for the local files of a listing; else no row."""
    if "://" in files.url:
        return pl.DataFrame(schema={**STATS, "stamp": pl.String})
    local = listing.filter(pl.col("etag").str.starts_with("mtime-")).select("key").unique()
    keys = local.collect()["key"].to_list()
    root = files.path() if keys else None
    found = _stats(str(root), keys) if isinstance(root, Path) else ()
    return pl.DataFrame(list(found), {**STATS, "stamp": pl.String}, orient="row")


def _stats(root: str, keys: list[str]) -> Iterator[tuple[str, int, int, str]]:
    for key in keys:
        try:
            status = os.stat(f"{root}/{key}")  # noqa: PTH116 - a Path for each of millions is slow
        except (OSError, ValueError):
            continue  # gone, or a name that is shown otherwise than it is
        now = f"mtime-{status.st_mtime_ns}-{status.st_size}"
        yield key, status.st_ino, status.st_ctime_ns, now


@dataclass(frozen=True)
class StampCheck:
    """Compares production's local files with what was copied of them, or hashed."""

    files: Source
    table_store: TableStore
    scratch: Path
    progress: Progress

    def settle_etags(
        self, new: pl.LazyFrame, old: pl.LazyFrame, stats: pl.DataFrame, taken_at: str | None
    ) -> pl.DataFrame | None:
        """`new`, a listing, with etags that tell what time stamps do not; None if all are right.

        Args:
            old: the listing before it; its etags are kept for what did not change.
            stats: `stats_of` the new one.
            taken_at: when the old one was taken; None: the content of every file is compared.
        """
        before = old.select("key", was="etag").unique("key", keep="any")
        both = new.unique("key", keep="any").join(before, on="key").join(stats.lazy(), on="key")
        # What has another time stamp or size is another file without further ado.
        alike = both.filter(
            (stamp(pl.col("etag")) == stamp(pl.col("was")))
            & (pl.col("stamp") == stamp(pl.col("was")))
        ).collect()
        suspects = alike if taken_at is None else self._suspects(alike, taken_at)
        changed = self._find_changes(suspects)
        if changed.is_empty() and not alike.select(tells_more(pl.col("was")).any()).item():
            return None
        etags = alike.join(changed, on="key", how="left").select(
            "key", settled=pl.coalesce("now", "was")
        )
        found = new.join(etags.lazy(), on="key", how="left", maintain_order="left").collect()
        return found.with_columns(etag=pl.coalesce("settled", "etag")).drop("settled")

    def _suspects(self, alike: pl.DataFrame, taken_at: str) -> pl.DataFrame:
        """Those that may have changed since, by inode and ctime."""
        kept = self.table_store.load(layout.STATS, STATS)
        since = datetime.fromisoformat(taken_at) - _MARGIN
        as_they_were = pl.coalesce(
            (pl.col("inode") == pl.col("inode_then")) & (pl.col("ctime") == pl.col("ctime_then")),
            pl.col("ctime") < int(since.timestamp()) * 1_000_000_000,
        )
        return alike.join(kept, on="key", how="left", suffix="_then").filter(~as_they_were)

    def _find_changes(self, suspects: pl.DataFrame) -> pl.DataFrame:
        """key, now: the new etag of each whose content is not what it was."""
        found: dict[str, str] = {}
        if suspects.height:
            known = self.table_store.load(layout.CONTENTS, CONTENTS).rename({"etag": "was"})
            rows = suspects.join(known, on=["key", "size", "was"], how="left").iter_rows(named=True)
            looks = in_threads(self._new_digest, rows, _THREADS)
            for done, (row, digest, error) in enumerate(looks, start=1):
                self.progress.advance("comparing contents", done, suspects.height, "files")
                if error is None and digest:
                    found[row["key"]] = f"{row['stamp']}-{digest}"
        if found:
            self.progress.warn(
                f"{len(found):,} files of production changed in content, though not in size and "
                f"modification time: {quote_names(sorted(found))}"
            )
        now = list(found.values())
        return pl.DataFrame({"key": list(found), "now": now}, {"key": pl.String, "now": pl.String})

    def _new_digest(self, row: dict[str, Any]) -> str | None:
        """sha256 of a file's content if that is not what was copied, or hashed; None if it is.

        Of a file that was neither copied nor hashed nothing was made, so it is nobody's concern.
        """
        local = self.files.path(row["key"])
        if not isinstance(local, Path):
            return None
        try:
            md5, now = _digests(local)
        except OSError:
            return None  # gone meanwhile: its copy will tell, or stand
        store, copy = self.table_store.store, layout.artifact_file(row["artifact_id"], row["file"])
        try:
            entry = store.head(copy)
            if entry.size != row["size"] or entry.etag == md5:
                return None  # another size is seen without reading
            # An etag that looks like an MD5 may be none (KMS), so the copy itself is read.
            then = sha256(store, copy, entry.size, self.scratch)
        except Absent:
            then = row["content"]
        except StoreError:
            return None
        return None if then is None or then == now else now


def _digests(path: Path) -> tuple[str, str]:
    """MD5 (an S3 store may know that of its copy) and sha256."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_STAMP_DIGEST_CHUNK):
            md5.update(piece)
            sha.update(piece)
    return md5.hexdigest(), sha.hexdigest()
