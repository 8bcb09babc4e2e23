"""What `--refresh` found: what came, what went, and what changed its label or content."""

from __future__ import annotations

import polars as pl

from handful.progress import Progress
from handful.steps.reconcile.snapshot.snapshot import Snapshot, format_snapshot_moment

EXAMPLES = 5


def show_difference(progress: Progress, old: Snapshot, new: Snapshot) -> None:
    """Show a table of the difference between two snapshots, and a few relabelled artifacts."""
    was, now = _collect_snapshot_labels(old), _collect_snapshot_labels(new)
    both = was.join(now, on="artifact_id", suffix="_now")
    relabelled = both.filter(pl.col("labels") != pl.col("labels_now")).sort("artifact_id")
    before, after = _files(old), _files(new)
    changed = before.join(after, on="key", suffix="_now").filter(
        (pl.col("size") != pl.col("size_now")) | (pl.col("etag") != pl.col("etag_now"))
    )
    rows = [
        ("labelled artifacts", *_came_and_went(was, now, "artifact_id"), relabelled.height),
        ("files", *_came_and_went(before, after, "key"), changed.height),
    ]
    title = f"production since {format_snapshot_moment(old.about.taken_at)}"
    progress.table(title, ("", "came", "went", "changed"), rows)
    if relabelled.height:
        progress.table(
            f"changed labels ({relabelled.height:,})",
            ("artifact", "was", "is"),
            [
                (row["artifact_id"], ", ".join(row["labels"]), ", ".join(row["labels_now"]))
                for row in relabelled.head(EXAMPLES).to_dicts()
            ],
        )


def _collect_snapshot_labels(snapshot: Snapshot) -> pl.DataFrame:
    """Artifact id → its labels, sorted; NULL is shown as such."""
    rows = pl.scan_parquet(snapshot.labels).filter(pl.col("artifact_id").is_not_null())
    label = pl.col("label").fill_null("(none)")
    return rows.group_by("artifact_id").agg(labels=label.unique().sort()).collect()


def _files(snapshot: Snapshot) -> pl.DataFrame:
    # A key that is read in two ways stands there twice.
    return snapshot.files.select("key", "size", "etag").unique("key").collect()


def _came_and_went(old: pl.DataFrame, new: pl.DataFrame, on: str) -> tuple[int, int]:
    came = new.join(old, on=on, how="anti").height
    return came, old.join(new, on=on, how="anti").height
