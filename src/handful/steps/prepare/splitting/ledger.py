"""splits.parquet: where every kept artifact went and why, and what the draw was made with.

Beside the columns of the design stands `drawn`: the split that an artifact was given when it was
first seen. `split` is that too, or left_out where this dataset does not use the artifact; so a
label that is ignored for a while, or a larger MAX_ARTIFACTS, finds everybody where they were.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from handful.errors import Absent, DataError, UserError
from handful.layout import PREPARED_DATA, Layout
from handful.records import Split
from handful.settings import Settings
from handful.steps.prepare.splitting.splits import SPLITS, Drawn
from handful.storage.base import Store

_COLUMNS = ("artifact_id", "label", "split", "group", "reason", "drawn")
_LEDGER_METADATA_KEY = b"handful"


@dataclass(frozen=True)
class Row:
    """One row of splits.parquet."""

    artifact_id: str
    label: str
    """After LABEL_ALIASES."""
    split: str
    group: str
    reason: str
    drawn: str


@dataclass(frozen=True)
class Ledger:
    """Every kept artifact, sorted by id, and the settings that drew their splits."""

    rows: tuple[Row, ...]
    drawn_with: Mapping[str, Any]
    labels_seen: tuple[str, ...] | None = None
    """Every label so far, in the order in which they came; None in one of an earlier build."""

    def used(self) -> tuple[Row, ...]:
        """Those of train, validation and test."""
        return tuple(row for row in self.rows if row.split != Split.LEFT_OUT)

    def drawn(self) -> dict[str, Drawn]:
        """What a later draw must honour."""
        return {row.artifact_id: Drawn(row.drawn, row.group, row.reason) for row in self.rows}

    def hash(self) -> str:
        """sha256 over who is where, under which label."""
        lines = (f"{r.artifact_id}\0{r.label}\0{r.split}\0{r.group}\n" for r in self.rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def rare_labels(self) -> dict[str, dict[str, int]]:
        """Labels without an artifact in some split that has a share → split → artifacts."""
        shares = dict(zip(SPLITS, self.drawn_with["SPLIT"], strict=True))
        wanted = [split for split in SPLITS if shares[split] > 0]
        counts = Counter((row.label, row.split) for row in self.used())
        return {
            label: {split: counts[label, split] for split in SPLITS}
            for label in sorted({label for label, _ in counts})
            if any(not counts[label, split] for split in wanted)
        }


def ledger_draw_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a ledger cannot change without being drawn anew."""
    return {
        "SPLIT": list(settings.prepare.SPLIT),
        "SEED": settings.experiment.SEED,
        "GROUP_BY": settings.prepare.GROUP_BY,
        "NEAR_DUPLICATES": settings.prepare.NEAR_DUPLICATES,
        "SPLIT_FROM": settings.prepare.SPLIT_FROM,
    }


def previous_ledger(store: Store, layout: Layout, settings: Settings) -> Ledger | None:
    """The ledger to honour, None if there is none.

    It is this dataset's own; before there is one, that of another dataset of the experiment which
    was drawn with the same settings, so that a partial dataset's test split is a part of the full
    one's. `UserError` if this dataset's own was drawn with other settings.
    """
    now = ledger_draw_settings(settings)
    own = read_ledger(store, layout.splits)
    if own is None:
        others = [read_ledger(store, key) for key in _others(store, layout)]
        same = [ledger for ledger in others if ledger and ledger.drawn_with == now]
        return max(same, key=lambda ledger: len(ledger.rows), default=None)
    changed = [key for key in now if own.drawn_with.get(key) != now[key]]
    if changed:
        was = ", ".join(
            f"{key} = {_format_ledger_setting(own.drawn_with.get(key))}" for key in changed
        )
        raise UserError(
            f"the splits were drawn with {was}, and "
            f"{_format_ledger_setting(now[changed[0]])} would move artifacts",
            where=f"[{'experiment' if changed[0] == 'SEED' else 'prepare'}] {changed[0]}",
            remedy="set it back, or draw new splits with `--redo prepare`",
        )
    return own


def keep_ledger(store: Store, layout: Layout, ledger: Ledger) -> None:
    """Write split_metadata.json and splits.parquet, the ledger last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"drawn_with": dict(ledger.drawn_with), "labels_seen": ledger.labels_seen}
    columns = zip(*(astuple(row) for row in ledger.rows), strict=True)
    table = pa.table(
        {
            name: pa.array(column, pa.string())
            for name, column in zip(_COLUMNS, columns, strict=True)
        }
    ).replace_schema_metadata({_LEDGER_METADATA_KEY: json.dumps(about)})
    file = io.BytesIO()
    pq.write_table(table, file)
    metadata = json.dumps(_metadata(ledger), indent=2, ensure_ascii=False)
    store.write(layout.split_metadata, f"{metadata}\n".encode())
    store.write(layout.splits, file.getvalue())


def _metadata(ledger: Ledger) -> dict[str, Any]:
    used = ledger.used()
    by_label = Counter((row.split, row.label) for row in used)
    labels = sorted({row.label for row in used})
    groups = Counter(row.group for row in used)
    left_out = Counter(row.reason for row in ledger.rows if row.split == Split.LEFT_OUT)
    return {
        "drawn_with": dict(ledger.drawn_with),
        "artifacts": {split: sum(r.split == split for r in used) for split in SPLITS},
        "labels": {split: {label: by_label[split, label] for label in labels} for split in SPLITS},
        "groups": {
            "of several artifacts": sum(size > 1 for size in groups.values()),
            "largest": max(groups.values(), default=0),
        },
        "rare_labels": ledger.rare_labels(),
        "left_out": dict(left_out.most_common()),
    }


def _others(store: Store, layout: Layout) -> Iterable[str]:
    """The keys of other datasets' ledgers."""
    for batch in store.list(f"{PREPARED_DATA}/"):
        for key in batch.column("key").to_pylist():
            dataset = key.removeprefix(f"{PREPARED_DATA}/").split("/")[0]
            if key == Layout(dataset).splits != layout.splits:
                yield key


def read_ledger(store: Store, key: str) -> Ledger | None:
    """The split ledger at `key`, None if there is none. `DataError` if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = store.read(key)
    except Absent:
        return None
    try:
        table = pq.read_table(io.BytesIO(data), columns=list(_COLUMNS))
        about = json.loads(table.schema.metadata[_LEDGER_METADATA_KEY])
        rows = zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)
        seen = about.get("labels_seen")
        labels = None if seen is None else tuple(map(str, seen))
        return Ledger(tuple(Row(*row) for row in rows), about["drawn_with"], labels)
    except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the split ledger cannot be read: {error}",
            where=f"{store.url}/{key}",
            remedy="restore the file, or draw new splits with `--redo prepare`",
        ) from error


def _format_ledger_setting(value: Any) -> str:
    if value is None:
        return "none"
    return "/".join(f"{share:g}" for share in value) if isinstance(value, list) else str(value)
