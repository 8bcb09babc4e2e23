"""Gives fates to rows of the ledger to be. A row that has one keeps it."""

from __future__ import annotations

import polars as pl

from handful.records import Fate
from handful.steps.reconcile.keys.names import shown

OPEN = pl.col("fate").is_null()
"""Rows whose fate is not known yet."""


def give(rows: pl.DataFrame, where: pl.Expr, fate: Fate, reason: pl.Expr) -> pl.DataFrame:
    """Open rows for which `where` holds get the fate."""
    hit = OPEN & where
    return rows.with_columns(
        reason=pl.when(hit).then(reason).otherwise(pl.col("reason")),
        fate=pl.when(hit).then(pl.lit(fate.value)).otherwise(pl.col("fate")),
    )


def give_by(rows: pl.DataFrame, verdicts: pl.DataFrame, on: str, fate: Fate) -> pl.DataFrame:
    """Open rows that `verdicts` (the column `on`, each value once, and reason) names get it."""
    if verdicts.is_empty():
        return rows
    joined = rows.join(verdicts, on=on, how="left", maintain_order="left", suffix="_given")
    given = pl.col("reason_given")
    return give(joined, given.is_not_null(), fate, given).drop("reason_given")


def join_some(column: str, most: int) -> pl.Expr:
    """The first `most` of a list column as quoted text: `'a', 'b'`."""
    return pl.col(column).list.head(most).list.eval(shown(pl.element())).list.join(", ")
