"""The part "What ran": every look at the test split, the steps, and what it was all made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handful.errors import Absent
from handful.layout import Layout, model_folder
from handful.records import Compared, Prepared, Reconciled, Record, Tested, Trained, Tuned
from handful.report.tables import Cell, Column, Heads, Table, num, prose, table
from handful.report.words import code, moment
from handful.storage.base import Store

_STEPS = ("reconcile", "prepare", "train", "test")


def look_table(looks: Sequence[Mapping[str, Any]]) -> Table:
    """The looks, the first one first.

    `settings` is the beginning of their hash: the same for looks with the same settings, data and
    weights.
    """
    heads: Heads = [
        Column("when", "keep"),
        prose("models"),
        Column("settings", "keep"),
        prose("remark"),
    ]
    rows = [_look(one) for one in looks]
    return table("Every look at the test split", heads, rows, css="")


def _look(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    late = bool(one.get("after_verdict"))
    cut_off = "finished" in one and one["finished"] is None
    remarks = ["after a verdict about other models"] * late + ["was cut off"] * cut_off
    models = ", ".join(f"{run['model']} seed {run['seed']}" for run in one.get("runs", ()))
    return (
        Cell(moment(str(one.get("when", "")))),
        Cell(models),
        Cell(code(str(one.get("settings_hash", ""))[:12])),
        Cell("; ".join(remarks), "wrong" if late else ""),
    )


def step_table(store: Store, mine: Layout, records: Sequence[Record]) -> Table:
    """When each step was done, and how long it took. `records`: of the steps without which there
    is no report."""
    found = dict(zip(_STEPS, records, strict=True))
    tuned = _read_step_record(store, mine.tuned_record, Tuned)
    if isinstance(tuned, Tuned) and tuned.best:
        found["tune"] = tuned
    compared = _read_step_record(store, mine.compared_record, Compared)
    if compared:
        found["compare"] = compared
    order = [name for name in (*_STEPS[:2], "tune", *_STEPS[2:], "compare") if name in found]
    rows = [(name, moment(found[name].finished_at), f"{found[name].seconds:.1f}") for name in order]
    return table("Steps", ["step", Column("finished", "keep"), num("seconds")], rows, css="")


def _read_step_record(store: Store, key: str, kind: type[Record]) -> Record | None:
    try:
        return kind.from_json(store.read(key))
    except (Absent, ValueError, TypeError):
        return None


def provenance(
    reconciled: Reconciled, prepared: Prepared, trained: Trained, tested: Tested
) -> Table:
    """The hashes and versions by which a step is known to be up to date."""
    rows = [("the ledger", reconciled.ledger_hash), ("the splits", prepared.splits_hash)]
    rows += [(f"encoded data of {model_folder(m)}", h) for m, h in prepared.data_hash.items()]
    rows += [
        (f"weights of {model_folder(r.model)}, seed {r.seed}", r.weights_hash) for r in trained.runs
    ]
    rows += [
        (f"predictions of {model_folder(e.model)}, seed {e.seed}", e.predictions_hash)
        for e in tested.evaluations
    ]
    rows += [(name, value) for name, value in prepared.made_from.items() if "version" in name]
    cells = [(name, code(value, 80)) for name, value in rows]
    about = "What decides whether a step is up to date"
    return table(about, ["of what", prose("hash or version")], cells, css="")
