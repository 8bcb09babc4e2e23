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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from handful import layout
from handful.experiment.context import Experiment
from handful.experiment.forgotten import ForgottenList, load_forgotten
from handful.labels.base import LabelSource
from handful.progress import Progress
from handful.records import Fingerprint, Reconciled
from handful.records.moments import current_moment
from handful.settings import Settings
from handful.steps.reconcile import ledger
from handful.steps.reconcile.artifacts import Listing
from handful.steps.reconcile.background import Hushed, Meanwhile
from handful.steps.reconcile.copying import copies, sums
from handful.steps.reconcile.copying.failures import Troubles
from handful.steps.reconcile.copying.file_system import keep_apart
from handful.steps.reconcile.copying.moving import FolderMover
from handful.steps.reconcile.copying.overwrite_journal import Journal
from handful.steps.reconcile.copying.verify import Verifier
from handful.steps.reconcile.keys import id_format, key_column
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.names import Wanted
from handful.steps.reconcile.matching import Matched, match
from handful.steps.reconcile.pool import freeze_garbage_collector
from handful.steps.reconcile.processing.process import Processing, function_key, inputs_of
from handful.steps.reconcile.processing.processor import Place
from handful.steps.reconcile.snapshot import report_labels, tables
from handful.steps.reconcile.snapshot.contents import ContentHasher
from handful.steps.reconcile.snapshot.difference import show_difference
from handful.steps.reconcile.snapshot.file_rows import Named
from handful.steps.reconcile.snapshot.overrides import override
from handful.steps.reconcile.snapshot.snapshot import Snapshot, replace_kept, snapshot, source_of
from handful.storage.base import Source, Store
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
    settings, progress = experiment.settings, experiment.progress
    store, scratch, asked = experiment.store, experiment.scratch, settings.reconcile
    table_store = tables.TableStore(store, scratch, progress)
    process = function_hashes(experiment.directory).get("process_func")
    wanted = Wanted.of(
        settings.production.FILES_FROM_PROD,
        asked.FILES_ON_RESEARCH,
        has_process=process is not None,
    )
    forgotten = forgotten_documents(store, settings)
    begun = _prepare_reconciliation(
        experiment,
        files,
        wanted,
        lambda: snapshot(
            experiment,
            labels,
            files,
            refresh=refresh,
            compare_contents=compare_contents,
            forgotten=forgotten,
        ),
        forgotten,
        every=compare_contents,
    )
    taken_at, matched, troubles = begun.production.about.taken_at, begun.matched, begun.troubles

    journal = Journal(table_store, progress, taken_at, overwrites=asked.OVERWRITE)
    copier = copies.Copier(begun.files, store, asked.COPY_CONCURRENCY, troubles, journal, progress)
    delivery = _copy(copier, begun)

    processing = None
    if process is not None:
        usage = settings_usage(experiment.directory, ("process_func",))
        key = function_key(process, settings, usage)
        place = Place(experiment.directory.absolute(), settings, store, scratch)
        processing = Processing(place, key, inputs_of(matched), journal, progress)
        processing.run_where_needed(begun.here, delivery, troubles)
    stop = asked.ON_MISSING_FILES == "stop"
    verifier = Verifier(copier, matched.files, wanted, begun.memory, processing, troubles, stop)
    verified = verifier.verify(delivery)

    book = ledger.conclude(matched, verified, troubles, forgotten)
    sums.remember(table_store, progress, verified)
    summary = _summarise(book, begun, progress)
    # Only of a ledger that adds up anything is removed; what is gone is stale no more.
    left = ledger.prune(store, progress, book.stale, remove=prune)
    summary["stale"] = ledger.summarise_stale_files(left)
    labels_kept = ledger.write(table_store, book, summary)
    ledger.show(progress, summary)
    journal.end()
    return Reconciled(
        made_from=made_from,
        finished_at=current_moment(),
        snapshot_at=taken_at,
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
    files: Source
    """Where its files are read."""
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
    forgotten: ForgottenList | None,
    *,
    every: bool,
) -> _Begun:
    """Snapshot, fates and label counts; meanwhile the store is listed.

    `every`: every file of it is read, to see whether it is as it arrived.
    """
    store, scratch, settings = experiment.store, experiment.scratch, experiment.settings
    table_store = tables.TableStore(store, scratch, experiment.progress)
    hushed = Hushed(experiment.progress)
    standing = Meanwhile(lambda: copies.standing(store, scratch, hushed))
    trying = keeping = None
    try:
        production = taken()
        keeping = production.keeping
        files = source_of(production, files, store, scratch)
        trying = Meanwhile(lambda: _try_out(store, production, files))
        if production.replaces:
            show_difference(experiment.progress, production.replaces, production)
        listing, matched = _match(experiment, production, wanted, files, forgotten)
        troubles = Troubles.of(settings.reconcile.MAX_FAILED, matched.rows)
        troubles.check()
        _begin(table_store, production, report_labels.label_counts(matched.rows))
    except BaseException:
        hushed.enough = True
        # Whatever is wrong with the snapshot, it is kept: production need not be asked again.
        for meanwhile in (standing, trying, keeping):
            if meanwhile:
                meanwhile.wait()
        raise
    gc.freeze()  # what was imported meanwhile, too: this is in `freeze_garbage_collector`
    hushed.loud = True  # from now on it is waited for
    here, memory = standing.get()
    if id_format.is_guid(settings):
        mover = FolderMover(table_store, settings.reconcile.COPY_CONCURRENCY, experiment.progress)
        here, memory = mover.move(matched.files, here, memory)
    here = sums.without_damaged(table_store, experiment.progress, here, every=every)
    return _Begun(production, files, listing, matched, troubles, here, memory, trying)


def _copy(copier: copies.Copier, begun: _Begun) -> copies.Delivery:
    """Copy what is missing or different, and note what was lost and is back."""
    plan = copies.plan(begun.matched.files, begun.here, begun.memory, copier.journal)
    copies.tell(copier.progress, plan, begun.matched.files)
    try:
        delivery = copier.copy(plan)
    finally:  # whatever happened, nothing of it is left when the lock is given back
        begun.trying.wait()
    begun.trying.get()
    copies.note_repairs(plan, delivery, begun.troubles)
    return delivery


def _try_out(store: Store, production: Snapshot, files: Source) -> None:
    """Of a new snapshot there is much to copy; of an old one perhaps nothing."""
    if production.is_new or production.keeping:
        copies.try_out(store, files, production.files)


def forgotten_documents(store: Store, settings: Settings) -> ForgottenList | None:
    """Those that are to be left out, by their ids as ID_FORMAT has them."""
    return load_forgotten(store, normalize_guid if id_format.is_guid(settings) else str)


def _match(
    experiment: Experiment,
    production: Snapshot,
    wanted: Wanted,
    files: Source,
    forgotten: ForgottenList | None,
) -> tuple[Listing, Matched]:
    """Give fates, and announce them before the first copy."""
    settings, progress, scratch = experiment.settings, experiment.progress, experiment.scratch
    table_store = tables.TableStore(experiment.store, scratch, progress)
    rows = pl.read_parquet(production.labels)
    report_labels.warn_of_kept_text(progress, rows)
    rows = override(id_format.normalize_rows(rows, settings), settings, forgotten or ())
    keys = id_format.normalize_listing(production.files, settings, scratch)
    keys = copies.without_copied_archives(table_store, keys)
    for line in id_format.describe(rows, keys):
        progress.note(line)
    column, named = settings.production.FILE_KEY_COLUMN, None
    if column and production.file_keys:
        named = Named(column, pl.scan_parquet(production.file_keys))
    about = production.about
    listing = Listing(keys, about.keys_read_two_ways > 0, named, of_rows=about.of_rows)
    hasher = ContentHasher(files, table_store, scratch, progress)
    matched = match(rows, listing, wanted, settings, hasher)
    matched = keep_apart(matched, experiment.store)
    report_labels.announce(progress, settings, matched, listing)
    return listing, matched


def _begin(table_store: tables.TableStore, production: Snapshot, counts: Mapping[str, int]) -> None:
    """From here on the store changes: the old record no longer speaks of what is there."""
    store = table_store.store
    if production.is_new:
        store.delete([layout.RECONCILED])
        replace_kept(table_store, production)
        report_labels.write_counts(store, counts)
    else:  # of the same snapshot: where the counts differ, the old record is out of date anyway
        tables.together(
            production.kept,
            lambda: store.delete([layout.RECONCILED]),
            lambda: report_labels.write_counts(store, counts),
        )


def _summarise(book: ledger.Ledger, begun: _Begun, progress: Progress) -> dict[str, Any]:
    """For summary.json; `StepError` if the ledger does not add up."""
    production = begun.production
    listed = begun.listing.files.select(pl.col("artifact_id").n_unique()).collect().item()
    summary = ledger.summarise(book, production.about, int(listed))
    if production.file_keys:
        looked = pl.scan_parquet(production.file_keys)
        summary["keys"] = key_column.told(looked, production.about.made_from)
        progress.note(f"no_label_row {key_column.NOT_KNOWN}")
    return summary
