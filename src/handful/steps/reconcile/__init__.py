"""Labels ⨝ files: copied, verified artifacts, and a ledger that says why the others are not there.

    snapshot   production's label rows and listing, asked once and dated
    match      one fate for every label row and every artifact
    announce   labels and counts, before the first copy
    move       folders that an earlier run copied under another spelling of their id
    copy       what is missing or different
    process    the experiment's process_func, on what arrived
    verify     look at what is there, mend, look again
    conclude   ledger, summary, stale copies

Killed at any moment, a rerun ends with the same store: every file is written whole, the destination
itself tells what has arrived, and the record comes last.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from handful import layout
from handful.experiment.context import Experiment
from handful.labels.base import LabelSource
from handful.records import Fingerprint, Reconciled
from handful.records.moments import current_moment
from handful.steps.reconcile import ledger
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.background import Hushed, Meanwhile
from handful.steps.reconcile.copying import copies, sums
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.file_system import keep_apart
from handful.steps.reconcile.copying.moving import move_folders
from handful.steps.reconcile.copying.overwrite_journal import Journal
from handful.steps.reconcile.copying.verify import Verifier
from handful.steps.reconcile.keys import key_column
from handful.steps.reconcile.keys.id_format import describe, normalize_listing, normalize_rows
from handful.steps.reconcile.keys.names import Wanted
from handful.steps.reconcile.matching import Matched, match
from handful.steps.reconcile.pool import freeze_garbage_collector
from handful.steps.reconcile.processing.process import Processing, function_key, inputs_of
from handful.steps.reconcile.snapshot import tables
from handful.steps.reconcile.snapshot.contents import hasher
from handful.steps.reconcile.snapshot.difference import show_difference
from handful.steps.reconcile.snapshot.file_rows import Named
from handful.steps.reconcile.snapshot.overrides import override
from handful.steps.reconcile.snapshot.report_labels import (
    announce,
    label_counts,
    warn_of_kept_text,
    write_counts,
)
from handful.steps.reconcile.snapshot.snapshot import Snapshot, replace_kept, snapshot
from handful.storage.base import Source
from handful.user_functions.settings_usage import settings_usage
from handful.user_functions.source_hash import function_hashes


@freeze_garbage_collector()
def reconcile(
    experiment: Experiment,
    labels: LabelSource,
    files: Source,
    *,
    made_from: Fingerprint,
    refresh: bool = False,
    prune: bool = False,
    compare_contents: bool = False,
) -> Reconciled:
    """Bring the experiment's copies of production up to the snapshot, or to a new one.

    Args:
        refresh: take production anew, show the difference, and go on from there.
        prune: remove copies that the ledger no longer keeps.
        compare_contents: read local files again, of production and of the store, whose time
            stamps say that they did not change.

    Raises:
        UserError: the settings do not fit each other or the snapshot.
        DataError: the labels or files cannot be used as they are.
        StepError: more artifacts failed than MAX_FAILED allows, or the store did.
    """
    settings = experiment.settings
    process = function_hashes(experiment.directory).get("process_func")
    wanted = Wanted.of(
        settings.production.FILES_FROM_PROD,
        settings.reconcile.FILES_ON_RESEARCH,
        has_process=process is not None,
    )
    begun = _prepare_reconciliation(
        experiment,
        files,
        wanted,
        lambda: snapshot(
            experiment, labels, files, refresh=refresh, compare_contents=compare_contents
        ),
        every=compare_contents,
    )
    production, matched, troubles = begun.production, begun.matched, begun.troubles
    here, memory = begun.here, begun.memory

    journal = Journal(experiment, production.about.taken_at)
    delivery = _copy(experiment, files, begun, journal)

    processing = None
    if process is not None:
        usage = settings_usage(experiment.directory, ("process_func",))
        key = function_key(process, settings, usage)
        processing = Processing(experiment, key, inputs_of(matched), journal)
        processing.run_where_needed(here, delivery, troubles)
    verifier = Verifier(
        experiment, files, matched.files, wanted, memory, processing, troubles, journal
    )
    verified = verifier.verify(delivery)

    book = ledger.conclude(matched, verified, troubles)
    sums.remember(experiment, book.copies, verified.made, verified.contents)
    labels_kept = _write_reconciliation(experiment, book, begun, prune=prune)
    journal.end()
    return Reconciled(
        made_from=made_from,
        finished_at=current_moment(),
        snapshot_at=production.about.taken_at,
        ledger_hash=book.hash(),
        fates=dict(book.rows.group_by("fate").len().sort("fate").iter_rows()),
        labels=labels_kept,
        kept=sum(labels_kept.values()),
        copied=delivery.copied + verified.repaired,
    )


@dataclass(frozen=True)
class _Begun:
    """What is known before the first copy."""

    production: Snapshot
    listing: Listing
    matched: Matched
    troubles: Troubles
    here: pl.DataFrame
    memory: pl.DataFrame
    trying: Meanwhile[None]


def _prepare_reconciliation(
    experiment: Experiment,
    files: Source,
    wanted: Wanted,
    taken: Callable[[], Snapshot],
    *,
    every: bool,
) -> _Begun:
    """Snapshot, fates and label counts; meanwhile the store is listed.

    `every`: every file of it is read, to see whether it is as it arrived.
    """
    hushed = Hushed(experiment.progress)
    standing = Meanwhile(lambda: copies.standing(replace(experiment, progress=hushed)))
    trying = keeping = None
    try:
        production = taken()
        keeping = production.keeping
        trying = Meanwhile(lambda: _try_out(experiment, production, files))
        if production.replaces:
            show_difference(experiment.progress, production.replaces, production)
        listing, matched = _match(experiment, production, wanted, files)
        troubles = _begin(experiment, production, matched)
    except BaseException:
        hushed.enough = True
        # Whatever is wrong with the snapshot, it is kept: production need not be asked again.
        for meanwhile in (standing, trying, keeping):
            if meanwhile:
                meanwhile.wait()
        raise
    gc.freeze()  # what was imported meanwhile, too: this is in `freeze_garbage_collector`
    hushed.loud = True  # from now on it is waited for
    here, memory = move_folders(experiment, matched.files, *standing.get())
    here = sums.without_damaged(experiment, here, every=every)
    return _Begun(production, listing, matched, troubles, here, memory, trying)


def _copy(
    experiment: Experiment, files: Source, begun: _Begun, journal: Journal
) -> copies.Delivery:
    """Copy what is missing or different, and note what was lost and is back."""
    plan = copies.plan(begun.matched.files, begun.here, begun.memory, journal)
    copies.tell(experiment, plan, begun.matched.files)
    try:
        delivery = copies.copy(experiment, files, plan, begun.troubles, journal)
    finally:  # whatever happened, nothing of it is left when the lock is given back
        begun.trying.wait()
    begun.trying.get()
    copies.note_repairs(plan, delivery, begun.troubles)
    return delivery


def _try_out(experiment: Experiment, production: Snapshot, files: Source) -> None:
    """Of a new snapshot there is much to copy; of an old one perhaps nothing."""
    if production.is_new or production.keeping:
        copies.try_out(experiment, files, production.files)


def _match(
    experiment: Experiment, production: Snapshot, wanted: Wanted, files: Source
) -> tuple[Listing, Matched]:
    """Give fates, and announce them before the first copy."""
    settings = experiment.settings
    rows = pl.read_parquet(production.labels)
    warn_of_kept_text(experiment, rows)
    rows = override(normalize_rows(rows, settings), settings)
    keys = normalize_listing(production.files, settings, experiment.scratch)
    keys = copies.without_copied_archives(experiment, keys)
    for line in describe(rows, keys):
        experiment.progress.note(line)
    column, named = settings.production.FILE_KEY_COLUMN, None
    if column and production.file_keys:
        named = Named(column, pl.scan_parquet(production.file_keys))
    listing = Listing(keys, production.about.keys_read_two_ways > 0, named)
    matched = match(rows, listing, wanted, settings, hasher(experiment, files))
    matched = keep_apart(matched, experiment.store)
    announce(experiment, matched, listing)
    return listing, matched


def _begin(experiment: Experiment, production: Snapshot, matched: Matched) -> Troubles:
    """From here on the store changes: the old record no longer speaks of what is there."""
    troubles = Troubles.of(experiment.settings.reconcile.MAX_FAILED, matched.rows)
    troubles.check()
    counts = label_counts(matched.rows)
    if production.is_new:
        experiment.store.delete([layout.RECONCILED])
        replace_kept(experiment, production)
        write_counts(experiment, counts)
    else:  # of the same snapshot: where the counts differ, the old record is out of date anyway
        tables.together(
            production.kept,
            lambda: experiment.store.delete([layout.RECONCILED]),
            lambda: write_counts(experiment, counts),
        )
    return troubles


def _write_reconciliation(
    experiment: Experiment, book: ledger.Ledger, begun: _Begun, *, prune: bool
) -> dict[str, int]:
    """Write the ledger and its summary, and show it; kept artifacts per label."""
    production = begun.production
    listed = begun.listing.files.select(pl.col("artifact_id").n_unique()).collect().item()
    summary = ledger.summarise(book, production.about, int(listed))
    if production.file_keys:
        looked = pl.scan_parquet(production.file_keys)
        summary["keys"] = key_column.told(looked, production.about.made_from)
        experiment.progress.note(f"no_label_row {key_column.NOT_KNOWN}")
    # Only of a ledger that adds up anything is removed; what is gone is stale no more.
    left = ledger.prune(experiment, book.stale, remove=prune)
    summary["stale"] = ledger.summarise_stale_files(left)
    counts = ledger.write(experiment, book, summary)
    ledger.show(experiment, summary)
    return counts
