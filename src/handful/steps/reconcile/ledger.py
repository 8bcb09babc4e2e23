"""The ledger, its summary, and the record that the next step gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from handful import layout
from handful.errors import StepError
from handful.experiment.forgotten import ForgottenList
from handful.progress import Progress
from handful.records import Fate
from handful.steps.reconcile.copying.copies import COPIES, FILE
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.verify import Verified
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID
from handful.steps.reconcile.matching import Matched
from handful.steps.reconcile.snapshot import tables
from handful.steps.reconcile.snapshot.leave_forgotten import forgotten_ledger_rows
from handful.steps.reconcile.snapshot.report_labels import label_counts, write_counts
from handful.steps.reconcile.snapshot.snapshot import About
from handful.storage.base import Store

LEDGER = pl.Schema(
    [
        ("artifact_id", pl.String),
        ("label", pl.String),
        ("label_source", pl.String),
        ("file_hash", pl.String),
        ("fate", pl.String),
        ("reason", pl.String),
        ("files", pl.List(pl.String)),
        ("files_made", pl.List(pl.String)),
        ("repaired", pl.Boolean),
        ("row", pl.String),
    ]
)
_STALE_NAMED = 1_000
_HASHED_AT_ONCE = 50_000


@dataclass(frozen=True)
class Ledger:
    """What the step ends with."""

    rows: pl.DataFrame
    """`LEDGER`; under ID_FORMAT = guid also original_id, as the database (or the bucket) has it."""
    files: pl.DataFrame
    """Of kept artifacts: artifact_id, file, size, content (etag or hash), made."""
    stale: pl.DataFrame
    """What is in the store beside them: artifact_id, file, size, etag."""
    copies: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=COPIES))
    """See `copies.to_remember`."""

    def hash(self) -> str:
        """sha256 over what later steps read, whatever the order of the rows."""
        kept = self.rows.filter(pl.col("fate") == Fate.KEPT.value).sort("artifact_id")
        digest = hashlib.sha256()
        for table in (
            kept.select("artifact_id", "label", "file_hash", "row"),
            self.files.select(*FILE, "size", "content").sort(FILE),
        ):
            lines = pl.struct(pl.all()).struct.json_encode().str.join("\n")
            for part in table.iter_slices(_HASHED_AT_ONCE):
                digest.update(part.select(lines).item().encode() + b"\n")
        return digest.hexdigest()


def conclude(
    matched: Matched,
    verified: Verified,
    troubles: Troubles,
    forgotten: ForgottenList | None = None,
) -> Ledger:
    """Join what all parts of the step said; behind it, who is forgotten."""
    failed = pl.DataFrame(
        [(i, fate.value, reason) for i, (fate, reason) in troubles.failed.items()],
        {"artifact_id": pl.String, "fate_late": pl.String, "reason_late": pl.String},
        orient="row",
    )
    repaired = pl.DataFrame(
        [(i, "; ".join(how)) for i, how in troubles.repaired.items()],
        {"artifact_id": pl.String, "how": pl.String},
        orient="row",
    )
    rows = matched.rows
    for late in (failed, repaired):
        rows = rows.join(late, on="artifact_id", how="left", maintain_order="left")
    kept = pl.col("fate") == Fate.KEPT.value
    rows = rows.with_columns(
        fate=pl.when(kept).then(pl.coalesce("fate_late", "fate")).otherwise("fate"),
        reason=pl.when(kept).then(pl.coalesce("reason_late", "how", "reason")).otherwise("reason"),
    )
    rows = rows.with_columns(repaired=kept & pl.col("how").is_not_null())
    files = _ledger_files(matched, verified, rows.filter(kept))
    lists = files.sort(FILE).group_by("artifact_id", maintain_order=True)
    named = lists.agg(files="file", files_made=pl.col("file").filter("made"))
    # Only the one kept row of an artifact has its files.
    kept_rows = (
        rows.filter(kept)
        .join(named, on="artifact_id", how="left")
        .select("nr", "files", "files_made")
    )
    nothing = pl.lit([], pl.List(pl.String))
    full = rows.join(kept_rows, on="nr", how="left", maintain_order="left").with_columns(
        files=pl.col("files").fill_null(nothing), files_made=pl.col("files_made").fill_null(nothing)
    )
    stale = verified.here.join(files, on=FILE, how="anti").sort(FILE)
    columns = LEDGER.names() + [name for name in full.columns if name == ORIGINAL_ID]
    rows = full.select(columns)
    if forgotten:
        rows = pl.concat([rows, forgotten_ledger_rows(forgotten, rows)])
    return Ledger(rows, files, stale, verified.copies)


def _ledger_files(matched: Matched, verified: Verified, kept: pl.DataFrame) -> pl.DataFrame:
    copied = matched.files.select(*FILE, "size", content="etag", made=pl.lit(False))
    made = verified.made.select(*FILE, "size", "content", made=pl.lit(True))
    both = pl.concat([copied, made])
    return both.join(kept.select("artifact_id"), on="artifact_id", how="semi")


def summarise(ledger: Ledger, about: About, production: int) -> dict[str, Any]:
    """Totals per fate, for label rows and for artifacts.

    `production`: artifacts in the file store's listing. `StepError` if anything does not add up.
    """
    rows = ledger.rows.with_columns(is_row=pl.col("label_source").is_not_null())
    label_rows = _per_fate(rows.filter("is_row"))
    named = rows.filter(pl.col("artifact_id").is_not_null())
    artifacts = _per_fate(_one_each(named))
    ids = named.select("artifact_id").n_unique()
    unlabelled = rows.filter(~pl.col("is_row")).height
    labelled_ids = named.filter("is_row").select("artifact_id").n_unique()
    for what, total, parts in (
        ("label rows", about.label_rows, sum(label_rows.values())),
        ("artifacts", ids, sum(artifacts.values())),
        ("artifacts of both sides", ids, labelled_ids + unlabelled),
        ("ledger rows", rows.height, about.label_rows + unlabelled),
    ):
        if total != parts:
            raise StepError(
                f"the ledger does not add up: {total:,} {what}, but {parts:,} fates",
                where=layout.LEDGER,
                remedy="this is a fault of handful's; please report it with the summary",
            )
    return {
        "production_as_of": about.taken_at,
        "label_rows": {"total": about.label_rows, "fates": label_rows},
        "artifacts": {
            "total": ids,
            "in_label_rows": labelled_ids,
            "in_file_store": production,
            "fates": artifacts,
        },
        "keys": {
            "total": about.keys + about.unmatched_keys,
            "not_fitting_key_pattern": about.unmatched_keys,
            "folder_markers_left_out": about.folder_markers,
        },
        "stale": summarise_stale_files(ledger.stale),
    }


def _one_each(rows: pl.DataFrame) -> pl.DataFrame:
    """One row an artifact: the one that came furthest, not those beside it."""
    beside = pl.col("fate").replace_strict(
        {Fate.UNSAFE_NAME: 1, Fate.DUPLICATE_ROW: 2, Fate.FILE_ROW: 2, Fate.NO_LABEL: 3},
        default=0,
        return_dtype=pl.Int8,
    )
    return rows.sort(beside, maintain_order=True).unique(
        "artifact_id", keep="first", maintain_order=True
    )


def _per_fate(rows: pl.DataFrame) -> dict[str, int]:
    counts = dict(rows.group_by("fate").len().iter_rows())
    return {fate.value: counts[fate.value] for fate in Fate if fate.value in counts}


def summarise_stale_files(stale: pl.DataFrame) -> dict[str, Any]:
    """How much is in the store beside what the ledger keeps, and of whom."""
    ids = stale["artifact_id"].unique().sort()
    return {
        "artifacts": ids.len(),
        "files": stale.height,
        "bytes": int(stale["size"].sum()),
        "ids": ids.head(_STALE_NAMED).to_list(),
    }


def write(
    table_store: tables.TableStore, ledger: Ledger, summary: Mapping[str, Any]
) -> dict[str, int]:
    """Write the ledger, the summary, the final label counts, and what the next run should remember;
    kept artifacts per label."""
    labels = label_counts(ledger.rows)
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    tables.together(
        lambda: write_counts(table_store.store, labels),
        lambda: table_store.save(ledger.rows, layout.LEDGER),
        lambda: table_store.save(ledger.copies, layout.COPIES),
        lambda: table_store.store.write(layout.SUMMARY, text.encode()),
    )
    return labels


def show(progress: Progress, summary: Mapping[str, Any]) -> None:
    """The summary, as a table that a person reads in ten seconds."""
    rows, artifacts = summary["label_rows"]["fates"], summary["artifacts"]["fates"]
    lines = [
        (fate.value, rows.get(fate.value, 0), artifacts.get(fate.value, 0))
        for fate in Fate
        if fate.value in rows or fate.value in artifacts
    ]
    total = ("total", summary["label_rows"]["total"], summary["artifacts"]["total"])
    progress.table("what became of them", ("fate", "label rows", "artifacts"), [*lines, total])


def prune(store: Store, progress: Progress, stale: pl.DataFrame, *, remove: bool) -> pl.DataFrame:
    """Name what the ledger no longer keeps, or remove it; what of it is left."""
    if stale.is_empty():
        return stale
    ids = stale["artifact_id"].n_unique()
    what = f"{stale.height:,} stale files of {ids:,} artifacts"
    if not remove:
        progress.note(f"{what} are in the store and not used; --prune removes them")
        return stale
    keys = (layout.artifact_file(i, file) for i, file in stale.select(FILE).iter_rows())
    store.delete(keys)
    progress.note(f"removed {what}")
    return stale.clear()
