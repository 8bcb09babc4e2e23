"""What the files of artifacts hold, where nothing else tells: in a local store.

In a bucket an object's ETag changes with its content, and copies.parquet remembers it. A local file
has a time stamp alone; so checksums.parquet keeps a hash of each as it arrived. `prepare`
compares every file with it; here a file that has another time stamp than then is read again, and
with `--redo` all of them are. What is not as it arrived counts as lost.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from handful import layout
from handful.files import checksums
from handful.progress import Progress
from handful.steps.reconcile.copying.copies import FILE
from handful.steps.reconcile.copying.verify import Verified
from handful.steps.reconcile.pool import in_threads
from handful.steps.reconcile.snapshot.tables import TableStore
from handful.storage.base import Store

CHECKSUMS = pl.Schema(
    {
        "artifact_id": pl.String,
        "file": pl.String,
        "source_etag": pl.String,
        "etag": pl.String,
        "content": pl.String,
    }
)
_DAMAGED = "damaged"
_CHECKSUM_THREADS = 8


def without_damaged(
    table_store: TableStore, progress: Progress, here: pl.DataFrame, *, every: bool
) -> pl.DataFrame:
    """`here` (see `copies.PRESENT`), in which what is not as it arrived has neither size nor etag.

    `every`: read all files, not just those whose time stamp is another.
    """
    root = _root(table_store.store)
    if root is None or here.is_empty():
        return here
    known = table_store.load(layout.CHECKSUMS, CHECKSUMS)
    both = known.join(here.select(*FILE, now="etag"), on=FILE)
    if not every:
        both = both.filter(pl.col("etag") != pl.col("now"))
    found = _hash_file_contents(root, both, progress)
    wrong = found.filter(pl.col("content") != pl.col("found")).select(*FILE, wrong=pl.lit(True))
    if wrong.is_empty():
        return here
    progress.warn(
        f"{wrong.height:,} files of artifacts are damaged in the store (such as "
        f"{layout.artifact_file(*wrong.select(FILE).row(0))}); they are fetched or made again"
    )
    marked = here.join(wrong, on=FILE, how="left", maintain_order="left")
    sound = pl.col("wrong").is_null()
    return marked.with_columns(
        size=pl.when(sound).then("size").otherwise(-1),
        etag=pl.when(sound).then("etag").otherwise(pl.lit(_DAMAGED)),
    ).drop("wrong")


def remember(table_store: TableStore, progress: Progress, verified: Verified) -> None:
    """Keep what the verified files hold. What stands as it did is not read again."""
    root = _root(table_store.store)
    if root is None:
        return
    before = table_store.load(layout.CHECKSUMS, CHECKSUMS)
    known = verified.copies.join(before, on=[*FILE, "source_etag", "etag"], how="left")
    arrived = {"artifact_id": pl.String, "file": pl.String, "now": pl.String}
    now = pl.DataFrame(verified.contents, arrived, orient="row").unique(FILE, keep="last")
    known = known.join(now, on=FILE, how="left").with_columns(content=pl.coalesce("now", "content"))
    new = _hash_file_contents(root, known.filter(pl.col("content").is_null()), progress)
    fresh = new.with_columns(content="found").select(CHECKSUMS.names())
    made = verified.made.select(*FILE, "etag", "content", source_etag=pl.lit(""))
    own = made.select(CHECKSUMS.names())
    old = known.filter(pl.col("content").is_not_null()).select(CHECKSUMS.names())
    table = pl.concat([old, fresh, own]).sort(FILE)
    if not table.equals(before):
        table_store.save(table, layout.CHECKSUMS)


def _root(store: Store) -> Path | None:
    place = store.path(layout.ARTIFACTS)
    return place if isinstance(place, Path) else None


def _hash_file_contents(root: Path, files: pl.DataFrame, progress: Progress) -> pl.DataFrame:
    """`files` with the content of each as `found`, by the same hash as `content` is.

    Null for one that cannot be read.
    """

    def one(row: tuple[str, str, str | None]) -> str | None:
        try:
            return checksums.content_of(root / row[0] / row[1], row[2] or "")
        except OSError:
            return None

    found: dict[tuple[str, str, str | None], str | None] = {}
    rows = files.select(*FILE, "content").iter_rows()
    for done, (row, digest, _) in enumerate(in_threads(one, rows, _CHECKSUM_THREADS), start=1):
        found[row] = digest
        progress.advance("reading contents", done, files.height, "files")
    digests = [found[row] for row in files.select(*FILE, "content").iter_rows()]
    return files.with_columns(found=pl.Series(digests, dtype=pl.String))
