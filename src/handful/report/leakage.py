"""What the splits would have given away without groups: from leakage.json, if prepare wrote one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from handful.errors import Absent
from handful.report.tables import Heads, Table, num, prose, table
from handful.report.words import example, truncate_report_text
from handful.storage.base import Store

SHOWN = 8


def leakage_part(store: Store, key: str) -> dict[str, Any] | None:
    """What the template needs, from leakage.json; None without one, or if nobody looked."""
    try:
        found = json.loads(store.read(key))
    except Absent:
        return None
    before, after = found.get("before_grouping"), found.get("after_grouping")
    if not found.get("looked_for") or not before or not after:
        return None
    return {
        "words": _describe_leakage(found, before, after),
        "bad": after["pairs"] > 0,
        "table": _leakage_table(before, after),
        "examples": _examples(found.get("examples", ())[:SHOWN]),
        "not_compared": f"{found.get('not_compared', 0):,}" if found.get("not_compared") else "",
    }


def _describe_leakage(
    found: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]
) -> str:
    left = (
        "none of these pairs lies in two splits"
        if not after["pairs"]
        else f"{after['pairs']:,} of these pairs still lie in two splits, and "
        f"{after['test_artifacts_with_twin']:,} test artifacts have a twin that was learned from"
    )
    return (
        f"{found['pairs']:,} pairs of documents nearly say the same (likeness of at least "
        f"{found['threshold']:.2g}). Drawn without groups, {before['test_artifacts_with_twin']:,} "
        f"of {before['test_artifacts']:,} test artifacts would have had a twin in train or "
        f"validation; as it is drawn here, {left}."
    )


def _format_leakage_row(name: str, one: Mapping[str, int]) -> tuple[str, ...]:
    twins, tested = one["test_artifacts_with_twin"], one["test_artifacts"]
    share = f" ({twins / tested:.1%})" if tested else ""
    return (name, f"{one['pairs']:,}", f"{one['label_differs']:,}", f"{twins:,}{share}")


def _leakage_table(before: Mapping[str, int], after: Mapping[str, int]) -> Table:
    names = ("pairs", "of them with two labels", "test artifacts with a twin elsewhere")
    rows = [
        _format_leakage_row("drawn without groups", before),
        _format_leakage_row("as drawn here", after),
    ]
    about = "Near-duplicates that lie in different splits"
    return table(about, ["split", *map(num, names)], rows, css="")


def _examples(pairs: Sequence[Mapping[str, Any]]) -> Table | None:
    rows = [(f"{one['likeness']:.2f}", _leakage_example(one)) for one in pairs]
    heads: Heads = [num("likeness"), prose("artifacts, their labels and splits")]
    about = "Where each would have been without groups, and where it is"
    return table(about, heads, rows, css="") if rows else None


def _leakage_example(one: Mapping[str, Any]) -> Markup:
    both = zip(one["artifacts"], one["labels"], one["before"], one["after"], strict=True)
    return Markup("").join(
        example(artifact_id, f"{truncate_report_text(label)}: {before}, now {after}")
        for artifact_id, label, before, after in both
    )
