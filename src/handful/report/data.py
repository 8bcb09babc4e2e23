"""The parts about the data: what was dropped, how it was split, and what the models cannot see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from handful.errors import Absent
from handful.layout import SPLITS, Layout, model_folder
from handful.records import Fate, Prepared
from handful.report import gather, render
from handful.report.tables import Heads, Table, num, prose, table
from handful.report.words import code, example, truncate_report_text
from handful.storage.base import Store

QUARANTINED_SHOWN = 20
Splits = tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]
"""The splits' names; and of each label its artifacts in each of them."""


def data_part(fates: gather.Fates, splits: Splits, *, told: bool) -> dict[str, Any]:
    """Where the artifacts went. `told`: whether errors may quote a document."""
    return {
        "fates": fates.rows,
        "fate_bar": render.fate_bar(fates.rows),
        "fate_table": _fate_table(fates, told),
        "split_table": _label_split_table(*splits),
    }


def describe_dropped_rows(fates: gather.Fates) -> str:
    """How many label rows were dropped; apart from them the artifacts that have none."""
    word = "label row" if fates.dropped == 1 else "label rows"
    told = f"{fates.dropped:,} {word} dropped, each with a reason"
    told = told if fates.dropped else "no label row was dropped"
    if not fates.unlabelled:
        return told
    has = "1 artifact has" if fates.unlabelled == 1 else f"{fates.unlabelled:,} artifacts have"
    return f"{told}; {has} no label row"


def private(message: str, *, told: bool) -> str:
    """An error's words; they may quote the document, so that only its class may be `told`."""
    return message if told else message.partition(":")[0]


def _fate_table(fates: gather.Fates, told: bool) -> Table:
    def examples(row: gather.FateRow) -> str:
        if row.fate == Fate.KEPT:
            return Markup('<span class="quiet">copied and verified</span>')
        quoting = row.fate == Fate.PROCESS_FAILED
        return Markup("").join(
            example(
                artifact_id, truncate_report_text(private(reason, told=told or not quoting), 220)
            )
            for artifact_id, reason in row.examples
        )

    total = sum(row.count for row in fates.rows)
    return table(
        f"Fates of {total:,} ledger rows, with a few examples",
        ["fate", num("label rows"), num("artifacts without one"), prose("examples and reasons")],
        [(r.fate, _count(r.rows), _count(r.artifacts), examples(r)) for r in fates.rows],
        css="",
    )


def _count(count: int) -> str:
    return f"{count:,}" if count else ""


def _label_split_table(names: Sequence[str], rows: Sequence[tuple[str, tuple[int, ...]]]) -> Table:
    totals = [sum(counts[n] for _, counts in rows) for n in range(len(names))]
    return table(
        "Artifacts per label and split",
        ["label", *map(num, names), num("all")],
        [(label, *(f"{n:,}" for n in (*counts, sum(counts)))) for label, counts in rows],
        foot=["all", *(f"{n:,}" for n in (*totals, sum(totals)))],
    )


def encoding_part(
    store: Store, mine: Layout, prepared: Prepared, model: str, *, told: bool
) -> dict[str, Any]:
    """What of the documents reached one model. `told`: whether errors may quote a document."""
    found = {
        "name": model_folder(model),
        "rows": _describe_split_rows(prepared.rows[model]),
        "truncation": "Not recorded.",
        "left_out": "",
        "labels": None,
        "quarantined": None,
    }
    try:
        truncation, quarantine = gather.encoding(store, mine, model)
    except Absent:
        return found
    left_out = prepared.left_out.get(model, 0)
    labels = [
        (
            label,
            f"{one['instances']:,}",
            _share(one.get("share_truncated")),
            _share(one.get("share_of_tokens_unseen")),
        )
        for label, one in truncation["labels"].items()
    ]
    is_measured = truncation["overall"].get("share_truncated") is not None
    heads: Heads = ["label", num("instances"), num("cut"), num("tokens unseen")]
    cut = "Instances that were cut, and the share of tokens never seen"
    about = cut if is_measured else "Instances of each label"
    return found | {
        "truncation": _truncation_words(truncation["overall"]),
        "left_out": f"encode_data left {left_out:,} out." if left_out else "",
        "labels": table(about, heads, labels) if labels else None,
        "quarantined": _quarantine_table(quarantine, told) if quarantine.height else None,
    }


def _describe_split_rows(rows: Mapping[str, int]) -> str:
    """What is left in each split once all that cannot be encoded has gone."""
    return ", ".join(f"{rows[split]:,} in {split}" for split in SPLITS if split in rows)


def _quarantine_table(quarantine: Any, told: bool) -> Table:
    shown = quarantine.select("artifact_id", "error").head(QUARANTINED_SHOWN)
    first = f" (the first {shown.height:,} here)" if shown.height < quarantine.height else ""
    return table(
        f"Quarantined: {quarantine.height:,} documents that could not be encoded{first}",
        ["artifact", prose("error")],
        [
            (code(artifact_id), truncate_report_text(private(error, told=told), 220))
            for artifact_id, error in shown.iter_rows()
        ],
        css="",
    )


def _truncation_words(overall: Mapping[str, Any]) -> str:
    if overall.get("share_truncated") is None:
        return "How long the documents were before truncation was not recorded."
    return (
        f"{_share(overall['share_truncated'])} of {overall['instances']:,} documents were cut, and "
        f"{_share(overall.get('share_of_tokens_unseen'))} of all tokens were never seen."
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
