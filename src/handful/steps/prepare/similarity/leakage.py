"""leakage.json: what a split that cares for no likeness would have told the models in advance.

Near-duplicates in different splits make a test easier than what comes later. The pairs that were
found are looked at twice: as a draw without any groups would have placed them (same shares, same
seed), and as they stand in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.progress import printable
from handful.records import Split
from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.similarity.near_duplicates import THRESHOLD, Pairs
from handful.steps.prepare.splitting.groups import Links
from handful.steps.prepare.splitting.ledger import Ledger
from handful.steps.prepare.splitting.splits import draw
from handful.storage.base import Store

_EXAMPLES = 20


@dataclass(frozen=True)
class Leak:
    """Near-duplicates that lie in different splits."""

    pairs: int
    label_differs: int
    """Those of the pairs whose two labels are not the same."""
    test_artifacts: int
    test_artifacts_with_twin: int
    """Artifacts of test that have a near-duplicate in train or validation."""


@dataclass(frozen=True)
class Example:
    """One pair."""

    likeness: float
    """Jaccard similarity of their runs of three words, or of short texts' words; 1: the same."""
    artifacts: tuple[str, str]
    labels: tuple[str, str]
    before: tuple[str, str]
    """Their splits in a draw without groups."""
    after: tuple[str, str]
    """Their splits in the ledger."""


@dataclass(frozen=True)
class Leakage:
    """What leakage.json holds."""

    looked_for: bool
    """False with NEAR_DUPLICATES = ignore: nothing else is known then."""
    threshold: float = THRESHOLD
    """Documents at least this alike are near-duplicates."""
    pairs: int = 0
    """Of near-duplicates among the artifacts of the three splits."""
    artifacts: int = 0
    """How many artifacts are in such pairs."""
    not_compared: int = 0
    """Documents of very large families, whose pairs are not counted."""
    before_grouping: Leak | None = None
    after_grouping: Leak | None = None
    examples: tuple[Example, ...] = ()
    """The strongest: those that are still in two splits, then those that would have been."""

    def told(self) -> str:
        """In one line, for people."""
        if self.before_grouping is None or self.after_grouping is None:
            return "near-duplicates were not looked for (NEAR_DUPLICATES = ignore)"
        was, now = self.before_grouping, self.after_grouping
        return (
            f"near-duplicates: {self.pairs:,} pairs; without groups {was.pairs:,} of them would be "
            f"in two splits ({was.test_artifacts_with_twin:,} of {was.test_artifacts:,} test "
            f"artifacts with a twin elsewhere), now {now.pairs:,}"
        )

    def warning(self) -> str:
        """What to do about near-duplicates that lie in two splits; empty if none do."""
        now = self.after_grouping
        if now is None or not now.pairs:
            return ""
        one, other = self.examples[0].artifacts
        return (
            f"{now.pairs:,} pairs of near-duplicates lie in two splits (the strongest: "
            f"{printable(one)} and {printable(other)}), and {now.test_artifacts_with_twin:,} of "
            f"{now.test_artifacts:,} test artifacts have a twin that is learned from. What was "
            f"split before stays where it is; `--redo prepare` draws new splits"
        )


def leakage(ledger: Ledger, pairs: Pairs | None) -> Leakage:
    """What the ledger keeps apart. `pairs`: by rows of the ledger; None if nobody looked."""
    if pairs is None:
        return Leakage(looked_for=False)
    after = np.array([row.split for row in ledger.rows])
    used = after != Split.LEFT_OUT.value
    known = _those(pairs, used[pairs.one] & used[pairs.other])
    before = _without_groups(ledger, used) if len(known) else after
    labels = np.array([row.label for row in ledger.rows])
    return Leakage(
        looked_for=True,
        pairs=len(known),
        artifacts=len(np.union1d(known.one, known.other)),
        not_compared=pairs.uncounted,
        before_grouping=_leak(known, before, labels),
        after_grouping=_leak(known, after, labels),
        examples=_list_leak_examples(known, ledger, before, after),
    )


def keep_leakage(store: Store, key: str, found: Leakage) -> None:
    """Write leakage.json."""
    told = json.dumps(asdict(found), indent=2, ensure_ascii=False)
    store.write(key, f"{told}\n".encode())


def _those(pairs: Pairs, chosen: NDArray[np.bool_]) -> Pairs:
    return replace(
        pairs,
        one=pairs.one[chosen],
        other=pairs.other[chosen],
        likeness=pairs.likeness[chosen],
    )


def _without_groups(ledger: Ledger, used: NDArray[np.bool_]) -> NDArray[np.str_]:
    """The split of each row in a draw of the same artifacts without any groups."""
    artifacts = [
        Artifact(row.artifact_id, row.label, (), "{}")
        for row, is_used in zip(ledger.rows, used, strict=True)
        if is_used
    ]
    alone = Links([()] * len(artifacts), [None] * len(artifacts), lambda *_: [])
    settings: Mapping[str, Any] = ledger.drawn_with
    first, second, third = settings["SPLIT"]
    drawn = draw(artifacts, alone, {}, (first, second, third), settings["SEED"])
    none = Split.LEFT_OUT.value
    return np.array(
        [drawn[r.artifact_id].split if r.artifact_id in drawn else none for r in ledger.rows]
    )


def _leak(pairs: Pairs, splits: NDArray[np.str_], labels: NDArray[np.str_]) -> Leak:
    apart = splits[pairs.one] != splits[pairs.other]
    one, other = pairs.one[apart], pairs.other[apart]
    is_test = splits == Split.TEST.value
    twins = np.union1d(one[is_test[one]], other[is_test[other]])
    return Leak(
        pairs=int(apart.sum()),
        label_differs=int((labels[one] != labels[other]).sum()),
        test_artifacts=int(is_test.sum()),
        test_artifacts_with_twin=len(twins),
    )


def _list_leak_examples(
    pairs: Pairs, ledger: Ledger, before: NDArray[np.str_], after: NDArray[np.str_]
) -> tuple[Example, ...]:
    still = after[pairs.one] != after[pairs.other]
    would = before[pairs.one] != before[pairs.other]
    ids, labels = [r.artifact_id for r in ledger.rows], [r.label for r in ledger.rows]
    order = np.lexsort((-pairs.likeness, ~still))
    chosen = [place for place in order.tolist() if still[place] or would[place]][:_EXAMPLES]
    return tuple(
        Example(
            likeness=round(float(pairs.likeness[place]), 4),
            artifacts=_both(ids, pairs, place),
            labels=_both(labels, pairs, place),
            before=_both(before, pairs, place),
            after=_both(after, pairs, place),
        )
        for place in chosen
    )


def _both(values: Sequence[str] | NDArray[np.str_], pairs: Pairs, place: int) -> tuple[str, str]:
    return str(values[pairs.one[place]]), str(values[pairs.other[place]])
