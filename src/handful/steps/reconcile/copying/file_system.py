"""What a local store's file system cannot keep apart, although production does.

Some take `A` and `a` for one name (macOS, Windows, shares of theirs), some the two Unicode forms of
`é`. There, two artifacts whose ids differ in nothing else would lie in one folder, and two such
files in one place: what was copied last would stand for both. They are not copied, and told.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

import polars as pl

from handful import layout
from handful.errors import Absent
from handful.records import Fate
from handful.steps.reconcile.assign_fates import join_some
from handful.steps.reconcile.matching import Matched
from handful.storage.base import Store

_PROBE = f"{layout.RECONCILIATION}/file-system"
_NAME = "A\u00e9"
_NON_ASCII_FILE_NAME = r"[^\x00-\x7f]"


@dataclass(frozen=True)
class Folding:
    """What a file system takes for one name."""

    case: bool
    form: bool
    """Unicode's composed and decomposed form."""

    def __bool__(self) -> bool:
        return self.case or self.form

    def of(self, column: str) -> pl.Expr:
        """The names as this file system compares them."""
        names = pl.col(column)
        if self.form:
            composed = names.str.normalize("NFC")
            names = (
                pl.when(names.str.contains(_NON_ASCII_FILE_NAME)).then(composed).otherwise(names)
            )
        return names.str.to_lowercase() if self.case else names


def keep_apart(matched: Matched, store: Store) -> Matched:
    """`matched` without what the store's file system would lay over one another."""
    if "://" in store.url:
        return matched  # a bucket tells every two keys apart
    return without_rivals(matched, probe_name_folding(store))


def probe_name_folding(store: Store) -> Folding:
    """Find out with a file that is removed again."""

    def is_there(name: str) -> bool:
        try:
            store.head(f"{_PROBE}/{name}")
        except Absent:
            return False
        return True

    try:
        store.write(f"{_PROBE}/{_NAME}", b"")
        return Folding(is_there(_NAME.lower()), is_there(unicodedata.normalize("NFD", _NAME)))
    finally:
        store.delete_tree(_PROBE)


def without_rivals(matched: Matched, folding: Folding) -> Matched:
    """`matched` where names that `folding` makes one are `unsafe_name`, with both in the reason."""
    if not folding:
        return matched
    ids = matched.files.select("artifact_id").unique().with_columns(own=folding.of("artifact_id"))
    words = pl.lit("the store's file system takes these for one name: ")
    lost = _rivals(ids, ["own"], "artifact_id", words)
    named = matched.files.with_columns(name=folding.of("file"))
    lost = pl.concat([lost, _rivals(named, ["artifact_id", "name"], "file", words)])
    lost = lost.unique("artifact_id", keep="first", maintain_order=True)
    rows = matched.rows.join(
        lost, on="artifact_id", how="left", maintain_order="left", suffix="_lost"
    )
    hit = (pl.col("fate") == Fate.KEPT.value) & pl.col("reason_lost").is_not_null()
    rows = rows.with_columns(
        fate=pl.when(hit).then(pl.lit(Fate.UNSAFE_NAME.value)).otherwise("fate"),
        reason=pl.when(hit).then("reason_lost").otherwise("reason"),
    ).drop("reason_lost")
    return replace(matched, rows=rows, files=matched.files.join(lost, on="artifact_id", how="anti"))


def _rivals(table: pl.DataFrame, same: list[str], shown: str, words: pl.Expr) -> pl.DataFrame:
    """artifact_id, reason: rows of `table` that are one by the columns `same`."""
    several = table.filter(pl.struct(same).is_duplicated())
    names = several.group_by(same).agg(names=pl.col(shown).unique().sort())
    told = several.join(names, on=same).select("artifact_id", reason=words + join_some("names", 4))
    return told.unique().sort("artifact_id", "reason")
