"""Documents are taken out of everything that an experiment keeps, as if they had never been there.

    begin     the journal, and the list of HMACs
    rewrite   every file of the store that can hold an id, a text or a row (see `kinds`)
    rename    hashes and checksums in whatever names those files: nothing seems changed or damaged
    search    every byte that is left, for the ids
    end       the journal goes

Killed at any moment, the same call goes on; until then no step runs. Figures stay as they were and
say so; weights do not change.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from handful import layout
from handful.errors import Absent
from handful.experiment.context import Experiment
from handful.experiment.forgotten import (
    ForgottenList,
    begin_forgotten,
    keep_forgotten,
    new_event,
    words_since,
)
from handful.files import checksums
from handful.records import (
    Compared,
    Prepared,
    Reconciled,
    Record,
    Reported,
    Tested,
    Trained,
    Tuned,
)
from handful.steps.forget import hashes, tables, texts
from handful.steps.forget.journal import ForgetJournal, load_forget_journal
from handful.steps.forget.kinds import Kind, kind_of
from handful.steps.forget.targets import Targets
from handful.steps.forget.user_files import forget_user_files
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.id_format import is_guid
from handful.steps.reconcile.ledger import Ledger, summarise
from handful.steps.reconcile.snapshot.leave_forgotten import renumbered_rows
from handful.steps.reconcile.snapshot.report_labels import label_counts
from handful.steps.reconcile.snapshot.snapshot import About
from handful.storage.base import Store
from handful.storage.checked import bare

_KINDS_OF_RECORD: Mapping[str, type[Record]] = {
    "reconciled.json": Reconciled,
    "prepared.json": Prepared,
    "tuned.json": Tuned,
    "trained.json": Trained,
    "tested.json": Tested,
    "compared.json": Compared,
    "reported.json": Reported,
}


@dataclass(frozen=True)
class Forgotten:
    """What a forgetting did."""

    documents: int
    rewritten: tuple[str, ...]
    """Keys of the store, and the user's own files."""
    deleted: int
    """Files."""
    left: tuple[str, ...]
    """Files that still name a document, and why they were left."""


def forget(
    experiment: Experiment,
    ids: Iterable[str],
    *,
    purge: Callable[[Callable[[str], bool]], tuple[str, ...]] = lambda _: (),
) -> Forgotten:
    """Forget the documents of these ids; first whatever a call before left half done.

    Args:
        experiment: its store is held by the locks of all steps.
        ids: in every spelling that the snapshot has of them.
        purge: removes older versions of the store's keys of which this is true, and names those
            that stay.

    Raises:
        Damaged: a file is not as it was written; nothing of it is touched then.
    """
    done = None
    if journal := load_forget_journal(bare(experiment.store)):
        experiment.progress.note("going on with what was cut off")
        done = _Forgetting(experiment, journal).run(purge)
    wanted = sorted(set(ids))
    if not wanted:
        return done or Forgotten(0, (), 0, ())
    return _Forgetting(experiment, _begin_forgetting(experiment, wanted)).run(purge)


class _Forgetting:
    """One journal, carried out."""

    def __init__(self, experiment: Experiment, journal: ForgetJournal) -> None:
        self.experiment, self.journal = experiment, journal
        self.store = bare(experiment.store)
        self.scratch = experiment.scratch
        self.targets = Targets(frozenset(journal.ids), frozenset(journal.keys))
        numbers = journal.numbers
        self.numbers = None if numbers is None else pl.Series(numbers, dtype=pl.UInt32)
        self.forgotten = self._keep_list()

    def run(self, purge: Callable[[Callable[[str], bool]], tuple[str, ...]]) -> Forgotten:
        journal, progress = self.journal, self.experiment.progress
        keys = sorted(all_keys(self.store))
        for done, key in enumerate(keys, start=1):
            progress.advance("forgetting", done, len(keys), "files")
            self._forget_in(key)
        self._forget_artifacts(keys)
        user_files = forget_user_files(self.experiment, self.store, journal, self.targets)
        self._rename()
        stayed = purge(self._may_tell)
        left = (*self._search(), *user_files)
        self.store.delete([layout.FORGET_JOURNAL])
        stayed += purge(layout.FORGET_JOURNAL.__eq__)
        documents = int(journal.event["documents"])
        return Forgotten(documents, tuple(journal.sums()), len(journal.removed), (*left, *stayed))

    def _may_tell(self, key: str) -> bool:
        """May an older version of it name one? Whatever was there once: shards that became a
        dataset, a report before this one."""
        kind = kind_of(key)
        if kind is Kind.ARTIFACT:
            return key.split("/")[2] in self.targets.ids
        return kind is not Kind.LEAVE

    def _keep_list(self) -> ForgottenList:
        fold = normalize_guid if is_guid(self.experiment.settings) else str
        known = begin_forgotten(self.store, fold)
        names = known.names | {known.name_of(one) for one in self.journal.ids}
        event = self.journal.event
        calls = {one["call"] for one in known.events}
        events = known.events if event["call"] in calls else (*known.events, event)
        if names != known.names or events != known.events:
            keep_forgotten(self.store, names, events)
        return replace(known, names=names, events=events)

    # --- the files --------------------------------------------------------------------------------

    def _forget_in(self, key: str) -> None:
        kind = kind_of(key)
        if kind in {Kind.LEAVE, Kind.ARTIFACT}:
            return
        if kind is Kind.DELETE:
            self._delete([key])
            return
        source, target = self.scratch / "forget-from", self.scratch / "forget-to"
        try:
            (self.store if key in self.journal.files else self.experiment.store).fetch(key, source)
        except Absent:
            return
        before = checksums.of_file(source)
        noted = self.journal.files.get(key)
        if noted and tuple(noted[2:]) == tuple(before):
            return
        if kind in {Kind.BUNDLE, Kind.OTHER}:
            if self.targets.raw.search(source.read_bytes()):
                self._delete([key])
            return
        self._change(kind, key, source, target)
        after = checksums.of_file(target)
        if after != before:
            self.journal.note(self.store, key, before, after)
            self.store.send(target, key)
        source.unlink()
        target.unlink()

    def _change(self, kind: Kind, key: str, source: Path, target: Path) -> None:
        targets = self.targets
        in_tables: dict[Kind, Callable[[], None]] = {
            Kind.LEDGER: partial(tables.forget_in_ledger, source, target, targets, self.forgotten),
            Kind.SPLITS: partial(tables.forget_in_splits, source, target, targets),
            Kind.PARQUET: partial(tables.forget_in_parquet, source, target, targets, self.numbers),
            Kind.ARROW: partial(tables.forget_in_arrow, source, target, targets),
        }
        if kind in {Kind.SPLITS, Kind.PARQUET, Kind.ARROW} and not tables.names_one(
            source, targets, self.numbers, arrow=kind is Kind.ARROW
        ):
            target.write_bytes(source.read_bytes())
        elif kind in in_tables:
            in_tables[kind]()
        else:
            target.write_bytes(self._text(kind, key, source.read_bytes()))

    def _text(self, kind: Kind, key: str, data: bytes) -> bytes:
        targets = self.targets
        if kind is Kind.SUMMARY:
            return self._summary(texts.forget_in_json(data, targets))
        if kind is Kind.LABEL_COUNTS:
            labels = label_counts(self._ledger())
            return (json.dumps(labels, indent=2, ensure_ascii=False) + "\n").encode()
        if kind is Kind.SNAPSHOT:
            return self._snapshot(data)
        if kind is Kind.DATASET_STATE:
            return self._dataset_state(key, data)
        if kind is Kind.COMPARISON:
            return texts.mark_comparison(texts.forget_in_json(data, targets), self._words(key))
        if kind is Kind.REPORT:
            return texts.forget_in_html(data, targets, self._words(key))
        if kind is Kind.JSON_LINES:
            return texts.forget_in_json_lines(data, targets)
        if kind is Kind.CSV:
            return texts.forget_in_csv(data, targets)
        return texts.forget_in_json(data, targets)

    def _words(self, key: str) -> str:
        """What the figures of the dataset of `key`, made when they were, lack."""
        dataset = key.split("/")[1]
        try:
            tested = json.loads(self.store.read(layout.Layout(dataset).tested_record))
        except Absent:
            return ""
        return words_since(self.store, tested["finished_at"], dataset)

    def _ledger(self) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.store.read(layout.LEDGER)))

    def _summary(self, data: bytes) -> bytes:
        told = json.loads(data)
        about = _counted_about(self.store, self.scratch)
        listing = pl.read_parquet(io.BytesIO(self.store.read(layout.LISTING)))
        rows = self._ledger()
        empty = pl.DataFrame(schema={"artifact_id": pl.String, "size": pl.Int64})
        counted = summarise(Ledger(rows, empty, empty), about, listing["artifact_id"].n_unique())
        told.update(label_rows=counted["label_rows"], artifacts=counted["artifacts"])
        return (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()

    def _snapshot(self, data: bytes) -> bytes:
        about = _counted_about(self.store, self.scratch)

        def count(told: dict[str, Any]) -> None:
            told["label_rows"], told["keys"] = about.label_rows, about.keys

        return hashes.with_rows(data, count)

    def _dataset_state(self, key: str, data: bytes) -> bytes:
        folder = key.rpartition("/")[0]
        arrows = [one for one in all_keys(self.store, f"{folder}/") if one.endswith(".arrow")]
        if not any(one in self.journal.files for one in arrows):
            return data
        told = json.loads(data)
        told["_fingerprint"] = hashes.arrow_hash(self.store, self.scratch, arrows)[:16]
        return json.dumps(told, indent=2).encode()

    def _forget_artifacts(self, keys: Iterable[str]) -> None:
        """All files of theirs, whatever wrote them there."""
        theirs = [
            key
            for key in keys
            if key.startswith(f"{layout.ARTIFACTS}/") and key.split("/")[2] in self.targets.ids
        ]
        self._delete(theirs)
        for one in sorted(self.targets.ids):
            if theirs and "/" not in one and one not in {"", ".", ".."}:
                self.store.delete_tree(layout.artifact(one))

    def _delete(self, keys: Sequence[str]) -> None:
        new = [key for key in keys if key not in self.journal.removed]
        if new:
            self.journal.removed += new
            self.journal.write(self.store)
        self.store.delete(keys)

    # --- the hashes -------------------------------------------------------------------------------

    def _rename(self) -> None:
        """Everything that names a rewritten file, or what was made of one, by its hash."""
        keys = [key for key in all_keys(self.store) if hashes.names_hashes(key)]
        renamed = self._new_hashes()
        for key in hashes.in_order_of_naming(keys):
            known = renamed | {one[0]: one[1] for one in self.journal.records.values()}
            before = self.store.read(key)
            after = hashes.substitute_hashes(before, self.journal.sums().values(), known)
            after = self._counted(key, after)
            if after == before:
                continue
            if checksums.MEMBER.encode() in before and layout.checks_itself(key):
                after = checksums.seal(after)
            self._note_record(key, before, after)
            sums = checksums.of_bytes(before), checksums.of_bytes(after)
            self.journal.note(self.store, key, *sums)
            self.store.write(key, after)

    def _counted(self, key: str, data: bytes) -> bytes:
        """A record that counts what is there, with the new counts."""
        if key == layout.RECONCILED:
            return _same_json(data, hashes.count_anew(data, self._ledger()))
        name = key.rsplit("/", 1)[-1]
        if not key.startswith(f"{layout.PREPARED_DATA}/"):
            return data
        folder = key.rpartition("/")[0]
        if name == layout.ENCODED_RECORD and folder in self.journal.data:
            rows = self._rows(folder)
            return _same_json(data, hashes.with_rows(data, lambda told: told.update(rows=rows)))
        if name != "prepared.json":
            return data

        def count(told: dict[str, Any]) -> None:
            for model in told["rows"]:
                if f"{folder}/{model}" in self.journal.data:
                    told["rows"][model] = self._rows(f"{folder}/{model}")

        return _same_json(data, hashes.with_rows(data, count))

    def _rows(self, folder: str) -> dict[str, int]:
        """Split → rows of a model's encoded data."""
        found = dict.fromkeys(layout.SPLITS, 0)
        for split in layout.SPLITS:
            for key in all_keys(self.store, f"{folder}/{split}/"):
                if key.endswith(".arrow"):
                    found[split] += tables.count_arrow_rows(self.store.read(key))
        return found

    def _note_record(self, key: str, before: bytes, after: bytes) -> None:
        kind = _KINDS_OF_RECORD.get(key.rsplit("/", 1)[-1])
        if kind is None or not hashes.is_step_record(key):
            return
        was = self.journal.records.get(key)
        old = was[0] if was else hashes.report_hash(before, kind)
        self.journal.records[key] = [old, hashes.report_hash(after, kind)]

    def _new_hashes(self) -> dict[str, str]:
        """Hashes over rows, before → after."""
        found: dict[str, str] = {}
        journal, guid = self.journal, is_guid(self.experiment.settings)
        if journal.ledger_hash:
            new = hashes.stored_ledger_hash(self.store, self.scratch, guid=guid)
            found[journal.ledger_hash] = new
        for key, old in journal.splits.items():
            found[old] = _splits_hash(self.store, key)
        for folder, told in journal.data.items():
            rows = hashes.rows_hash(self.store, self.scratch, _arrows(self.store, folder))
            labels = json.loads(self.store.read(f"{folder.rpartition('/')[0]}/label2id.json"))
            new = hashes.encoded_data_hash(rows, labels, rows_only=told["rows_only"])
            found[told["hash"]] = new
        return {old: new for old, new in found.items() if old and new and old != new}

    # --- what is left -----------------------------------------------------------------------------

    def _search(self) -> list[str]:
        """Files that still hold an id; what is read is every byte of the store but the artifacts'
        and the models'."""
        found = []
        for key in all_keys(self.store):
            if key == layout.FORGET_JOURNAL or key.startswith(f"{layout.ARTIFACTS}/"):
                continue
            if key.endswith((".safetensors", ".npy")):
                continue
            if self.targets.raw.search(self.store.read(key)):
                found.append(f"{self.store.url}/{key}: it names one; look at it yourself")
        return found


# --- how it begins --------------------------------------------------------------------------------


def _begin_forgetting(experiment: Experiment, ids: Sequence[str]) -> ForgetJournal:
    """Write down who goes, and the hashes as they are, before anything is touched."""
    store, scratch = bare(experiment.store), experiment.scratch
    keys, numbers = _of_listing(store, scratch, ids)
    journal = ForgetJournal(list(ids), keys, numbers=numbers)
    datasets: dict[str, dict[str, int]] = {}
    for key in all_keys(store, f"{layout.PREPARED_DATA}/"):
        folder, _, name = key.rpartition("/")
        if name == "splits.parquet":
            journal.splits[key] = _splits_hash(store, key)
            datasets[folder.rsplit("/", 1)[-1]] = _splits_of(store, key, ids)
        if name == layout.ENCODED_RECORD:
            told = json.loads(store.read(key))
            rows = hashes.rows_hash(store, scratch, _arrows(store, folder))
            only = rows == told["data_hash"]
            journal.data[folder] = {"hash": told["data_hash"], "rows_only": only}
    journal.ledger_hash = _known_ledger_hash(experiment, store)
    fold = normalize_guid if is_guid(experiment.settings) else str
    documents = len({fold(one) for one in ids})
    journal.event = new_event(secrets.token_hex(8), documents, datasets)
    journal.write(store)
    return journal


def _known_ledger_hash(experiment: Experiment, store: Store) -> str:
    """As reconcile left it; empty, and said, if what stands there does not lead to it."""
    try:
        told = Reconciled.from_json(store.read(layout.RECONCILED))
    except Absent:
        return ""
    guid = is_guid(experiment.settings)
    if hashes.stored_ledger_hash(store, experiment.scratch, guid=guid) == told.ledger_hash:
        return told.ledger_hash
    experiment.progress.warn(
        "the next reconcile that runs will have the steps behind it run again: its ledger's hash "
        "cannot be made from what stands in the store"
    )
    return ""


def _of_listing(
    store: Store, scratch: Path, ids: Sequence[str]
) -> tuple[list[str], list[int | None] | None]:
    """Keys of production that are theirs; and new numbers of label rows, if tables need them."""
    labels, listing = scratch / "forget-labels", scratch / "forget-listing"
    try:
        store.fetch(layout.LABELS, labels)
        store.fetch(layout.LISTING, listing)
    except Absent:
        return [], None
    table = pl.read_parquet(listing, memory_map=False)
    keys = table.filter(pl.col("artifact_id").is_in(list(ids)))["key"].unique().sort().to_list()
    if "nr" not in table.columns:
        return keys, None
    return keys, renumbered_rows(labels, list(ids)).to_list()


def _splits_of(store: Store, key: str, ids: Sequence[str]) -> dict[str, int]:
    table = pl.read_parquet(io.BytesIO(store.read(key)), columns=["artifact_id", "split"])
    theirs = table.filter(pl.col("artifact_id").is_in(list(ids)))
    counts = dict(theirs.group_by("split").len().iter_rows())
    return {split: counts[split] for split in layout.SPLITS if split in counts}


def _splits_hash(store: Store, key: str) -> str:
    from handful.steps.prepare.splitting.ledger import read_ledger

    ledger = read_ledger(store, key)
    return ledger.hash() if ledger else ""


def _arrows(store: Store, folder: str) -> dict[str, list[str]]:
    """Split → keys of its Arrow files."""
    return {
        split: [one for one in all_keys(store, f"{folder}/{split}/") if one.endswith(".arrow")]
        for split in layout.SPLITS
    }


def _counted_about(store: Store, scratch: Path) -> About:
    """snapshot.json, with the rows that there are."""
    import pyarrow.parquet as pq

    told = json.loads(store.read(layout.SNAPSHOT))
    told.setdefault("folder_markers", 0)
    path = scratch / "counted.parquet"
    for name, key in (("label_rows", layout.LABELS), ("keys", layout.LISTING)):
        store.fetch(key, path)
        told[name] = pq.read_metadata(path).num_rows
    return About(**{name: told[name] for name in About.__dataclass_fields__})


def _same_json(before: bytes, after: bytes) -> bytes:
    """`before`, if both say the same."""
    one, other = json.loads(before), json.loads(after)
    one.pop(checksums.MEMBER, None)
    other.pop(checksums.MEMBER, None)
    return before if one == other else after


def all_keys(store: Store, prefix: str = "") -> list[str]:
    """The keys of the store below a prefix."""
    found: list[str] = []
    for batch in store.list(prefix):
        found += batch.column("key").to_pylist()
    return found
