"""Production is asked once: its label rows and its listing are kept in the store, and dated.

    labels.parquet    every label row, as the database gave it
    listing.parquet   every key that KEY_PATTERN fits, whatever FILES_FROM_PROD says
    file_keys.parquet with FILE_KEY_COLUMN: what each key of the label rows led to
    documents.parquet with FILES_URL = none: the documents of the label rows
    stats.parquet     of local files: inode and ctime, see `same_stamps`
    snapshot.json     when, from where, how many; written last, removed first

Who finds snapshot.json finds the others, whole. A snapshot that was made from other settings is
never used in silence: the user asks for a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from handful import layout
from handful.errors import Absent, Damaged, DataError, UserError
from handful.experiment.context import Experiment
from handful.experiment.forgotten import ForgottenList
from handful.files import checksums
from handful.labels.base import LabelSource
from handful.records.moments import age, current_moment
from handful.settings import Settings
from handful.settings.secrets import counts_the_same, drop_login, format_secret_hash
from handful.steps.reconcile.background import Meanwhile
from handful.steps.reconcile.copying import same_stamps
from handful.steps.reconcile.keys import key_column
from handful.steps.reconcile.snapshot import tables
from handful.steps.reconcile.snapshot.fetch import take
from handful.steps.reconcile.snapshot.leave_forgotten import leave_forgotten_out
from handful.storage.base import Source, Store
from handful.storage.row_files import RowFiles

_OF_DOCUMENTS = "[production] FILES_FROM_PROD"
"""Which columns are documents; other snapshots hold every file, and do not depend on it."""


@dataclass(frozen=True)
class About:
    """`snapshot.json`."""

    taken_at: str
    """ISO 8601, UTC."""
    made_from: Mapping[str, str]
    label_rows: int
    keys: int
    """Rows of listing.parquet."""
    unmatched_keys: int
    """Keys of production that KEY_PATTERN does not fit."""
    keys_read_two_ways: int
    folder_markers: int = 0
    """Objects that stand for a folder, and were left out."""

    @property
    def by_column(self) -> bool:
        """Did the label rows name the files, and nothing was listed?"""
        return bool(self.made_from.get(key_column.MADE_FROM))

    @property
    def of_rows(self) -> bool:
        """Are the files documents of the label rows (FILES_URL = none)?"""
        return _OF_DOCUMENTS in self.made_from


@dataclass(frozen=True)
class Snapshot:
    """Production at one moment, on this machine."""

    about: About
    labels: Path
    """Parquet of `LABELS_SCHEMA`."""
    listing: Path
    """Parquet: artifact_id, file, key, size, etag."""
    file_keys: Path | None = None
    """Parquet, with FILE_KEY_COLUMN: see `key_column`."""
    documents: Path | None = None
    """Parquet, with FILES_URL = none: see `documents`. Of a kept snapshot: see `source_of`."""
    is_new: bool = False
    """It is not in the store yet: see `replace_kept`."""
    replaces: Snapshot | None = None
    """The one before it, after a refresh."""
    stats: pl.DataFrame | None = None
    """Of local files, where they were looked at: see `same_stamps`."""
    keeping: Meanwhile[None] | None = None
    """It is on its way into the store: `get` before anything is built on it."""

    def kept(self) -> None:
        """Wait until it is in the store, if it is on its way there; raises what went wrong."""
        if self.keeping:
            self.keeping.get()

    @property
    def files(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.listing)


def snapshot(
    experiment: Experiment,
    labels: LabelSource,
    files: Source,
    *,
    refresh: bool,
    compare_contents: bool = False,
    forgotten: ForgottenList | None = None,
) -> Snapshot:
    """The snapshot that is there, or a new one of production.

    `compare_contents`: of the one that is there, read local files again whose time stamps say
    that they did not change.
    `forgotten`: documents that are left out of a new one.

    A first one is kept at once, so that a restart finds it, however it goes on. One that would
    replace another is new until it has proved usable and the caller keeps it (`replace_kept`).

    Raises:
        UserError: the one that is there was made from other settings.
        DataError: production has no label rows or no usable keys, or the snapshot is damaged.
    """
    store, scratch, progress = experiment.store, experiment.scratch, experiment.progress
    table_store = tables.TableStore(store, scratch, progress)
    stamps = same_stamps.StampCheck(files, table_store, scratch, progress)
    try:
        kept = _load_stored_snapshot(store, scratch)
    except (Damaged, DataError) as error:
        if not refresh:
            raise
        progress.warn(f"the snapshot that stood there is not compared: {error}")
        store.delete([layout.SNAPSHOT, layout.RECONCILED])  # a new one replaces it
        kept = None
    made_from = describe_snapshot_sources(experiment.settings)
    if kept and not refresh:
        _check_same(kept.about, made_from, store.url, experiment.directory)
        told = f"{format_snapshot_moment(kept.about.taken_at)}, {age(kept.about.taken_at)}"
        progress.note(f"production as of {told} (--refresh takes it anew)")
        return _with_contents(stamps, kept, kept) if compare_contents else kept
    taken = take(labels, files, experiment.settings, scratch, progress)
    taken = leave_forgotten_out(taken, forgotten)
    new = Snapshot(
        About(
            taken_at=current_moment(),
            made_from=made_from,
            label_rows=taken.label_rows,
            keys=taken.keys,
            unmatched_keys=taken.unmatched,
            keys_read_two_ways=taken.two_ways,
            folder_markers=taken.folder_markers,
        ),
        taken.labels,
        taken.listing,
        taken.file_keys,
        taken.documents,
        is_new=True,
    )
    if kept is None:
        new = replace(new, stats=same_stamps.stats_of(files, new.files))
        return replace(new, is_new=False, keeping=Meanwhile(lambda: _keep(table_store, new)))
    return replace(_with_contents(stamps, new, kept), replaces=kept)


def _with_contents(
    stamps: same_stamps.StampCheck, snapshot: Snapshot, before: Snapshot
) -> Snapshot:
    """The snapshot with etags that tell which local files changed behind their time stamps."""
    stats = same_stamps.stats_of(stamps.files, snapshot.files)
    if stats.is_empty():
        return snapshot
    # Of one that is there, all files: whoever asks for it mistrusts what is known of them.
    taken_at = before.about.taken_at if snapshot.is_new else None
    listing = stamps.settle_etags(snapshot.files, before.files, stats, taken_at)
    if listing is None:
        return replace(snapshot, stats=stats)
    path = stamps.scratch / "settled-listing.parquet"
    # The pattern's own names are columns, too, and what a server archived.
    with tables.writing(path, pq.read_schema(snapshot.listing)) as writer:
        writer.add(listing)
    return replace(snapshot, listing=path, stats=stats, is_new=True)


def describe_snapshot_sources(settings: Settings) -> dict[str, str]:
    """What a snapshot depends on: names that a person understands → values without secrets."""
    import hashlib

    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    production = settings.production
    try:
        url = make_url(production.DATABASE_URL)
        host = url.host or url.query.get("host") or ""
        port = f":{url.port}" if url.port else ""
        database = f"{url.get_backend_name()}://{host}{port}/{url.database or ''}"
        told = settings.concealed.get("[production] DATABASE_URL", "")
        place = drop_login(told).partition("?")[0]
        if "${" in place or host != (url.host or ""):
            database = format_secret_hash(place, database)
    except ArgumentError:
        database = "(no URL)"  # the label source says so, and better
    column = {
        key_column.MADE_FROM: production.FILE_KEY_COLUMN or "",
        "[production] FILE_BUCKETS": ", ".join(production.FILE_BUCKETS),
    }
    if production.holds_documents:
        column[_OF_DOCUMENTS] = ", ".join(production.FILES_FROM_PROD)
    return {
        **{name: value for name, value in column.items() if value},
        "[production] DATABASE_URL": database,
        "[production] LABEL_QUERY": hashlib.sha256(production.LABEL_QUERY.encode()).hexdigest(),
        "[production] FILES_URL": production.FILES_URL,
        "[production] S3_ENDPOINT_URL": production.S3_ENDPOINT_URL or "",
        "[production] KEY_PATTERN": production.KEY_PATTERN,
    }


def format_snapshot_moment(moment: str) -> str:
    """An ISO moment as a person reads it: `2026-11-20 14:03 UTC`."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _check_same(about: About, made_from: Mapping[str, str], url: str, directory: Path) -> None:
    changed = [
        name
        for name in {**made_from, **about.made_from}
        if not counts_the_same(made_from.get(name, ""), about.made_from.get(name, ""))
    ]
    if changed:
        raise UserError(
            f"the snapshot of production ({format_snapshot_moment(about.taken_at)}) "
            "was made before "
            f"{' and '.join(changed)} changed",
            where=f"{url}/{layout.SNAPSHOT}",
            remedy=f"take production anew: `handful reconcile {directory} --refresh`",
        )


def replace_kept(table_store: tables.TableStore, new: Snapshot) -> None:
    """Replace the snapshot in the store: the marker goes first and comes last."""
    stale = [] if new.documents else [layout.DOCUMENTS]
    table_store.store.delete([layout.SNAPSHOT, *stale])
    _keep(table_store, new)


def source_of(production: Snapshot, files: Source, store: Store, scratch: Path) -> Source:
    """Where the files of the snapshot are read: production's, or the documents that it holds.

    Those of a kept snapshot are brought here when the first one is read.
    """
    if not production.about.of_rows:
        return files

    def bring() -> Path:
        if production.documents:
            return production.documents
        path = scratch / "kept-documents.parquet"
        try:
            store.fetch(layout.DOCUMENTS, path)
            whole = pq.read_metadata(path).num_rows == production.about.keys
        except (Absent, Damaged, OSError, ValueError) as error:
            raise _snapshot_damage_error(store, layout.DOCUMENTS) from error
        if not whole:
            raise _snapshot_damage_error(store, layout.DOCUMENTS)
        return path

    return RowFiles(production.listing, bring)


def _keep(table_store: tables.TableStore, new: Snapshot) -> None:
    """Put the snapshot into a store that has no marker of one."""
    store = table_store.store
    parts = {layout.LABELS: new.labels, layout.LISTING: new.listing}
    if new.file_keys:
        parts[layout.FILE_KEYS] = new.file_keys
    if new.documents:
        parts[layout.DOCUMENTS] = new.documents
    tables.together(*(partial(store.send, path, key) for key, path in parts.items()))
    if new.stats is not None and new.stats.height:
        table_store.save(new.stats.drop("stamp"), layout.STATS)
    told = asdict(new.about)
    files = {key: checksums.of_file(path) for key, path in parts.items()}
    told[checksums.FILES] = checksums.to_json(files)
    text = json.dumps(told, indent=2, ensure_ascii=False)
    store.write(layout.SNAPSHOT, f"{text}\n".encode())


def _load_stored_snapshot(store: Store, scratch: Path) -> Snapshot | None:
    try:
        raw = json.loads(store.read(layout.SNAPSHOT))
        raw.setdefault("folder_markers", 0)  # unknown to snapshots of before
        about = About(**{f.name: raw[f.name] for f in fields(About)})
    except Absent:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _snapshot_damage_error(store, layout.SNAPSHOT) from error
    places: dict[str, Path] = {}
    parts: dict[str, int | None] = {layout.LABELS: about.label_rows, layout.LISTING: about.keys}
    if about.by_column:
        parts[layout.FILE_KEYS] = None  # nobody counted them
    for key, rows in parts.items():
        path = scratch / f"kept-{key.rsplit('/', 1)[-1]}"
        try:
            store.fetch(key, path)
            found: Any = pq.read_metadata(path).num_rows
        except (Absent, OSError, ValueError) as error:
            raise _snapshot_damage_error(store, key) from error
        if rows is not None and found != rows:
            raise _snapshot_damage_error(store, key)
        places[key] = path
    file_keys = places.get(layout.FILE_KEYS)
    return Snapshot(about, places[layout.LABELS], places[layout.LISTING], file_keys)


def _snapshot_damage_error(store: Store, key: str) -> DataError:
    return DataError(
        "the snapshot of production is damaged",
        where=f"{store.url}/{key}",
        remedy=f"remove {layout.SNAPSHOT} from the store; production is then asked again",
    )
