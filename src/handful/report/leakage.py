"""What the splits would have given away without groups: from leakage.json, if prepare wrote one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handful.errors import Absent
from handful.experiment import Experiment

SHOWN = 8


def leakage_part(experiment: Experiment) -> dict[str, Any] | None:
    """What the template needs; None if prepare wrote no such file, or nobody looked."""
    try:
        found = json.loads(experiment.store.read(experiment.layout.leakage))
    except Absent:
        return None
    before, after = found.get("before_grouping"), found.get("after_grouping")
    if not found.get("looked_for") or not before or not after:
        return None
    return {
        "words": _words(found, before, after),
        "bad": after["pairs"] > 0,
        "rows": [_row("drawn without groups", before), _row("as drawn here", after)],
        "examples": [_example(one) for one in found.get("examples", ())[:SHOWN]],
        "not_compared": f"{found.get('not_compared', 0):,}" if found.get("not_compared") else "",
    }


def _words(found: Mapping[str, Any], before: Mapping[str, int], after: Mapping[str, int]) -> str:
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


def _row(name: str, one: Mapping[str, int]) -> tuple[str, ...]:
    twins, tested = one["test_artifacts_with_twin"], one["test_artifacts"]
    share = f" ({twins / tested:.1%})" if tested else ""
    return (name, f"{one['pairs']:,}", f"{one['label_differs']:,}", f"{twins:,}{share}")


def _example(one: Mapping[str, Any]) -> tuple[str, list[tuple[str, str, str, str]]]:
    both = zip(one["artifacts"], one["labels"], one["before"], one["after"], strict=True)
    return f"{one['likeness']:.2f}", list(both)
