"""What the leakage report counts, on a ledger that is known."""

from __future__ import annotations

import pytest

from handful.steps.prepare.similarity.leakage import leakage
from handful.steps.prepare.similarity.near_duplicates import (
    LARGE_FAMILY,
    Pairs,
    Shingled,
    pairs_within,
)
from handful.steps.prepare.similarity.near_duplicates import signatures as signed
from handful.steps.prepare.similarity.shingles import hash_text_words
from handful.steps.prepare.splitting.ledger import Ledger, Row

DRAWN_WITH = {"SPLIT": [0.6, 0.2, 0.2], "SEED": 0}


def ledger(*splits: str) -> Ledger:
    rows = [
        Row(f"id-{n:02}", "even" if n % 2 == 0 else "odd", split, f"id-{n:02}", "drawn", split)
        for n, split in enumerate(splits)
    ]
    return Ledger(tuple(rows), DRAWN_WITH)


def test_pairs_that_are_in_two_splits_now() -> None:
    mine = ledger("train", "test", "train", "test", "validation", "left_out", "test")
    rows = [(0, 1, 0.9), (0, 2, 1.0), (2, 3, 0.8), (1, 3, 0.85), (3, 5, 1.0), (4, 6, 0.95)]
    found = leakage(mine, Pairs.of(rows, 7))
    assert (found.pairs, found.artifacts, found.not_compared) == (5, 6, 7), "without the left out"
    assert found.after_grouping is not None
    assert found.after_grouping.pairs == 3
    assert found.after_grouping.label_differs == 2
    assert found.after_grouping.test_artifacts == 3
    assert found.after_grouping.test_artifacts_with_twin == 3
    apart = [one for one in found.examples if one.after[0] != one.after[1]]
    assert [one.likeness for one in apart] == [0.95, 0.9, 0.8], "the strongest first"
    assert found.examples[: len(apart)] == tuple(apart), "and before those that are together now"
    assert "now 3" in found.told()


def test_before_is_a_draw_without_groups() -> None:
    together = ledger(*["train"] * 20)
    everyone = [(one, other, 0.9) for one in range(20) for other in range(one + 1, 20)]
    found = leakage(together, Pairs.of(everyone))
    assert found.after_grouping is not None
    assert found.before_grouping is not None
    assert found.after_grouping.pairs == 0
    # Of each label's ten, six, two and two: 12, 4 and 4 of twenty.
    assert found.before_grouping.pairs == 12 * 4 + 12 * 4 + 4 * 4
    assert found.before_grouping.test_artifacts_with_twin == 4
    assert len(found.examples) == 20


def test_nobody_looked() -> None:
    found = leakage(ledger("train", "test"), None)
    assert not found.looked_for
    assert "NEAR_DUPLICATES = ignore" in found.told()
    nothing = leakage(ledger("train", "test"), Pairs.of([]))
    assert nothing.looked_for
    assert nothing.pairs == 0


def test_of_a_large_family_only_so_many_are_compared() -> None:
    words = hash_text_words([" ".join(f"word{n}" for n in range(40)).encode()])[0]
    shingled = Shingled.of([words] * (LARGE_FAMILY + 5) + [words[:0]] * 3)
    families = [list(range(LARGE_FAMILY + 5)), [LARGE_FAMILY + 5, LARGE_FAMILY + 7]]
    found = pairs_within(families, shingled, signed(shingled))
    assert len(found) == LARGE_FAMILY * (LARGE_FAMILY - 1) // 2 + 1
    assert found.uncounted == 5
    assert found.likeness.min() == pytest.approx(1.0)
