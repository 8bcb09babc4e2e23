"""`match`: a large generated business, from the snapshot to fates, copy plan and ledger.

Three fresh processes. `generate` makes label rows and a listing. `take` reads both as production
gives them (rows by ten thousand, keys by the page) and keeps the snapshot, by the product's own
code. `match_taken` finds that snapshot, as a restart does, and goes on to the end: fates, the
listing of an empty store, the copy plan as a file, and, as though every copy had arrived, ledger,
summary and the record's hash. Its time and memory are what the limits are about.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconcile_parts.large import EXPERIMENT, LABELS, LISTING
from reconcile_parts.processes import itself
from reconcile_parts.verdicts import Limit, verdict

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from handful.experiment.context import Experiment
    from handful.steps.reconcile.copying.overwrite_journal import Journal
    from handful.steps.reconcile.matching import Matched
    from handful.steps.reconcile.snapshot.snapshot import Snapshot
    from handful.steps.reconcile.snapshot.tables import TableStore

PAGE = 1_000
ROWS_AT_ONCE = 10_000
PLAN = "plan.parquet"


def match(rows: int, keys: int, wanted: int) -> bool:
    """Run everything; True if every limit was kept."""
    print(f"matching {rows:,} label rows with {keys:,} keys; {wanted} files an artifact are wanted")
    with tempfile.TemporaryDirectory(prefix="handful-bench-") as folder:
        job = {"folder": folder}
        itself("generate", {**job, "rows": rows, "keys": keys, "wanted": wanted})
        for name in ("take", "match"):
            result = itself(name, job)
            told = result.told
            parts = ", ".join(
                f"{part} {seconds:.2f} s and {told['peaks'][part]:,.0f} MB"
                for part, seconds in told["parts"].items()
            )
            total = sum(told["parts"].values())
            cpu, peak = told["cpu"], result.peak
            print(f"  {name:6} {total:7.2f} s, cpu {cpu:.2f} s, peak {peak:,.0f} MB ({parts})")
    print(f"  fates: {told['fates']}")
    print(f"  {told['planned']:,} files in the copy plan, {told['plan_mb']:,.1f} MB as a file")
    a_key = (peak - told["idle_mb"]) * 1e6 / keys
    print(f"  {a_key:,.0f} bytes a key at the peak, beyond an idle {told['idle_mb']:,.0f} MB")
    return verdict([Limit("seconds", total, at_most=25), Limit("peak GB", peak / 1e3, at_most=3.5)])


@dataclass
class Parts:
    """The time of each part, the process's peak of memory behind it, and the CPU time of all."""

    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    """MB."""
    cpu: float = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        cpu, began = time.process_time(), time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.cpu += time.process_time() - cpu
        self.peaks[name] = peak_mb()

    def told(self) -> dict[str, Any]:
        return {"parts": self.seconds, "peaks": self.peaks, "cpu": self.cpu}


def peak_mb() -> float:
    """Of this process, until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@contextmanager
def _opened(folder: str) -> Iterator[Experiment]:
    from handful.experiment.context import open_experiment
    from handful.progress import Silent

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        yield open_experiment(Path(folder) / EXPERIMENT, (), Silent(), Path(scratch))


# --- take and match ------------------------------------------------------------------------------


class _Production:
    """Label rows and keys from the generated files, as a database and a bucket give them."""

    url = "s3://production"

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def rows(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from handful.labels.base import LABELS_SCHEMA

        with pq.ParquetFile(self._folder / LABELS) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for field in list(LABELS_SCHEMA)[batch.num_columns :]:  # later ones are null
                    batch = batch.append_column(field, pa.nulls(batch.num_rows, field.type))
                yield batch.cast(LABELS_SCHEMA)

    def list(self, *_: object, **__: object) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._folder / LISTING) as file:
            yield from file.iter_batches(PAGE)


def take(folder: str) -> dict[str, Any]:
    """In a fresh process: production's rows and keys become the snapshot in the store."""
    from handful.steps.reconcile.snapshot.snapshot import snapshot

    production: Any = _Production(folder)
    parts = Parts()
    with _opened(folder) as experiment, parts.timed("snapshot"):
        taken = snapshot(experiment, production, production, refresh=False)
        if taken.keeping:
            taken.keeping.get()
    return parts.told()


def match_taken(folder: str) -> dict[str, Any]:
    """In a fresh process: from the snapshot to the ledger."""
    import polars as pl

    from handful.steps.reconcile.copying import copies
    from handful.steps.reconcile.copying.failures import Troubles
    from handful.steps.reconcile.copying.overwrite_journal import Journal
    from handful.steps.reconcile.snapshot.snapshot import snapshot
    from handful.steps.reconcile.snapshot.tables import TableStore

    nobody: Any = None
    idle, parts, plan_file = peak_mb(), Parts(), Path(folder) / PLAN
    with _opened(folder) as experiment:
        with parts.timed("finding the snapshot"):
            production = snapshot(experiment, nobody, nobody, refresh=False)
        with parts.timed("fates"):
            matched = _match(experiment, production)
            troubles = Troubles.of(experiment.settings.reconcile.MAX_FAILED, matched.rows)
        with parts.timed("copy plan"):
            kept = TableStore(experiment.store, experiment.scratch, experiment.progress)
            moment, again = production.about.taken_at, experiment.settings.reconcile.OVERWRITE
            journal = Journal(kept, experiment.progress, moment, overwrites=again)
            planned = _plan(kept, matched, journal, plan_file)
        arrived = pl.read_parquet(plan_file).select(copies.PRESENT.names())
        with parts.timed("ledger"):
            book = _conclude(kept, production, matched, arrived, troubles)
    fates = dict(book.rows.group_by("fate").len().sort("fate").iter_rows())
    sizes = {"plan_mb": plan_file.stat().st_size / 1e6, "idle_mb": idle}
    return {**parts.told(), **sizes, "fates": fates, "planned": planned}


def _match(experiment: Experiment, production: Snapshot) -> Matched:
    """As the step itself does it."""
    from handful.steps import reconcile
    from handful.steps.reconcile.keys.names import Wanted

    settings = experiment.settings
    nobody: Any = None  # every row has a hash: no content is read
    wanted = Wanted.of(
        settings.production.FILES_FROM_PROD,
        settings.reconcile.FILES_ON_RESEARCH,
        has_process=False,
    )
    return reconcile._match(experiment, production, wanted, nobody)[1]


def _plan(kept: TableStore, matched: Matched, journal: Journal, path: Path) -> int:
    """How many files are to be copied; the plan goes to `path`."""
    from handful.steps.reconcile.copying import copies

    here = copies.present(kept.store, kept.progress)
    memory = copies.load_arrived_copies(kept)
    plan = copies.plan(matched.files, here, memory, journal)
    plan.write_parquet(path)
    return plan.height


def _conclude(
    kept: TableStore,
    production: Snapshot,
    matched: Matched,
    arrived: pl.DataFrame,
    troubles: Any,
) -> Any:
    import polars as pl

    from handful.steps.reconcile import ledger
    from handful.steps.reconcile.copying.verify import Verified

    made = pl.DataFrame(schema={**arrived.schema, "content": pl.String})
    book = ledger.conclude(matched, Verified(arrived, made, 0), troubles)
    listed = production.files.select(pl.col("artifact_id").n_unique()).collect().item()
    ledger.write(kept, book, ledger.summarise(book, production.about, int(listed)))
    book.hash()
    return book
