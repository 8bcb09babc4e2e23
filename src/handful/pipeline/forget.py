"""`handful forget`: who is meant, what would go, and all the locks while it goes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from handful import layout
from handful.errors import Absent, UserError
from handful.experiment.context import Experiment
from handful.experiment.kept_models import ModelStore
from handful.experiment.store_format import is_marked
from handful.layout import Layout
from handful.records import Fate
from handful.steps.forget import Forgotten as Forgotten
from handful.steps.forget import all_keys, forget
from handful.steps.forget.journal import load_forget_journal
from handful.steps.reconcile.keys.guids import normalize_guid
from handful.steps.reconcile.keys.id_format import ORIGINAL_ID, is_guid
from handful.storage.checked import bare
from handful.storage.lock import hold_lock

_MOST = 1_024
"""Letters of an id."""


@dataclass(frozen=True)
class ForgetPlan:
    """What a forgetting would do."""

    ids: tuple[str, ...]
    """As they are matched; of documents that the experiment knows."""
    spellings: tuple[str, ...]
    """All ways in which those are written, and the unknown ones."""
    unknown: tuple[str, ...]
    """Of which the experiment holds nothing; they are remembered all the same."""
    twins: Mapping[str, str]
    """Documents with the same content as one that was asked for, which go with it → that one."""
    files: int
    """Of theirs, in reconciled_artifacts."""
    splits: Mapping[str, Mapping[str, int]]
    """ENCODED_DATA_DIR → split → documents."""
    models: tuple[str, ...]
    """Folders of trained models whose datasets held one; their weights stay."""
    half_done: bool
    """Was a call before cut off? It is finished first."""

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "ids": list(self.ids),
            "unknown": list(self.unknown),
            "same_content": dict(self.twins),
            "files": self.files,
            "splits": {name: dict(counts) for name, counts in self.splits.items()},
            "models": list(self.models),
            "half_done": self.half_done,
        }


def plan_forgetting(experiment: Experiment, ids: Iterable[str]) -> ForgetPlan:
    """Look what the experiment has of these documents; only reads, and compares nothing with what
    records say, since a call before may be half done.

    `UserError` if an id cannot be one, or nothing is asked for and nothing is half done.
    """
    is_marked(experiment.store)
    store = bare(experiment.store)
    half_done = load_forget_journal(store) is not None
    asked = _checked_ids(ids)
    if not asked and not half_done:
        raise UserError("whom?", where="handful forget", remedy="name the ids of documents")
    fold = normalize_guid if is_guid(experiment.settings) else str
    wanted = sorted({fold(one) for one in asked})
    ledger = _ledger_of(experiment)
    known = set(ledger["artifact_id"].drop_nulls())
    found = [one for one in wanted if one in known]
    twins = _twins(ledger, found)
    every = sorted({*found, *twins})
    spelled = {*asked, *wanted, *every}
    if ORIGINAL_ID in ledger.columns:
        rows = ledger.filter(pl.col("artifact_id").is_in(every))
        spelled |= set(rows[ORIGINAL_ID].drop_nulls())
    splits = _in_splits(experiment, every)
    return ForgetPlan(
        ids=tuple(every),
        spellings=tuple(sorted(spelled)),
        unknown=tuple(one for one in wanted if one not in known),
        twins=twins,
        files=sum(len(all_keys(store, f"{layout.artifact(one)}/")) for one in every),
        splits=splits,
        models=tuple(one for name in splits for one in _models_of(experiment, name)),
        half_done=half_done,
    )


def carry_out(experiment: Experiment, plan: ForgetPlan) -> Forgotten:
    """Forget them, under the locks of all steps. `Locked` if one is at work."""
    with _all_locks(experiment) as mine:
        return forget(mine, plan.spellings, purge=lambda wanted: _purge(mine, wanted))


def ids_of_query(experiment: Experiment, query: str) -> list[str]:
    """The artifact ids that a query gives in production's database; it is only read."""
    from handful.pipeline.production import production_labels

    production = replace(experiment.settings.production, LABEL_QUERY=query, FILES_FROM_PROD=())
    settings = replace(experiment.settings, production=production)
    labels = production_labels(settings, experiment.scratch, experiment.progress)
    return [
        one
        for batch in labels.rows()
        for one in batch.column("artifact_id").to_pylist()
        if one is not None
    ]


def _checked_ids(ids: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(ids))
    for one in found:
        if not one.strip() or len(one) > _MOST or not one.isprintable():
            raise UserError(
                f"{one[:40]!r} cannot be the id of a document",
                where="handful forget",
                remedy=f"an id has up to {_MOST} letters that can be printed",
            )
    return found


def _ledger_of(experiment: Experiment) -> pl.DataFrame:
    try:
        data = bare(experiment.store).read(layout.LEDGER)
    except Absent:
        schema = dict.fromkeys(("artifact_id", "file_hash", "fate"), pl.String)
        return pl.DataFrame(schema=schema)
    return pl.read_parquet(io.BytesIO(data))


def _twins(ledger: pl.DataFrame, ids: Sequence[str]) -> dict[str, str]:
    """Documents with the content of one of `ids` → that one: else the next reconcile would take
    the same text in under another id."""
    theirs = ledger.filter(pl.col("artifact_id").is_in(ids) & pl.col("file_hash").is_not_null())
    first = theirs.sort("artifact_id").unique("file_hash", keep="first")
    same = ledger.filter(
        ~pl.col("artifact_id").is_in(ids) & (pl.col("fate") != Fate.FORGOTTEN.value)
    ).join(first.select("file_hash", of="artifact_id"), on="file_hash")
    return dict(same.select("artifact_id", "of").drop_nulls().sort("artifact_id").iter_rows())


def _in_splits(experiment: Experiment, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    found = {}
    for name in _datasets(experiment):
        try:
            data = bare(experiment.store).read(Layout(name).splits)
        except Absent:
            continue
        table = pl.read_parquet(io.BytesIO(data), columns=["artifact_id", "split"])
        theirs = table.filter(pl.col("artifact_id").is_in(ids)).group_by("split").len()
        if theirs.height:
            found[name] = dict(theirs.sort("split").iter_rows())
    return found


def _datasets(experiment: Experiment) -> list[str]:
    """Every ENCODED_DATA_DIR that has data or results."""
    store = bare(experiment.store)
    prepared = {key.split("/")[2] for key in all_keys(store, f"{layout.PREPARED_DATA}/")}
    results = {key.split("/")[1] for key in all_keys(store, "results/")}
    return sorted(prepared | results | {experiment.settings.prepare.ENCODED_DATA_DIR})


def _models_of(experiment: Experiment, dataset: str) -> list[str]:
    models = ModelStore(bare(experiment.store), Layout(dataset))
    final = f"/{layout.FINAL}/{layout.FINAL_RECORD}"
    stands = [
        key.removesuffix(f"/{layout.FINAL_RECORD}")
        for key in all_keys(bare(experiment.store), f"{Layout(dataset).models}/")
        if key.endswith(final)
    ]
    kept = [one.key for one in models.list_replaced()]
    return sorted({*stands, *kept})


@contextmanager
def _all_locks(experiment: Experiment) -> Iterator[Experiment]:
    """The experiment, its store held by the lock of reconcile, and nobody at work on the rest."""
    name = experiment.settings.experiment.NAME
    with ExitStack() as stack:
        first = stack.enter_context(hold_lock(experiment.store, layout.LOCK, f"forget in {name}"))
        for dataset in _datasets(experiment):
            mine = Layout(dataset)
            for folder in (mine.prepared_lock, mine.results_lock, *_worker_locks(experiment, mine)):
                stack.enter_context(hold_lock(experiment.store, folder, f"forget in {name}"))
        yield replace(experiment, store=first.store)
        first.check()


def _worker_locks(experiment: Experiment, mine: Layout) -> list[str]:
    """Of machines that encode a share each."""
    keys = all_keys(bare(experiment.store), f"{mine.prepared_lock}-worker-")
    return sorted({key.rpartition("/")[0] for key in keys})


def _purge(experiment: Experiment, wanted: Callable[[str], bool]) -> tuple[str, ...]:
    """Remove older versions of the keys that are wanted, if the store is a bucket."""
    store = bare(experiment.store)
    if not store.url.startswith("s3://"):
        return ()
    from handful.storage.s3.store import S3Store
    from handful.storage.s3.versions import purge_versions

    return purge_versions(store, wanted) if isinstance(store, S3Store) else ()
